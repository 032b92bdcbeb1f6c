"""``export`` and ``import``: out and back, the same bytes; a damaged file writes no project."""

from __future__ import annotations

import json
import os
import random
import shlex
import signal
import time
from pathlib import Path

import pytest
from history.filled import PROJECT, fill, filled_store, open_log
from history.places import given_project, given_seeds, given_store, objects  # noqa: F401
from support.logs.generate import generate
from support.project import Project

from tclog.chain.drive import Protocol, run
from tclog.cli.commands import export as export_command
from tclog.cli.files import write_whole
from tclog.errors import Damaged, Refused, TclogError
from tclog.maintenance.copies.transfer import Imported, Reader, export, import_log
from tclog.maintenance.fsck.check import Patient, fsck
from tclog.store.base import Get, Store
from tclog.store.memory import MemoryStore


def exported(store: Store) -> list[bytes]:
    lines: list[bytes] = []
    left: list[tuple[str, str]] = []
    run(export(lines.append, lambda *words: left.append(words), software="test"), store)
    assert left == []
    return lines


def sound(store: Store) -> bool:
    return run(fsck(PROJECT, print), Patient(store)).damaged == 0


def test_out_and_back_is_the_same(store: Store, tmp_path: Path):
    source = filled_store(tmp_path / "files")
    lines = exported(source)
    done = run(import_log(Reader(lines)), store)
    assert objects(store) == objects(source)
    assert (done.objects, done.present) == (len(objects(source)) - 1, 0)
    assert sound(store)
    again = run(import_log(Reader(lines)), store)
    assert again.present == again.objects
    assert sorted(exported(store)[1:-1]) == sorted(lines[1:-1])


def test_from_each_store(store: Store, tmp_path: Path):
    fill(store, tmp_path / "files")
    copy = MemoryStore()
    run(import_log(Reader(exported(store))), copy)
    assert objects(copy) == objects(store)


def test_records_can_be_read_with_jq(tmp_path: Path):
    lines = [json.loads(line) for line in exported(filled_store(tmp_path / "files"))]
    assert lines[0]["type"] == "export"
    assert lines[0]["project"] == PROJECT
    assert lines[-1]["type"] == "end"
    claims = [line["record"]["agent"] for line in lines
              if line.get("kind") == "event" and line["record"]["op"] == "step.claim"]  # fmt: skip
    assert "alice" in claims
    assert {line["kind"] for line in lines[1:-1]} == {"blob", "key", "event", "version"}
    assert max(len(json.dumps(line)) for line in lines) < 2 << 20


