"""Stores that fail: one clear error that names the thing, its exit status, a hint, and soon."""

from __future__ import annotations

import json
import os
import shlex
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
from support.proxy import Fault, Proxy
from support.stores import Server, raw_client

from .conftest import Done, User, on_bucket

SOON_S = 60.0
READS = [["memory", "get", "k"], ["inbox"], ["status"]]
WRITES = [["memory", "set", "k", "v"], ["claim", "s"], ["send", "bob", "hi"]]
LISTS = [["memory", "list"], ["status"], ["step", "list"], ["agents"]]
EVERYTHING = [*READS, *WRITES, ["doctor"], ["init"]]
ALWAYS = 1_000_000


def failed(done: Done, code: int, *names: str) -> dict[str, object]:
    """Check the one error at the end of stderr; returns it."""
    assert done.code == code, done
    assert "Traceback" not in done.err, done
    *notes, last = [json.loads(line) for line in done.err.splitlines()]
    assert all(note["type"] == "note" for note in notes), done
    assert last["type"] == "error", done
    assert last["exit"] == code, done
    assert last["hint"], done
    for name in names:
        assert name in str(last["message"]), done
    if done.words[0] != "doctor":
        assert done.out == "", done
    return last


def left_out(user: User, words: list[str], *names: str) -> None:
    """Check that a list answers beside damage and notes it, and ends with 8 if strict."""
    for strict, code in ([], 0), (["--strict"], 8):
        done = user(*words, *strict, "--json")
        assert done.code == code, done
        last = json.loads(done.err.splitlines()[-1])
        assert last["type"] == ("error" if code else "note"), done
        assert all(name in str(last["message"]) for name in names), done


def all_fail(user: User, commands: Sequence[list[str]], code: int, *names: str) -> None:
    """Start commands beside each other; each has to say the same, and soon."""
    begun = time.monotonic()
    children = [(words, user.processes(*words, "--json")) for words in commands]
    for words, child in children:
        out, err = child.communicate(timeout=60)
        failed(Done(tuple(words), child.returncode, out.decode(), err.decode()), code, *names)
    assert time.monotonic() - begun < SOON_S


def refuse(user: User, code: int, *names: str) -> None:
    """Check that init in an empty folder fails the same way, and leaves nothing."""
    settings = (user.work / ".tclog" / "config.toml").read_text().split('"')
    empty = user.folder / "empty"
    empty.mkdir()
    words = ["init", settings[1], "--endpoint", settings[5], "--json"]
    failed(user.process(*words, cwd=empty), code, *names)
    assert not any(empty.iterdir())


# -- buckets --------------------------------------------------------------------------------------


@pytest.fixture
def proxy(moto: Server) -> Iterator[Proxy]:
    with Proxy(moto.endpoint) as running:
        yield running


@pytest.fixture
def warm(user: User, moto: Server, proxy: Proxy) -> User:
    """Give a user whose caches know the bucket's project, and all that was in it."""
    on_bucket(user, moto.through(proxy.url))
    for words in (["memory", "set", "k", "v"], ["claim", "s"], ["send", "alice", "hi"]):
        user(*words).ok()
    for words in READS:
        user(*words).ok()
    return user


def test_bad_credentials(warm: User, proxy: Proxy, moto: Server):
    proxy.inject(Fault("refuse", 403, code="InvalidAccessKeyId"), times=ALWAYS)
    all_fail(warm, EVERYTHING, 7, "InvalidAccessKeyId", moto.bucket)
    refuse(warm, 7, "InvalidAccessKeyId")
    words = {
        "SignatureDoesNotMatch": "credentials-invalid",
        "AccessDenied": "store-denied",
        "ExpiredToken": "credentials-expired",
    }
    for code, word in words.items():
        proxy.heal()
        proxy.inject(Fault("refuse", 403, code=code), times=ALWAYS)
        error = failed(warm("memory", "get", "k", "--json"), 7, code)
        assert error["code"] == word


