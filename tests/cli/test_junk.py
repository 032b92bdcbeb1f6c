"""One bad object does not stop a project: foreign names, junk in slots, and ``tclog void``."""

from __future__ import annotations

import json
import os
import shutil
import tomllib
from base64 import b64decode
from pathlib import Path

import pytest
import zstandard
from support.stores import Server, raw_client

from tclog.event import ChainId, chain_folder, slot_key
from tclog.event.packs import PackReader
from tclog.maintenance import pack as packing

from .conftest import Done, User

JUNK = {"empty": b"", "zeros": b"\0" * 300, "text": b"{}", "cut": b'{"at":"2026'}


def put(user: User, key: str, raw: bytes) -> Path:
    path = user.store / key
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(raw)
    return path


def spoil(user: User, chain: str, seq: int, raw: bytes = b"junk") -> Path:
    return put(user, slot_key(ChainId(chain), seq), raw)


@pytest.fixture
def full(project: User) -> User:
    """Give a project in which each primitive was used."""
    for words in (
        ("memory", "set", "a", "1"),
        ("memory", "set", "a", "2"),
        ("memory", "set", "b", "1"),
        ("step", "add", "build"),
        ("step", "add", "test", "--after", "build"),
        ("step", "add", "docs"),
        ("send", "bob", "hi"),
        ("send", "@all", "all"),
        ("artifact", "put", "f.txt"),
        ("tag", "begin"),
        ("barrier", "solo", "--parties", "1"),
        ("inbox", "--ack"),
    ):
        (project.work / "f.txt").write_text("f")
        project(*words).ok()
    return project


def afresh(user: User) -> User:
    """Forget what the user's machine knows."""
    shutil.rmtree(Path(user.environ["XDG_CACHE_HOME"]), ignore_errors=True)
    return user


LOOKS = (
    ("log",),
    ("state",),
    ("diff", "30d"),
    ("memory", "list"),
    ("step", "list"),
    ("artifact", "list"),
    ("agents",),
    ("status",),
    ("tag",),
    ("sync", "--full"),
    ("pack",),
    ("report", "out.html"),
    ("replay", "--speed", "1e9"),
    ("watch", "--from", "30d", "--count", "1"),
)


def left_out(done: Done) -> set[str]:
    found = [json.loads(line) for line in done.err.splitlines()]
    return {one["left_out"] for one in found if "left_out" in one}


def versions_of(user: User, key: str) -> list[int]:
    return [row["version"] for row in user("memory", "history", key, "--json").objects()]


# -- names that are not ours ------------------------------------------------------------------


FOLDERS = ("blobs", "chains", "events", "once", "packs", "pending")
STRAYS = (
    ".DS_Store",
    "._x",
    ".git/config",
    "README.txt",
    "chains/.DS_Store",
    "chains/._memory",
    "chains/memory/.DS_Store",
    "chains/memory/._a",
    "chains/memory/.Trash/x",
    "chains/memory/100%/9999999998.json",
    "chains/memory/a/.DS_Store",
    "chains/memory/a/._9999999998.json",
    "chains/memory/a/.9999999997.json.Xy3f",
    "chains/memory/a/00/9999999998.json",
    "chains/memory/a/9999999990.json~",
    "chains/memory/a/1.txt",
    "chains/inbox/@all/.DS_Store",
    "chains/inbox/@all/0000",
    "chains/inbox/bob/.DS_Store",
    "chains/step/.DS_Store",
    "chains/step/build/.DS_Store",
    "chains/pack/log/.DS_Store",
    "chains/agent/.DS_Store",
    "events/.DS_Store",
    "events/2026-11-23T19/.DS_Store",
    "events/2999-01-01T00/zzz",
    "blobs/.DS_Store",
    "blobs/aa/.DS_Store",
    "packs/.DS_Store",
    "pending/.DS_Store",
    "pending/inbox/.DS_Store",
    "once/.DS_Store",
    "once/alice/.DS_Store",
)