def test_a_file_that_was_cut_off_makes_no_project(tmp_path: Path):
    lines = exported(filled_store(tmp_path / "files"))
    for length in (1, 2, 20, len(lines) // 2, len(lines) - 1):
        store = MemoryStore()
        with pytest.raises(Damaged):
            run(import_log(Reader(lines[:length])), store)
        assert store.stat("tclog.json") is None
        run(import_log(Reader(lines)), store)
        assert sound(store)


def test_a_file_with_more_after_its_end_makes_no_project(tmp_path: Path):
    lines = exported(filled_store(tmp_path / "files"))
    for more in (lines, [b"\n"], [b"{}"]):
        store = MemoryStore()
        with pytest.raises(Damaged, match="stands after its last line"):
            run(import_log(Reader([*lines, *more])), store)
        assert store.stat("tclog.json") is None


def test_a_file_that_was_changed_is_noticed(tmp_path: Path):
    source = filled_store(tmp_path / "files")
    lines = exported(source)
    rng = random.Random(5)
    for _ in range(60):
        place = rng.randrange(1, len(lines))
        bad = bytearray(lines[place])
        bad[rng.randrange(len(bad) - 1)] ^= 1 << rng.randrange(7)
        store = MemoryStore()
        with pytest.raises(TclogError):
            run(import_log(Reader([*lines[:place], bytes(bad), *lines[place + 1 :]])), store)
        assert store.stat("tclog.json") is None
        before = objects(source)
        # Nothing guards what binds an idempotency key but the digest of the whole file, and so the
        # command reads that first.
        kept = {key: raw for key, raw in objects(store).items() if not key.startswith("once/")}
        assert all(before[key] == raw for key, raw in kept.items())


def test_names_that_lead_elsewhere_are_refused(tmp_path: Path):
    lines = exported(filled_store(tmp_path / "files"))
    event = next(json.loads(line) for line in lines if b'"kind":"event"' in line)
    label = "x" * 80 + "/../../../../evil"
    for key in (
        f"{event['key'][:35]}{label}-{event['key'][-69:-5]}.json",
        "../../evil",
        "tclog.json",
        "blobs/../evil",
        "once/../evil.json",
        "chains/../evil/9999999998.json",
        "",
    ):
        store = MemoryStore()
        bad = json.dumps(event | {"key": key}).encode() + b"\n"
        with pytest.raises(Damaged):
            run(import_log(Reader([lines[0], bad, lines[-1]])), store)
        assert store._objects == {}


def test_what_is_there_is_never_replaced(store: Store, tmp_path: Path):
    source = filled_store(tmp_path / "files")
    lines = exported(source)
    sizes = {key: len(raw) for key, raw in objects(source).items() if key != "tclog.json"}
    largest = max(sizes, key=lambda key: sizes[key])
    for key in {largest, *random.Random(3).sample(list(sizes), 6)}:
        store.put(key, b"something else")
        with pytest.raises(Refused) as refused:
            run(import_log(Reader(lines)), store)
        assert refused.value.code == "object-differs"
        assert refused.value.details["object"] == key
        assert store.get(key).data == b"something else"
        assert store.stat("tclog.json") is None
        store.delete(key)
    store.put("tclog.json", b"{}")
    before = objects(store)
    with pytest.raises(Refused) as refused:
        run(import_log(Reader(lines)), store)
    assert refused.value.code == "project-differs"
    assert objects(store) == before


def test_of_two_imports_at_once_none_counts_the_mark_of_the_other(tmp_path: Path):
    lines = exported(filled_store(tmp_path / "files"))
    store, slow = MemoryStore(), import_log(Reader(lines))
    assert next(slow) == Get("tclog.json")
    step = slow.send(None)  # there is none yet
    quick = run(import_log(Reader(lines)), store)

    def rest() -> Protocol[Imported]:
        given = yield step
        while True:
            try:
                following = slow.send(given)
            except StopIteration as end:
                return end.value
            given = yield following

    assert run(rest(), store) == Imported(quick.objects, quick.objects)
    assert quick.present == 0


def test_damaged_objects_are_told_and_left_out(tmp_path: Path):
    source = filled_store(tmp_path / "files")
    keys = list(objects(source))
    blob = next(key for key in keys if key.startswith("blobs/"))
    event = next(key for key in keys if key.startswith("events/"))
    slot = "chains/step/design/9999999995.json"
    for key in (blob, event, slot):
        source.put(key, source.get(key).data[:-1] + b"?")
    lines: list[bytes] = []
    told: list[str] = []
    copied = run(export(lines.append, lambda key, _: told.append(key), software="t"), source)
    assert sorted(told) == sorted([blob, event])
    assert (copied.damaged, copied.junk) == (2, 1)
    copy = MemoryStore()
    run(import_log(Reader(lines)), copy)
    mine = objects(copy)
    assert set(objects(source)) - set(mine) >= {blob, event}
    # Junk in a slot is copied as it is, and so is what follows it.
    assert (
        mine.items()
        >= {key: raw for key, raw in objects(source).items() if key.startswith("chains/")}.items()
    )


def test_large_blobs_are_in_pieces(tmp_path: Path):
    lines = exported(filled_store(tmp_path / "files"))
    pieces = [json.loads(line) for line in lines if b'"offset"' in line]
    assert [piece["offset"] for piece in pieces] == [0, 768 << 10, 2 * (768 << 10)]


# -- the commands ---------------------------------------------------------------------------------


def test_the_commands_go_from_store_to_store(project: Project):
    for command in (["memory", "set", "k", "v"], ["send", "bob", "hi"], ["claim", "s"]):
        project.run(*command, agent="alice").ok()
    made = project.run("export", "-o", "log.jsonl", "--json").one()
    assert made | {"bytes": 0} == {
        "type": "export", "file": "log.jsonl", "objects": made["objects"], "bytes": 0,
    }  # fmt: skip
    assert not list(project.work.glob(".log*"))
    piped = project.run("export").ok().out
    assert (project.work / "log.jsonl").read_text() == piped
    assert project.run("export", "-o", "-").ok().out == piped
    assert not (project.work / "-").exists()
    done = project.run("import", "log.jsonl", "restored", "--json").one()
    assert (done["type"], done["objects"]) == ("import", made["objects"])
    restored = project.work / "restored" / "story"
    for key in project.objects.keys(""):
        if not key.startswith("probe-"):
            assert (restored / key).read_bytes() == project.objects.read(key)
    shown = project.run("--store", "restored", "memory", "get", "k", agent="bob").ok()
    assert shown.out.strip() == "v"
    held = project.run("--store", "restored", "claim", "s", "--json", agent="bob")
    assert held.error()["code"] == "step-held"
    again = project.run("import", "-", "restored", "--json", input=piped).one()
    assert again["present"] == made["objects"]
    again = project.run("import", "/dev/stdin", "restored", "--json", input=piped).one()
    assert again["present"] == made["objects"]
    assert project.run("import", "log.jsonl").code == 0  # into the configured store, where it is


def test_errors_are_one_line(project: Project):
    (project.work / "text").write_text("hello\n")
    (project.work / "empty").write_text("")
    for words, code in (
        (["import", "nowhere"], 2),
        (["import", "text", "x"], 2),
        (["import", "empty", "x"], 2),
        (["import", ".", "x"], 2),
        (["import", "tracecraft"], 2),
        (["export", "-o", "no/such/folder"], 2),
        (["export", "-o", "."], 2),
        (["export", "-o", "x", "--git", "y"], 2),
    ):
        done = project.run(*words, "--json")
        assert done.code == code, done
        assert done.error()["hint"]
        assert not (project.work / "x").exists()
    assert project.run("import", "tracecraft", "--json").error()["code"] == "not-there-yet"


def test_an_export_replaces_no_link(project: Project):
    (project.work / "link").symlink_to("log.jsonl")
    project.run("export", "-o", "link").ok()
    assert (project.work / "link").is_symlink()
    assert (project.work / "log.jsonl").read_bytes().endswith(b"\n")
    assert project.run("export", "-o", "", "--json").error()["message"] == "the path is empty"


def test_the_command_to_work_in_it_can_be_run_as_it_stands(project: Project):
    project.run("export", "-o", "log.jsonl").ok()
    note = project.run("import", "log.jsonl", "it's; here").ok().err.strip()
    words = shlex.split(note.removeprefix("note: to work in it, in a folder of its own: "))
    assert words == ["tclog", "init", str(project.work / "it's; here"), "--project", "story"]


def test_a_damaged_stream_writes_nothing(project: Project):
    for nth in range(3):
        project.run("memory", "set", "k", f"v{nth}", "--id", f"id-{nth}", agent="alice").ok()
    piped = project.run("export").ok().out
    command = piped.index('"command":"') + 12
    other = "0" if piped[command] != "0" else "1"
    for bad in (
        piped[:-3],
        piped[: len(piped) // 2],
        piped[:command] + other + piped[command + 1 :],
    ):
        done = project.run("import", "-", "restored", "--json", input=bad)
        assert done.code == 8, done
        assert done.error()["code"] == "export-damaged"
        assert not (project.work / "restored").exists()


def test_an_import_that_is_killed_is_completed_by_repeating_it(project: Project, tmp_path: Path):
    source = MemoryStore()
    generate(source, events=800, seed=4)
    mark = b'{"created_at":"2026-11-23T00:00:00.000000Z","format":1,"id":"0","project":"demo"}'
    source.put("tclog.json", mark)
    (project.work / "log.jsonl").write_bytes(b"".join(exported(source)))
    url, *flags = project.site.url, *project.site.flags
    place = project.site.url.rstrip("/") + "-copy"
    for delay in (0.4, 0.6, 0.8, 1.0):
        process = project.start("import", "log.jsonl", place, *flags, env={"TCLOG_FSYNC": "false"})
        time.sleep(delay)
        os.kill(process.pid, signal.SIGKILL)
        project.finish(process)
    assert url
    done = project.run("import", "log.jsonl", place, *flags, "--json", timeout=300).one()
    assert done["objects"] == len(objects(source)) - 1
    checked = (
        project.run("--store", place, "--project", "demo", "fsck", "--json", timeout=120)
        .ok()
        .json()[-1]
    )
    assert checked["events"] == len([key for key in objects(source) if key.startswith("events/")])


def test_what_another_process_of_ones_number_left_is_in_nobodys_way(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """In a container each process may have the same number, also one that was killed."""
    monkeypatch.setattr(os, "getpid", lambda: 7)
    for name in ("got", "log.jsonl", "run.html"):
        (tmp_path / f".{name}.7.part").mkdir()
    alice = open_log(filled_store(tmp_path / "files"), "alice")
    alice.artifacts.get("large", tmp_path / "got")
    write_whole(str(tmp_path / "run.html"), b"page")
    with export_command._written(str(tmp_path / "log.jsonl")) as write:
        write(b"line\n")
    assert (tmp_path / "log.jsonl").read_bytes() == b"line\n"
    assert (tmp_path / "run.html").read_bytes() == b"page"