def test_no_credentials_at_all(user: User, moto: Server):
    on_bucket(user, moto, keys=False)
    all_fail(user, [["memory", "get", "k"], ["claim", "s"]], 7, "no AWS credentials")


def test_missing_bucket(user: User, moto: Server):
    on_bucket(user, moto._replace(endpoint=moto.endpoint))
    config = user.work / ".tclog" / "config.toml"
    config.write_text(config.read_text().replace(f"s3://{moto.bucket}/", "s3://no-such-bucket/"))
    all_fail(user, EVERYTHING, 7, "no-such-bucket")
    error = failed(user.process("status", "--json"), 7)
    assert error["code"] == "store-missing"
    assert error["hint"] == "tclog where"


def test_unreachable_endpoint(warm: User, proxy: Proxy):
    proxy.stop()
    all_fail(warm, EVERYTHING, 7, proxy.url)
    refuse(warm, 7, proxy.url)
    assert failed(warm.process("status", "--json"), 7)["code"] == "store-unreachable"


def test_a_server_that_accepts_and_never_answers(user: User, moto: Server):
    with socket.create_server(("127.0.0.1", 0), backlog=512) as silent:
        endpoint = f"http://127.0.0.1:{silent.getsockname()[1]}"
        on_bucket(user, moto)
        config = user.work / ".tclog" / "config.toml"
        config.write_text(config.read_text().replace(moto.endpoint, endpoint))
        all_fail(user, EVERYTHING, 7, endpoint)


def test_a_server_that_dies_between_two_commands(warm: User, proxy: Proxy):
    proxy.inject(Fault("refuse", 503, code="SlowDown"), times=ALWAYS)
    all_fail(warm, [*READS, *WRITES], 7, "503")
    proxy.heal()
    assert warm.process("memory", "get", "k").lines() == ["v"]


def test_a_server_that_ignores_the_condition_is_refused(user: User, rclone: Server):
    on_bucket(user, rclone)
    config = user.work / ".tclog" / "config.toml"
    for words in (["doctor"], ["init"]):
        error = failed(user.process(*words, "--json"), 7)
        assert error["code"] == "store-unfit"
        assert "lets several writers create one object" in str(error["message"])
    url = config.read_text().split('"')[1]
    config.unlink()
    config.parent.rmdir()
    words = ["init", url, "--endpoint", rclone.endpoint, "--as", "alice"]
    done = user.process(*words)
    assert "lets several writers create one object" in done.said(7)
    assert not any(user.work.iterdir())
    wrong = {"AWS_SECRET_ACCESS_KEY": "wrong"}
    failed(user.process(*words, "--json", env=wrong), 7, rclone.bucket)


def test_create_bucket(user: User, moto: Server):
    user.environ.update(moto.environ)
    url = f"s3://made-{os.urandom(4).hex()}/x"
    words = ["init", url, "--endpoint", moto.endpoint, "--json"]
    error = failed(user.process(*words), 7)
    assert error["code"] == "store-missing"
    assert error["hint"] == f"tclog init {url} --endpoint {moto.endpoint} --create-bucket"
    error = failed(user.process(*words, "--region", "auto"), 7)
    assert "--region auto --create-bucket" in error["hint"]
    made = [row["Name"] for row in raw_client(moto).list_buckets()["Buckets"]]
    assert url.split("/")[2] not in made
    # Moto has no lock: its races may be lost, but not for want of a bucket.
    done = user.process(*words, "--create-bucket")
    assert done.code == 0 or done.error(7)["code"] == "store-unfit"
    made = [row["Name"] for row in raw_client(moto).list_buckets()["Buckets"]]
    assert url.split("/")[2] in made