def test_names_that_are_not_ours_stop_nothing(full: User) -> None:
    for key in STRAYS:
        put(full, key, b"x")
    for user in (full, afresh(full)):
        assert user("memory", "get", "a").lines() == ["2"]
        user("memory", "set", "a", "3").ok()
        user("memory", "set", "a", "2").ok()
        for words in (*LOOKS, ("memory", "history", "a"), ("blame", "a")):
            done = user(*words, "--strict") if words[0] != "blame" else user(*words)
            assert done.code == 0 or words[0] == "memory", (words, done)
        user("send", "@all", "again").ok()
        user("send", "bob", "again").ok()
        user("inbox").ok()
    assert full("claim", "--next").ok()


def test_fsck_lists_names_that_are_not_ours(full: User) -> None:
    for key in STRAYS:
        put(full, key, b"x")
    done = full("fsck", "--json")
    assert done.code == 0, done
    noted = {row["object"] for row in done.objects() if row["type"] == "finding"}
    assert noted == {key for key in STRAYS if key.partition("/")[0] in FOLDERS and "/" in key}


# -- junk in a slot -----------------------------------------------------------------------------


@pytest.mark.parametrize("kind", JUNK)
def test_junk_in_a_slot_damages_its_own_chain_only(full: User, kind: str) -> None:
    spoil(full, "memory/a", 3, JUNK[kind])
    for user in (full, afresh(full)):
        for words in (("memory", "get", "a"), ("memory", "set", "a", "x"), ("memory", "incr", "a")):
            told = user(*words, "--json").error(8)
            assert slot_key(ChainId("memory/a"), 3) in told["message"]
            assert told["hint"] == "tclog void --help"
        assert user("memory", "get", "b").lines() == ["1"]
        user("memory", "set", "b", "2").ok()
        user("memory", "set", "b", "1").ok()
        for words in LOOKS:
            done = user(*words, "--json")
            assert done.code == 0, (words, done)
            if words[0] in ("log", "state", "diff", "sync", "pack", "report", "watch"):
                assert "memory/a" in left_out(done), (words, done)
                assert user(*words, "--strict").code == 8, words
        done = user("memory", "list", "--json")
        assert [row["key"] for row in done.objects()] == ["b"]
        assert left_out(done) == {"memory/a"}
        assert user("memory", "list", "--strict").code == 8
    assert full("fsck").code == 8


def test_a_version_of_another_place_is_junk(full: User) -> None:
    raw = (full.store / slot_key(ChainId("memory/b"), 1)).read_bytes()
    spoil(full, "memory/a", 3, raw)
    told = full("memory", "get", "a", "--json").error(8)
    assert "holds version 1 of memory/b" in told["message"]
    assert full("memory", "list").ok()


def test_a_folder_in_a_slots_place_is_told_and_stops_no_other(full: User) -> None:
    (full.store / slot_key(ChainId("memory/a"), 3)).mkdir()
    told = full("memory", "set", "a", "3", "--json").error(7)
    assert slot_key(ChainId("memory/a"), 3) in told["message"]
    full("memory", "get", "a").ok()
    full("memory", "set", "b", "3").ok()
    full("fsck").ok()


def test_a_circle_of_links_in_a_chains_place_stops_no_other(full: User) -> None:
    folder = full.store / "chains/memory/a"
    shutil.rmtree(folder)
    folder.symlink_to("a")
    for words in LOOKS:
        assert afresh(full)(*words).code == 0, words
    afresh(full)("memory", "get", "a", "--json").error(3)


def test_the_next_step_is_claimed_beside_a_junk_one(full: User) -> None:
    spoil(full, "step/build", 2)
    done = afresh(full)("claim", "--next", "--json")
    assert done.object()["id"] == "docs"
    assert left_out(done) == {"step/build"}
    listed = full("step", "list", "--json")
    assert {row["id"]: row["state"] for row in listed.objects()} == {
        "docs": "claimed",
        "test": "pending",
    }


