"""``export --git``: a repository that git itself finds sound, and that says what the log says."""

from __future__ import annotations

import contextlib
import itertools
import json
import random
import re
import shutil
import subprocess
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from cli.conftest import User
from hypothesis import given
from hypothesis import strategies as st
from support.logs.generate import generate

from tclog.errors import TclogError
from tclog.event import ALL, ChainId, chain_name
from tclog.history.git import identity, segment_of, tag_ref
from tclog.log.log import Log
from tclog.store.file import FileStore

from .filled import PROJECT, fill, open_log
from .places import objects

pytestmark = pytest.mark.skipif(shutil.which("git") is None, reason="git is not installed")


def git(folder: Path, *words: str) -> str:
    done = subprocess.run(
        ["git", "-C", str(folder), *words], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done
    return done.stdout


@pytest.fixture
def user(tmp_path: Path) -> User:
    """Give a user whose working folder holds a project that has used everything."""
    user = User(tmp_path)
    store = FileStore(user.work / ".tclog" / "store" / PROJECT, fsync=False)
    fill(store, tmp_path / "files")
    config = 'store = ".tclog/store"\nproject = "demo"\nagent = "alice"\n'
    (user.work / ".tclog" / "config.toml").write_text(config)
    user.environ["TCLOG_FSYNC"] = "false"
    return user


def store_of(user: User) -> FileStore:
    return FileStore(user.work / ".tclog" / "store" / PROJECT, fsync=False)


def path_of(shown: Mapping[str, Any]) -> str:
    kind = shown["type"]
    field = {"memory": "key", "step": "id", "inbox": "agent", "read": "agent"}.get(kind, "name")
    segment = segment_of(shown[field])
    return {
        "memory": f"memory/{segment}",
        "step": f"steps/{segment}.json",
        "inbox": f"inboxes/{segment}/inbox.json",
        "read": f"inboxes/{segment}/read.json",
        "agent": f"agents/{segment}.json",
    }.get(kind, f"{kind}s/{segment}.json")


def tree(folder: Path, commit: str) -> dict[str, bytes]:
    listed = git(folder, "ls-tree", "-r", "-z", "--format=%(objectname) %(path)", commit)
    rows = [line.split(" ", 1) for line in listed.split("\0") if line]
    asked = "".join(f"{name}\n" for name, _ in rows).encode()
    words = ["git", "-C", str(folder), "cat-file", "--batch"]
    raw = subprocess.run(words, input=asked, capture_output=True, check=True).stdout
    files = {}
    for _, path in rows:
        head, _, raw = raw.partition(b"\n")
        size = int(head.split()[2])
        files[path], raw = raw[:size], raw[size + 1 :]
    return files


def assert_same(files: dict[str, bytes], state: list[dict[str, Any]]) -> None:
    """Compare the tree of a commit with what ``state --at`` prints."""
    left = {path for path in files if not path.endswith(".txt")}
    for shown in state:
        path = path_of(shown)
        if shown["type"] == "agent" and path not in files:
            continue  # has only tried so far
        left.remove(path)
        if shown["type"] == "memory":
            assert read_value(files[path].decode(), shown["value"]) == shown["value"], path
        elif shown["type"] == "agent":
            held = json.loads(files[path])
            assert (held["claims"], held["leases"]) == (shown["claims"], shown["leases"]), path
        else:
            assert json.loads(files[path]) == shown, path
        if shown["type"] == "inbox":
            folder = path.rpartition("/")[0]
            letters = {one for one in files if one.startswith(f"{folder}/") and one[-4:] == ".txt"}
            assert letters == {f"{folder}/{n}.txt" for n in range(1, shown["messages"] + 1)}
    assert left == set()


def read_value(text: str, value: Any) -> Any:
    """Read the file of a value back, given the value for its kind only."""
    if isinstance(value, str):
        return text if value.endswith("\n") else text.removesuffix("\n")
    lines = text.split("\n")[:-1]
    if value and isinstance(value, list):
        assert all(line.startswith("- ") for line in lines)
        return [json.loads(line[2:]) for line in lines]
    return (
        json.loads("{" + ",".join(lines) + "}")
        if value and isinstance(value, dict)
        else json.loads(text)
    )


def test_git_finds_it_sound_and_counts_the_versions(user: User):
    user("export", "--git", "run").ok()
    run = user.work / "run"
    assert git(run, "fsck", "--strict", "--full") == ""
    versions = [key for key in objects(store_of(user)) if key.startswith("chains/")]
    assert int(git(run, "rev-list", "--count", "main")) == len(versions)
    assert git(run, "status", "--porcelain") == ""
    ids = git(run, "log", "--format=%(trailers:key=Tclog-Version,valueonly,separator=)").split()
    assert len(set(ids)) == len(versions)
    assert not [path for path in tree(run, "main") if "/." in path or path.startswith(".")]


def test_the_tree_of_a_commit_is_the_state_then(user: User):
    user("export", "--git", "run").ok()
    run = user.work / "run"
    log = git(run, "log", "--format=%H %(trailers:key=Tclog-Version,valueonly,separator=)")
    rows = [line.split() for line in log.splitlines()]
    for commit, version in [rows[0], rows[-1], *random.Random(1).sample(rows, 14)]:
        state = user("state", "--at", version, "--json").objects()
        assert_same(tree(run, commit), state)


def test_a_generated_log_is_exported_as_it_was(tmp_path: Path):
    user = User(tmp_path)
    store = FileStore(user.work / ".tclog" / "store" / PROJECT, fsync=False)
    generate(store, events=1200, seed=7)
    mark = b'{"created_at":"2026-11-23T00:00:00.000000Z","format":1,"id":"0","project":"demo"}'
    store.put("tclog.json", mark)
    (user.work / ".tclog" / "config.toml").write_text('store = ".tclog/store"\nproject = "demo"\n')
    user("export", "--git", "run").ok()
    run = user.work / "run"
    assert git(run, "fsck", "--strict") == ""
    log = git(run, "log", "--format=%H %(trailers:key=Tclog-Version,valueonly,separator=)")
    rows = [line.split() for line in log.splitlines()]
    for commit, version in random.Random(2).sample(rows, 12):
        assert_same(tree(run, commit), user("state", "--at", version, "--json").objects())
    tags = user("tag", "--json").objects()
    assert len(tags) > 0
    for tag in tags:
        commit = git(run, "rev-list", "-1", tag_ref(tag["name"])).strip()
        assert_same(tree(run, commit), user("state", "--at", tag["name"], "--json").objects())


# -- blame ----------------------------------------------------------------------------------------

AGENTS = ("alice", "bob", "carol")
CHAIN_FORMAT = "%(trailers:key=Tclog-Chain,valueonly,separator=)"
Edit = Callable[[Log, str], Any]


def versions_of(run: Path) -> dict[str, str]:
    """Return the version of each commit, as ``memory/KEY#1``."""
    rows = git(run, "log", f"--format=%H {CHAIN_FORMAT}", "main").splitlines()
    return dict(row.split(" ", 1) for row in rows)


def blamed_by_git(run: Path, path: str, versions: Mapping[str, str]) -> list[tuple[str, str, str]]:
    """Return each line of a file with its author, and the version that git blames for it."""
    words = ("blame", "--line-porcelain", "--no-abbrev", "main", "--", path)
    raw = subprocess.run(["git", "-C", str(run), *words], capture_output=True, check=True).stdout
    rows, commit, author = [], "", ""
    for line in raw.decode().split("\n"):
        if re.match(r"[0-9a-f]{40} ", line):
            commit = line[:40]
        elif line.startswith("author "):
            author = line.removeprefix("author ")
        elif line.startswith("\t"):
            rows.append((line[1:], author, commit))
    return [(line, author, versions[commit]) for line, author, commit in rows]


def blamed_by_tclog(user: User, key: str) -> list[tuple[str, str, str]]:
    rows = []
    blamed = user("blame", key, "--json")
    for row in blamed.objects() if blamed.code != 3 else ():
        line = row["value"]
        if row["kind"] != "line":
            line = json.dumps(line, ensure_ascii=False, sort_keys=True)
        if row["kind"] == "member":
            line = f"{json.dumps(row['name'], ensure_ascii=False)}: {line}"
        elif row["kind"] == "element":
            line = f"- {line}"
        rows.append((line, row["agent"], f"memory/{key}#{row['version']}"))
    return rows


def appends(rng: random.Random) -> Iterator[Edit]:
    """Yield appends of all sorts of lines: the same ones again and again, blank, indented."""
    some = ("", "y", "  y", "    z", "}", "y\r", "\x00", "é")
    for _ in range(rng.randint(2, 9)):
        text = "\n".join(rng.choices(some, k=rng.randint(1, 4))) + rng.choice(("", "\n"))
        between = rng.choice(("\n", "\n", "\n\n"))  # what else it could be changes the line before
        yield lambda log, key, t=text, b=between: log.memory.append(key, t, separator=b)


def edits(rng: random.Random) -> Iterator[Edit]:
    """Yield edits anywhere; no line comes twice and none moves, so there is one right answer."""
    fresh, lines = itertools.count(), []
    for _ in range(rng.randint(2, 9)):
        match rng.randrange(8):
            case 0 if lines:
                yield lambda log, key: log.memory.delete(key)
                lines = []
            case 1 | 2:
                more = [f"{next(fresh)}" for _ in range(rng.randint(1, 3))]
                between = rng.choice(("\n", "\r\n", ""))
                text = "\n".join(more)
                yield lambda log, key, t=text, b=between: log.memory.append(key, t, separator=b)
                lines = between.join(["\n".join(lines), text][not lines :]).split("\n")
                continue
        for _ in range(rng.randint(0, 4)):
            at = rng.randint(0, len(lines))
            lines[at : at + rng.randint(0, 2)] = [
                str(next(fresh)) + rng.choice(("", "\r", " ")) for _ in range(rng.randint(0, 2))
            ]
        text = "\n".join(lines)
        # One that ends with a newline would be followed by a blank line when it is appended to.
        yield lambda log, key, t=text: log.memory.set(key, t)
    if lines:
        text = "\n".join([*lines, ""])
        yield lambda log, key, t=text: log.memory.set(key, t)


def members(rng: random.Random) -> Iterator[Edit]:
    """Yield JSON objects that gain, lose and change members, first and last ones too."""
    value: dict[str, Any] = {}
    for _ in range(rng.randint(2, 9)):
        for name in rng.sample("abcdé\n", rng.randint(1, 3)):
            value.pop(name, None)
            if rng.random() < 0.7:
                value[name] = rng.choice((1, 2.5, "x\ny", None, [1, {"b": 1, "a": "ü"}], {}))
        if value:
            yield lambda log, key, v=dict(value): log.memory.set(key, v)


def elements(rng: random.Random) -> Iterator[Edit]:
    """Yield JSON arrays that are edited and appended to."""
    fresh, value = itertools.count(), [0.5]
    for _ in range(rng.randint(2, 9)):
        if rng.random() < 0.5:
            at = rng.randint(0, len(value))
            value[at : at + rng.randint(0, 2)] = [{"n": next(fresh), "a": [1]}]
            yield lambda log, key, v=list(value): log.memory.set(key, v)
        else:
            value.append(f"{next(fresh)}")
            yield lambda log, key, t=value[-1]: log.memory.append(key, t)


def scalars(rng: random.Random) -> Iterator[Edit]:
    for _ in range(rng.randint(1, 4)):
        yield lambda log, key: log.memory.incr(key)
    yield lambda log, key: log.memory.set(key, rng.choice((True, None, 1.5, 12)))


KINDS = (appends, edits, members, elements, scalars)


def test_git_blames_each_line_on_whom_tclog_blames_it_on(user: User):
    rng = random.Random(20261130)
    logs = [open_log(store_of(user), agent) for agent in AGENTS]
    keys = [f"{kind.__name__} {nth}" for kind in KINDS for nth in range(7)]
    histories = {key: list(KINDS[nth // 7](rng)) for nth, key in enumerate(keys)}
    while left := [key for key in keys if histories[key]]:
        key = rng.choice(left)
        histories[key].pop(0)(rng.choice(logs), key)
    user("export", "--git", "run").ok()
    run = user.work / "run"
    versions, seen = versions_of(run), 0
    for key in keys:
        expected = blamed_by_tclog(user, key)
        if expected:  # there is none of a key that ends deleted, and of an empty array
            found = blamed_by_git(run, f"memory/{segment_of(key)}", versions)
            assert found == expected, key
        seen += len(expected)
    assert seen > 120


def test_the_very_text_of_each_version_is_in_the_repository(user: User):
    texts = ["a", "a\n", "", "\n", "a\n\n", "a\r", "\x00", "a\r\n", "é"]
    for text in texts:
        user("memory", "set", "text", "-", stdin=text.encode()).ok()
    user("export", "--git", "run").ok()
    run = user.work / "run"
    found = []
    for nth in range(1, len(texts) + 1):
        words = ("-1", f"--grep=^Tclog-Chain: memory/text#{nth}$")
        trailers = "--format=%H %(trailers:key=Tclog-Final-Newline,valueonly,separator=)"
        commit, _, newline = git(run, "log", *words, trailers, "main").strip().partition(" ")
        raw = tree(run, commit)["memory/text"]
        assert raw.endswith(b"\n")
        found.append(raw[:-1].decode() if newline == "added" else raw.decode())
    assert found == texts


def test_git_blames_each_field_on_the_commit_that_changed_it(user: User):
    rng = random.Random(3)
    logs = [open_log(store_of(user), agent) for agent in AGENTS]
    for _ in range(40):
        steps = rng.choice(logs).steps
        name = rng.choice("xyz")
        with contextlib.suppress(TclogError):
            rng.choice(
                [
                    lambda s=steps, n=name: s.add(n, title=rng.choice("ab"), priority=1),
                    lambda s=steps, n=name: s.claim(n),
                    lambda s=steps, n=name: s.note(n, rng.choice("cd")),
                    lambda s=steps, n=name: s.complete(n, note="done", to="bob"),
                    lambda s=steps, n=name: s.release(n),
                    lambda s=steps, n=name: s.reopen(n),
                ]
            )()
    user("export", "--git", "run").ok()
    run = user.work / "run"
    versions = versions_of(run)
    for path in (f"steps/{name}.json" for name in "xyz"):
        changed: dict[str, tuple[Any, str]] = {}
        commits = git(run, "log", "--reverse", "--format=%H", "main", "--", path).split()
        for commit in commits:
            shown = json.loads(tree(run, commit)[path])
            changed = {
                name: changed[name]
                if changed.get(name, ("?",))[0] == value
                else (value, versions[commit])
                for name, value in shown.items()
            }
        rows = {line: said for line, _, said in blamed_by_git(run, path, versions)}
        assert len(rows) == len(changed) + 1, "a line for each field, and one that ends it"
        for name, (_, said) in changed.items():
            (line,) = [line for line in rows if line[2:].startswith(f'"{name}": ')]
            assert rows[line] == said, (path, line)


def test_again_adds_what_is_new_and_changes_no_commit(user: User):
    first = user("export", "--git", "run", "--json").object()
    run = user.work / "run"
    before = git(run, "rev-list", "--reverse", "main").split()
    assert first["new_commits"] == first["commits"] == len(before)
    assert user("export", "--git", "run", "--json").object()["new_commits"] == 0
    user("claim", "more", agent="bob").ok()
    user("memory", "delete", "count").ok()
    user("tag", "here").ok()
    again = user("export", "--git", "run", "--json").object()
    assert again["new_commits"] == 3
    after = git(run, "rev-list", "--reverse", "main").split()
    assert after[: len(before)] == before
    assert git(run, "status", "--porcelain") == ""
    assert not (run / "memory" / "count").exists()
    assert git(run, "tag").split() == ["here"]
    user("export", "--git", "fresh").ok()
    assert git(user.work / "fresh", "rev-parse", "main") == git(run, "rev-parse", "main")
    user("tag", "here", "--delete").ok()
    user("export", "--git", "run").ok()
    assert git(run, "tag") == ""


def test_versions_that_come_late_begin_a_new_line_and_keep_the_old_one(user: User):
    store, late = store_of(user), {}
    for key, raw in objects(store).items():
        if key.startswith("chains/memory/float/"):
            late[key] = raw
            store.delete(key)
    user("export", "--git", "run").ok()
    run = user.work / "run"
    old = git(run, "rev-parse", "main").strip()
    for key, raw in late.items():
        store.put(key, raw)
    user("sync", "--full").ok()
    done = user("export", "--git", "run", "--json").ok()
    made = json.loads(done.out)
    assert made["superseded"]
    assert git(run, "rev-parse", made["superseded"]).strip() == old
    user("export", "--git", "fresh").ok()
    assert git(user.work / "fresh", "rev-parse", "main") == git(run, "rev-parse", "main")
    assert git(run, "fsck", "--strict") == ""
    assert git(run, "status", "--porcelain") == ""


def test_only_an_export_of_this_project_is_written_to(user: User):
    for folder, words in (
        ("mine", ["init", "-q"]),
        ("bare", ["init", "-q", "--bare"]),
        ("full", ["init", "-q"]),
    ):
        (user.work / folder).mkdir()
        git(user.work / folder, *words)
    (user.work / "files").mkdir()
    (user.work / "files" / "x").write_text("mine")
    who = ("-c", "user.name=x", "-c", "user.email=x@y")
    git(user.work / "full", *who, "commit", "-q", "--allow-empty", "-m", "mine")
    for folder in ("files", "full", "."):
        assert user("export", "--git", folder, "--json").error(4)["code"] == "not-an-export"
    for folder in ("mine", "bare"):
        user("export", "--git", folder).ok()
        assert git(user.work / folder, "fsck", "--strict") == ""
    git(user.work / "mine", *who, "commit", "-q", "--allow-empty", "-m", "mine")
    assert user("export", "--git", "mine", "--json").error(4)["code"] == "not-an-export"
    inner = user.work / "mine" / "inner"
    user("export", "--git", str(inner)).ok()
    assert (inner / ".git").is_dir()


def test_what_was_edited_by_hand_is_left_alone(user: User):
    user("export", "--git", "run").ok()
    run = user.work / "run"
    (run / "memory" / "journal").write_text("my notes")
    user("memory", "append", "journal", "more").ok()
    user("export", "--git", "run").ok()
    assert (run / "memory" / "journal").read_text() == "my notes"
    assert "more" in git(run, "show", "main:memory/journal")


def test_git_of_an_outer_process_is_not_meant(user: User):
    outer = user.work / "outer"
    outer.mkdir()
    git(outer, "init", "-q")
    user("export", "--git", "run", env={"GIT_DIR": str(outer / ".git"), "GIT_WORK_TREE": "/"}).ok()
    assert (user.work / "run" / ".git").is_dir()
    assert git(outer, "for-each-ref") == ""


def test_without_git_it_is_said_how_to_get_it(user: User):
    error = user("export", "--git", "run", "--json", env={"PATH": "/nowhere"}).error(1)
    assert error["code"] == "git-missing"
    assert error["hint"] == "apt-get install git"


def test_an_export_that_is_killed_changes_nothing(user: User):
    user("export", "--git", "run").ok()
    run = user.work / "run"
    before = git(run, "rev-parse", "main")
    log = open_log(store_of(user), "zoe")
    for nth in range(200):
        log.memory.append("long", f"line {nth} " * 200)
    tips = set()
    for timeout_s in (0.1, 0.3, 0.5, 0.7):
        child = user.processes("export", "--git", "run")
        try:
            child.communicate(timeout=timeout_s)
        except subprocess.TimeoutExpired:
            child.kill()
            child.communicate()
        git(run, "fsck", "--strict")
        tips.add(git(run, "rev-parse", "main"))
    user("export", "--git", "run").ok()
    user("export", "--git", "fresh").ok()
    whole = git(run, "rev-parse", "main")
    assert git(user.work / "fresh", "rev-parse", "main") == whole
    # What is seen after a kill is what was there before, or all that is new; nothing between.
    assert tips <= {before, whole}


# -- names ----------------------------------------------------------------------------------------

names = st.text(st.characters(exclude_categories=["Cs", "Cc", "Zl", "Zp"]), min_size=1, max_size=50)


@given(names)
def test_no_name_means_anything_to_git(name: str):
    segment = segment_of(name)
    assert not segment.startswith(".")
    assert "/" not in segment
    assert segment.isascii()
    ref = tag_ref(name)
    assert subprocess.run(["git", "check-ref-format", ref], check=False).returncode == 0, ref


@given(st.lists(names, min_size=2, max_size=2, unique=True))
def test_two_names_never_meet(pair: list[str]):
    assert segment_of(pair[0]) != segment_of(pair[1])
    assert tag_ref(pair[0]) != tag_ref(pair[1])


@pytest.mark.parametrize(
    ("agent", "shown"),
    [
        ("alice", "alice <alice@tclog>"),
        ("a <b@c>", "a b@c <a%20%3Cb%40c%3E@tclog>"),
        ("...", "%2E%2E%2E <%2E%2E%2E@tclog>"),
        ("Zoë 1.", "Zoë 1 <Zo%C3%AB%201.@tclog>"),
    ],
)
def test_an_agent_is_a_person_to_git(agent: str, shown: str):
    assert identity(agent) == shown


def test_the_broadcasts_have_a_folder_no_agent_can_have():
    assert segment_of(chain_name(ALL)) == "@all"
    assert segment_of(chain_name(ChainId("inbox/%40all"))) != "@all"