@pytest.mark.parametrize("name", ["Upper", "a", "a_b", "-a-b", "a..b", "1.2.3.4", "x" * 64])
def test_a_name_that_no_bucket_can_have(user: User, moto: Server, name: str):
    user.environ.update(moto.environ)
    words = ["init", f"s3://{name}/x", "--endpoint", moto.endpoint, "--json"]
    error = failed(user(*words), 2, repr(name), "not valid for a new one")
    assert error["code"] == "bad-store"


# -- folders --------------------------------------------------------------------------------------


def mounted(user: User, prepare: str, words: list[str]) -> Done:
    """Run a command in a mount namespace of its own that a script prepares."""
    store = shlex.quote(str(user.store))
    script = f'STORE={store}\n{prepare}\nexec tclog "$@"'
    options = ["--mount", "sh", "-ec", script, "sh", *words, "--json"]
    return user.process(*options, program="unshare")._replace(words=tuple(words))


@pytest.fixture
def filled(project: User) -> User:
    for words in (["memory", "set", "k", "v"], ["claim", "s"], ["send", "alice", "hi"]):
        project(*words).ok()
    return project


@pytest.mark.usefixtures("mounts")
def test_a_read_only_folder(filled: User):
    prepare = 'mount --bind "$STORE" "$STORE"; mount -o remount,bind,ro "$STORE"'
    for words in (*WRITES, ["doctor"], ["init"]):
        error = failed(mounted(filled, prepare, words), 7, str(filled.store), "Read-only")
        assert error["code"] == "store-denied"
    for words in READS:
        assert mounted(filled, prepare, words).ok().out
    filled("doctor").ok()  # introduces alice, who then has nothing to write
    checks = [json.loads(line) for line in mounted(filled, prepare, ["doctor"]).out.splitlines()]
    assert {check["detail"] for check in checks if check["name"] == "log"} == {"alice can read"}


@pytest.mark.skipif(shutil.which("setpriv") is None, reason="setpriv is not installed")
def test_a_folder_without_permission(filled: User):
    subprocess.run(["chmod", "-R", "a-w", filled.store], check=True)
    for words in WRITES:
        failed(filled.powerless(*words, "--json"), 7, str(filled.store), "Permission denied")
    for words in READS:
        filled.powerless(*words, "--json").ok()
    subprocess.run(["chmod", "-R", "a-r", filled.store], check=True)
    for words in READS:
        failed(filled.powerless(*words, "--json"), 7)
    subprocess.run(["chmod", "-R", "a+rw", filled.store], check=True)


@pytest.mark.skipif(shutil.which("setpriv") is None, reason="setpriv is not installed")
def test_where_a_file_may_not_be_written_the_hint_is_not_about_a_full_disk(filled: User):
    (filled.work / "f").write_text("x")
    filled("artifact", "put", "f").ok()
    (filled.work / "shut").mkdir(mode=0o555)
    for words in (["report", "shut/r.html"], ["artifact", "get", "f", "-o", "shut/f"]):
        error = filled.powerless(*words, "--json").error(1)
        assert "Permission denied" in error["message"]
        assert error["hint"] == f"ls -ld {filled.work / 'shut'}"


@pytest.mark.usefixtures("mounts")
def test_a_full_disk(filled: User):
    prepare = """
        cp -a "$STORE" "$STORE.copy"
        mount -t tmpfs -o size=200k tmpfs "$STORE"
        cp -a "$STORE.copy/." "$STORE/"
        rm -r "$STORE.copy"
        cat /dev/zero > "$STORE/fill" 2>/dev/null || :
    """
    for words in (*WRITES, ["doctor"], ["init"]):
        done = mounted(filled, prepare, words)
        error = failed(done, 7, str(filled.store), "No space left")
        assert error["code"] == "store-full"
    for words in READS:
        mounted(filled, prepare, words).ok()