def test_inboxes_work_beside_junk_among_the_broadcasts(full: User) -> None:
    spoil(full, "inbox/@all", 2)
    for user in (full, afresh(full)):
        user("send", "bob", "direct").ok()
        user("send", "bob,carol", "direct").ok()
        texts = [row["text"] for row in user("inbox", "--json", agent="bob").objects()]
        assert texts[:2] == ["hi", "all"]
        user("inbox", "--ack", agent="carol").ok()
        told = user("send", "@all", "more", "--json").error(8)
        assert told["hint"] == "tclog void --help"
    full("void", "inbox/@all", "2", "--reason", "test").ok()
    full("send", "@all", "more").ok()
    for name in ("bob", "carol", "dave"):
        rows = full("inbox", "--all", "--json", agent=name).objects()
        assert [row["n"] for row in rows] == list(range(1, len(rows) + 1))
        assert [row["text"] for row in rows if row["text"] in ("all", "more")] == ["all", "more"]


def test_inboxes_work_beside_junk_far_above_the_broadcasts(full: User) -> None:
    """No version leads to it; a client that remembers the newest one goes on below it."""
    full("send", "@all", "more").ok()
    spoil(full, "inbox/@all", 40)
    full("send", "@all", "still more").ok()
    for seq in range(20, 30):
        spoil(full, "inbox/@all", seq)
    afresh(full)("send", "erin", "direct").ok()
    for name in ("carol", "dave"):
        rows = afresh(full)("inbox", "--json", agent=name).objects()
        assert [row["text"] for row in rows] == ["all", "more", "still more"]
    told = afresh(full)("send", "@all", "no more", "--json").error(8)
    assert "version 40" in told["message"]


# -- void ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", JUNK)
def test_a_voided_slot_lets_the_chain_go_on(full: User, kind: str) -> None:
    path = spoil(full, "memory/a", 3, JUNK[kind])
    done = full("void", "memory/a", "3", "--reason", "disk error", "--json").object()
    assert (done["version"], done["voids"], done["goes_on_from"]) == (4, [3], 2)
    assert path.read_bytes() == JUNK[kind]
    again = full("void", "memory/a", "3", "--reason", "disk error", "--json").object()
    assert again["already"]
    for user in (full, afresh(full)):
        got = user("memory", "get", "a", "--json").object()
        assert (got["value"], got["version"]) == ("2", 2)
        missing = user("memory", "get", "a", "--version", "3", "--json").error(3)
        assert "was junk, which version 4 ended" in missing["message"]
        for words in LOOKS:
            assert user(*words, "--strict").code == 0, words
        assert user("state", "--json").objects()
        assert versions_of(user, "a") == [2, 1]
    ops = [
        (row["op"], row["version"])
        for row in full("log", "--chain", "memory/a", "--json").objects()
    ]
    assert ops == [("chain.void", 4), ("memory.set", 2), ("memory.set", 1)]
    full("memory", "set", "a", "5", "--if-version", "2").ok()
    assert full("memory", "get", "a", "--json").object()["version"] == 5
    assert afresh(full)("memory", "get", "a", "--at", "1h", "--json").code == 3
    checked = full("fsck")
    assert checked.code == 0, checked


def test_what_is_not_ended(full: User, tmp_path: Path) -> None:
    other = User(tmp_path / "other")
    other.work = full.work
    other.environ["TCLOG_AGENT"] = "other"
    assert (
        full("void", "memory/a", "2", "--reason", "x", "--json").error(4)["code"] == "version-sound"
    )
    assert (
        full("void", "memory/a", "9", "--reason", "x", "--json").error(3)["code"]
        == "version-missing"
    )
    assert full("void", "a", "9", "--reason", "x", "--json").error(2)["code"] == "bad-name"
    slot = full.store / slot_key(ChainId("memory/a"), 2)
    sound = slot.read_bytes()
    slot.write_bytes(b"junk")
    known = full("void", "memory/a", "2", "--reason", "x", "--json").error(4)
    assert known["code"] == "version-known"
    assert "heads/" in known["message"]
    # Another machine knows nothing of it.
    other("void", "memory/a", "2", "--reason", "x").ok()
    assert other("memory", "get", "a").lines() == ["1"]
    slot.write_bytes(sound)
    for user in (other, full):
        told = afresh(user)("memory", "get", "a", "--json").error(8)
        assert (
            "version 3 of memory/a ends version 2 as junk, but version 2 is sound"
            in told["message"]
        )
    assert full("fsck").code == 8


def test_what_only_a_command_has_seen_is_not_ended(full: User) -> None:
    # No index holds it yet; the sync of void itself reads the versions below it.
    full("memory", "set", "new", "1").ok()
    full("memory", "set", "new", "2").ok()
    slot = full.store / slot_key(ChainId("memory/new"), 2)
    sound = slot.read_bytes()
    slot.write_bytes(b"")
    told = full("memory", "get", "new", "--json").error(8)
    assert (told["object"], told["version"]) == (slot_key(ChainId("memory/new"), 2), 2)
    assert told["object"] in told["message"]
    done = full("void", "memory/new", "2", "--reason", "x", "--json")
    known = json.loads(done.err.splitlines()[-1])
    assert (done.code, known["code"]) == (4, "version-known")
    # The message says where the bytes are that belong back.
    kept = Path(known["message"].partition("remembered in ")[2].partition(" below")[0])
    slot.write_bytes(kept.read_bytes().partition(b"\n")[2])
    assert slot.read_bytes() == sound
    assert full("memory", "get", "new").lines() == ["2"]
    assert full("fsck").code == 0


def test_a_void_says_why_in_the_log(full: User) -> None:
    spoil(full, "memory/a", 3)
    full("void", "memory/a", "3", "--reason", "disk error").ok()
    assert "ends junk: disk error" in full("log", "--op", "chain.void").ok().out
    event = full("log", "--op", "chain.void", "--json").object()["id"]
    told = full("revert", event, "--json").error(4)
    assert told["message"].endswith("cannot be reverted: junk that was ended stays ended")


def test_an_older_slot_that_became_junk_needs_no_end(full: User) -> None:
    spoil(full, "memory/a", 1)
    user = afresh(full)
    assert user("memory", "get", "a").lines() == ["2"]
    done = user("void", "memory/a", "1", "--reason", "x", "--json")
    assert (done.code, json.loads(done.err.splitlines()[-1])["code"]) == (4, "version-followed")


def test_junk_in_the_first_slots_is_ended(full: User) -> None:
    for seq in (1, 2, 3):
        spoil(full, "memory/c", seq, os.urandom(9))
    assert full("memory", "set", "c", "1", "--json").error(8)
    done = full("void", "memory/c", "2", "--reason", "x", "--json").object()
    assert (done["version"], done["voids"], done["goes_on_from"]) == (4, [3, 2, 1], 0)
    full("memory", "set", "c", "1", "--if-absent").ok()
    for user in (full, afresh(full)):
        assert user("memory", "get", "c", "--json").object()["version"] == 5
        assert user("memory", "list", "--strict").code == 0
        assert user("state", "--strict").code == 0


def test_a_lease_goes_on_over_a_voided_slot(full: User) -> None:
    full("claim", "docs").ok()
    head = len(list((full.store / chain_folder(ChainId("step/docs"))).iterdir()))
    spoil(full, "step/docs", head + 1)
    assert full("renew", "docs", "--json").error(8)
    full("void", "step/docs", str(head + 1), "--reason", "x", agent="bob").ok()
    refused = full("claim", "docs", "--json", agent="bob").error(4)
    assert refused["code"] == "step-held"
    assert full("renew", "docs", "--json").object()["agent"] == "alice"
    assert full("fsck").code == 0