def test_a_disk_that_takes_no_more(filled: User):
    """By a limit of the process, which needs no mount: no file may have a single byte."""
    before = {path: path.read_bytes() for path in filled.store.rglob("*") if path.is_file()}
    script = 'ulimit -f 0; exec tclog "$@"'
    for words in (*WRITES, ["doctor"], ["init"]):
        done = filled.process("-c", script, "bash", *words, "--json", program="bash")
        error = failed(done._replace(words=tuple(words)), 7, str(filled.store), "File too large")
        assert error["code"] == "store-full"
        assert error["hint"] == f"df -h {filled.store}"
    for words in READS:
        filled.process("-c", script, "bash", *words, "--json", program="bash").ok()
    after = {path: path.read_bytes() for path in filled.store.rglob("*") if path.is_file()}
    assert after == before


@pytest.mark.usefixtures("mounts")
def test_a_temporary_folder_that_is_full(filled: User):
    filled("memory", "set", "big", "-", stdin=b"x" * 300_000).ok()
    filled("export", "-o", "log.jsonl").ok()
    prepare = """
        mkdir -p temporary
        mount -t tmpfs -o size=64k tmpfs temporary
        export TMPDIR="$PWD/temporary"
        exec < log.jsonl
    """
    (filled.work / "large").write_bytes(bytes(9 << 20))
    filled("artifact", "put", "large").ok()
    commands = (
        ["import", "-", "restored"],
        ["export", "-o", "again.jsonl"],
        ["export"],
        ["clone", ".", "restored"],
    )
    for words in commands:
        done = mounted(filled, prepare, words)._replace(out="")  # export prints until then
        error = failed(done, 1, "temporary", "No space left")
        assert error["code"] == "file-unwritable"
        assert error["hint"] == f"df -h {filled.work / 'temporary'}"
        assert not (filled.work / "again.jsonl").exists()


def test_a_folder_that_is_gone(filled: User):
    shutil.rmtree(filled.store.parent)
    for words in (*READS, *WRITES):
        error = failed(filled(*words, "--json"), 7, str(filled.store.parent))
        assert error["code"] == "store-missing"
    assert not filled.store.parent.exists()


# -- damage ---------------------------------------------------------------------------------------


def flip(path: Path, at: int) -> None:
    """Flip one bit of one byte."""
    raw = bytearray(path.read_bytes())
    raw[at] ^= 1
    path.write_bytes(raw)


def slot(user: User, chain: str, seq: int) -> Path:
    """Return the file of one version."""
    return user.store / "chains" / chain / f"{9_999_999_999 - seq:010d}.json"


def cold(user: User) -> None:
    """Forget what is cached."""
    shutil.rmtree(user.folder / "cache", ignore_errors=True)


def test_a_damaged_mark(filled: User):
    mark = filled.store / "tclog.json"
    for at in (0, mark.read_bytes().index(b'"id"') + 2, mark.read_bytes().index(b'"work"') + 2):
        before = mark.read_bytes()
        flip(mark, at)
        for words in EVERYTHING:
            failed(filled(*words, "--json"), 8, "tclog.json")
        mark.write_bytes(before)
    record = {"created_at": "", "format": 1, "id": "a", "project": "work"}
    wrong = [
        {**record, "id": 5},
        {**record, "id": "../x"},
        {**record, "format": True},
        {},
        [],
        None,
    ]
    for text in (b"", *(json.dumps(each, separators=(",", ":")).encode() for each in wrong)):
        mark.write_bytes(text)
        failed(filled("status", "--json"), 8, "tclog.json")


@pytest.mark.parametrize("place", ["first", "last", "chain", "seq", "empty"])
def test_a_damaged_version(filled: User, place: str):
    for chain, commands in {
        "memory/k": [["memory", "get", "k"], ["memory", "set", "k", "w"], ["memory", "list"]],
        "step/s": [["claim", "s"], ["status"], ["step", "list"], ["agents"]],
        "inbox/alice": [["inbox"], ["send", "alice", "again"]],
    }.items():
        file = slot(filled, chain, 1)
        raw = file.read_bytes()
        at = {
            "first": 0,
            "last": len(raw) - 1,
            "chain": raw.index(b'"chain":"') + 10,
            "seq": raw.rindex(b'"seq":') + 6,
            "empty": None,
        }[place]
        if at is None:
            file.write_bytes(b"")
        else:
            flip(file, at)
        cold(filled)
        for words in commands:
            if words in LISTS:
                left_out(filled, words, "version 1 of", chain)
            else:
                failed(filled(*words, "--json"), 8, "version 1 of", chain)
        file.write_bytes(raw)