def test_a_transaction_that_wanted_a_junk_slot_is_ended_with_it(full: User) -> None:
    lines = '{"op":"memory.set","key":"a","value":"t"}\n{"op":"memory.set","key":"b","value":"t"}\n'
    full("txn", stdin=lines.encode()).ok()
    (full.store / slot_key(ChainId("memory/b"), 2)).write_bytes(b"junk")
    user = afresh(full)
    for key in ("a", "b"):
        told = user("memory", "get", key, "--json").error(8)
        assert told["hint"] == "tclog void --help"
    assert user("state").code == 0
    done = user("void", "memory/b", "2", "--reason", "x", "--json")
    (ended,) = done.object()["ends"]
    assert ended in done.err
    for one in (user, afresh(user)):
        assert one("memory", "get", "a").lines() == ["2"]
        assert one("memory", "get", "b").lines() == ["1"]
        assert one("state", "--strict").code == 0
    full("memory", "set", "a", "after").ok()
    assert full("fsck").code == 0


def test_a_later_version_tells_what_became_of_a_transaction(full: User) -> None:
    lines = '{"op":"memory.set","key":"a","value":"t"}\n{"op":"memory.set","key":"b","value":"t"}\n'
    full("txn", stdin=lines.encode()).ok()
    full("memory", "append", "a", "x").ok()
    (full.store / slot_key(ChainId("memory/b"), 2)).write_bytes(b"junk")
    user = afresh(full)
    assert user("memory", "get", "a").ok().out == "t\nx"
    assert [row["version"] for row in user("memory", "history", "a", "--json").objects()] == [
        4,
        3,
        2,
        1,
    ]
    user("void", "memory/b", "2", "--reason", "x").ok()
    assert [row["version"] for row in user("memory", "history", "a", "--json").objects()] == [
        4,
        3,
        2,
        1,
    ]
    assert afresh(user)("state", "--strict").code == 0


# -- copies and packs -----------------------------------------------------------------------------


def slots_of(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.glob("chains/*/*/*")}


def test_copies_have_the_bytes_of_junk(full: User) -> None:
    for seq in (3, 4):
        spoil(full, "memory/a", seq, os.urandom(20))
    full("void", "memory/a", "3", "--reason", "x").ok()
    spoil(full, "memory/a", 6, b"")
    spoil(full, "memory/b", 1)
    done = full("clone", ".tclog/store", "copy")
    assert done.code == 0, done
    assert all(f"chains/memory/{name} holds junk" in done.err for name in (
        "a/9999999996.json", "a/9999999995.json", "a/9999999993.json", "b/9999999998.json",
    ))  # fmt: skip
    copy = full.work / "copy" / "work"
    assert slots_of(copy) == slots_of(full.store)
    spoil(full, "memory/b", 2)
    full("clone", ".tclog/store", "copy").ok()
    assert slots_of(copy) == slots_of(full.store)
    full("export", "-o", "log.jsonl").ok()
    full("import", "log.jsonl", "again").ok()
    assert slots_of(full.work / "again" / "work") == slots_of(full.store)
    for store in ("copy", "again"):
        assert full("--store", store, "state").code == 0
        assert full("--store", store, "fsck").code == 8


def test_a_pack_has_the_junk_that_was_ended(full: User, monkeypatch: pytest.MonkeyPatch) -> None:
    spoil(full, "memory/a", 3, b"junk")
    full("void", "memory/a", "3", "--reason", "x").ok()
    spoil(full, "memory/a", 5, b"more")
    spoil(full, "memory/b", 2, b"not ended")
    monkeypatch.setattr(packing, "CLOSED_AFTER_US", -7200 * 1_000_000)
    done = full("pack", "--json")
    assert "memory/a" in left_out(done)
    assert done.object()["packs"] == 1, done
    (pack,) = full.store.glob("packs/*/*")
    reader = PackReader(pack.read_bytes(), pack.name.partition(".")[0])
    versions = [seq for chain, seq, _ in reader.versions() if chain == "memory/a"]
    assert versions == [1, 2, 4]
    assert ("memory/a", 1, 4) in reader.header.chains
    rows = zstandard.ZstdDecompressor().stream_reader(
        pack.read_bytes(), read_across_frames=True
    ).read().splitlines()  # fmt: skip
    junk = [json.loads(row)["junk"] for row in rows if b'"junk":' in row[:60]]
    assert [b64decode(one) for one in junk] == [b"junk"]
    fresh = afresh(full)
    rows = fresh("log", "--chain", "memory/a", "--json").objects()
    assert [row["version"] for row in rows] == [4, 2, 1]
    (full.store / slot_key(ChainId("memory/a"), 5)).unlink()
    (full.store / slot_key(ChainId("memory/b"), 2)).unlink()
    assert fresh("fsck").code == 0