def test_no_flipped_bit_of_an_earlier_version_goes_unnoticed(filled: User):
    filled("memory", "set", "k", "w").ok()
    file = slot(filled, "memory/k", 1)
    raw = file.read_bytes()
    for at in range(0, len(raw), 7):
        flip(file, at)
        cold(filled)
        done = filled("memory", "history", "k", "--json")
        assert done.code in (1, 8), (at, done)  # 1: the format number became a later one
        file.write_bytes(raw)
    filled("memory", "history", "k").ok()


def test_a_missing_version(filled: User):
    filled("memory", "set", "k", "w").ok()
    filled("memory", "set", "k", "x").ok()
    slot(filled, "memory/k", 2).unlink()
    cold(filled)
    failed(filled("memory", "history", "k", "--json"), 8, "version 2 of memory/k")
    failed(filled("memory", "get", "k", "--version", "2", "--json"), 8)


def test_a_damaged_blob(filled: User):
    big = b"x" * 100_000
    filled("memory", "set", "big", "-", stdin=big).ok()
    filled("note", "s", "-", stdin=big).ok()
    filled("send", "alice", "-", stdin=big).ok()
    (filled.work / "f").write_bytes(big)
    filled("artifact", "put", "f").ok()
    (blob,) = [path for path in filled.store.glob("blobs/*/*") if path.is_file()]
    shows = [
        ["memory", "get", "big"],
        ["memory", "list", "--values"],
        ["step", "show", "s"],
        ["inbox"],
        ["artifact", "get", "f", "-o", "g"],
        ["artifact", "get", "f", "-o", "-"],
    ]
    for damage in (lambda: flip(blob, 500), lambda: blob.write_bytes(big[:-1]), blob.unlink):
        damage()
        for words in shows:
            done = filled(*words) if words[-1] == "-" else filled(*words, "--json")
            assert done.code == 8, done
            assert blob.name[:12] in done.err
            assert "tclog fsck" in done.err
            assert done.out == ""
        assert not (filled.work / "g").exists()
    assert not list(filled.work.glob(".*.part"))
    # Putting the same bytes again mends it.
    filled("artifact", "put", "f").ok()
    filled("memory", "get", "big").ok()


def test_a_newer_format(filled: User):
    def newer(file: Path) -> bytes:
        raw = file.read_bytes()
        file.write_bytes(raw.replace(b'"format":1', b'"format":2'))
        return raw

    before = newer(filled.store / "tclog.json")
    for words in EVERYTHING:
        error = failed(filled(*words, "--json"), 1, "format 2", "work")
        assert error["code"] == "format-newer"
        assert "upgrade" in str(error["hint"])
    (filled.store / "tclog.json").write_bytes(before)
    for chain, commands in {
        "memory/k": [["memory", "get", "k"], ["memory", "set", "k", "w"]],
        "step/s": [["claim", "s"], ["status"]],
        "inbox/alice": [["inbox"]],
    }.items():
        newer(slot(filled, chain, 1))
        cold(filled)
        for words in commands:
            error = failed(filled(*words, "--json"), 1, "format 2", chain)
            assert error["code"] == "format-newer"


def test_an_event_that_no_name_fits_is_noticed_by_who_reads_it(filled: User):
    event = next(filled.store.glob("events/*/*memory.k*"))
    flip(event, event.read_bytes().index(b'"nonce"') + 12)
    left_out(filled, ["agents"], event.name)