def test_looking_back_goes_over_a_voided_slot(full: User) -> None:
    full("claim", "docs").ok()
    for chain, seq in (("memory/a", 3), ("step/docs", 3)):
        spoil(full, chain, seq)
        full("void", chain, str(seq), "--reason", "x", agent="bob").ok()
    full("memory", "append", "a", "more").ok()
    full("note", "docs", "said").ok()
    newest = full("log", "--chain", "memory/a", "-n", "1", "--json").object()
    shown = full("show", newest["id"], "--json").object()["changes"][0]
    assert (shown["before"]["value"], shown["after"]["value"]) == ("2", "2\nmore")
    lines = [row["agent"] for row in full("blame", "a", "--json").objects()]
    assert lines == ["alice", "alice"]
    assert {row["agent"] for row in full("blame", "docs", "--json").objects()} == {"alice"}
    full("revert", newest["id"]).ok()
    assert full("memory", "get", "a").lines() == ["2"]
    assert full("export", "--git", "repo").code == 0
    assert full("report", "r.html").code == 0
    point = full("log", "--chain", "memory/a", "--op", "chain.void", "--json").object()["at"]
    for at in (point, newest["at"]):
        assert full("memory", "get", "a", "--at", at, "--json").code == 0
    assert full("fsck").code == 0


@pytest.mark.parametrize("client", ["obstore", "boto3"])
def test_a_consoles_folder_markers_stop_nothing(bucket: User, moto: Server, client: str) -> None:
    for words in (
        ("memory", "set", "a", "1"), ("send", "@all", "x"), ("send", "bob", "x"), ("claim", "s"),
        ("artifact", "put", "f"), ("inbox", "--ack"),
    ):  # fmt: skip
        (bucket.work / "f").write_text("f")
        bucket(*words).ok()
    url = tomllib.loads((bucket.work / ".tclog" / "config.toml").read_text())["store"]
    name, _, prefix = url.removeprefix("s3://").partition("/")
    raw = raw_client(moto)
    keys = [row["Key"] for row in raw.list_objects_v2(Bucket=name, Prefix=prefix)["Contents"]]
    folders = {f"{prefix}/", *(key[: i + 1] for key in keys for i, c in enumerate(key) if c == "/")}
    for folder in folders:
        raw.put_object(Bucket=name, Key=folder, Body=b"")
    with (bucket.work / ".tclog" / "config.toml").open("a") as file:
        file.write(f'client = "{client}"\n')
    if client == "boto3":  # making its client takes a third of a second a command
        for words in (("memory", "get", "a"), ("memory", "list"), ("state",), ("fsck",)):
            assert afresh(bucket)(*words).code == 0, words
        return
    for step, user in (("t", bucket), ("u", afresh(bucket))):
        assert user("memory", "get", "a").lines() == ["1"]
        for words in (
            ("memory", "list"), ("step", "list"), ("artifact", "list"), ("log",), ("state",),
            ("status",), ("agents",), ("sync", "--full"), ("inbox",), ("send", "@all", "y"),
            ("memory", "set", "a", "1"), ("claim", step), ("export", "-o", "x"), ("fsck",),
        ):  # fmt: skip
            done = user(*words)
            assert done.code == 0, (words, done)


def test_a_watch_tells_at_once_what_it_leaves_out(full: User) -> None:
    spoil(full, "memory/a", 3)
    full("memory", "set", "a", "3")  # refused; the event that was put makes sync look there
    child = full.processes("watch", "--from", "30d", "--json", "--timeout", "20s")
    try:
        line = child.stderr.readline()
    finally:
        child.terminate()
        child.communicate()
    assert json.loads(line)["left_out"] == "memory/a"
