"""One process for each operation, as a script or an agent calls it: tclog, Tracecraft, etcdctl."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from bench.measuring import run, tell
from bench.places import AGENT, Bench, etcd_environ

MESSAGES = 3
OPERATIONS = ("claim", "memory set", "memory get", "send", "inbox")


class Runner(NamedTuple):
    """One tool on one store: the words of an operation in a given round."""

    tool: str
    store: str
    env: Mapping[str, str]
    folder: Path
    words: Mapping[str, Callable[[int], Sequence[str | Path]]]
    before: Callable[[], None] = lambda: None


def measure(bench: Bench) -> None:
    """Measure all tools in turns: each round runs each operation once with each of them."""
    runners = [_plain(bench), _tclog(bench, "file")]
    if bench.s3 is not None:
        runners += [_tclog(bench, "s3"), _cold(bench)]
        if bench.peer is not None:
            runners.append(_peer(bench))
    if bench.etcd is not None:
        runners.append(_etcd(bench))
    rounds = bench.size(20, 1)
    for nth in range(rounds):
        if nth % 5 == 0:
            tell(f"cli: round {nth + 1} of {rounds}")
        for op in ("import click", "python", *OPERATIONS):
            # Whoever begins has the disadvantage of a cold cache; so they take turns in that too.
            at = nth % len(runners)
            for runner in [*runners[at:], *runners[:at]]:
                if op not in runner.words:
                    continue
                runner.before()
                took = run(runner.words[op](nth), env=runner.env, cwd=runner.folder)
                bench.results.add(
                    "cli", tool=runner.tool, store=runner.store, op=op, round=nth,
                    **took.as_record(),
                )  # fmt: skip


def _plain(bench: Bench) -> Runner:
    """What Python and click take by themselves."""
    words = {
        "python": lambda _: [bench.python, "-c", "pass"],
        "import click": lambda _: [bench.python, "-c", "import click"],
    }
    return Runner("python", "-", bench.environ(), bench.scratch, words)


def _tclog(bench: Bench, store: str) -> Runner:
    project = bench.project(f"cli-{store}", store)
    for nth in range(MESSAGES):
        project.run("send", "bob", f"message {nth}")
    project.run("memory", "set", "key", "value")
    tclog = bench.tclog
    words: Mapping[str, Callable[[int], Sequence[str | Path]]] = {
        "claim": lambda nth: [tclog, "claim", f"step-{nth}"],
        "memory set": lambda nth: [tclog, "memory", "set", "key", f"value {nth}"],
        "memory get": lambda _: [tclog, "memory", "get", "key"],
        "send": lambda nth: [tclog, "send", "carol", f"message {nth}"],
        "inbox": lambda _: [tclog, "inbox", "--as", "bob"],
    }
    return Runner("tclog", store, project.env, project.folder, words)


def _cold(bench: Bench) -> Runner:
    """The same on a machine that has never seen the project: no cache at all."""
    warm = _tclog(bench._replace(scratch=bench.scratch / "cold"), "s3")
    cache = warm.folder / "cache"
    claim = {"claim": lambda nth: [bench.tclog, "claim", f"cold-{nth}"]}
    env = {**warm.env, "TCLOG_CACHE": str(cache)}
    forget = lambda: shutil.rmtree(cache, ignore_errors=True)  # noqa: E731
    return warm._replace(
        tool="tclog, new machine", env=env, words=warm.words | claim, before=forget
    )


def _peer(bench: Bench) -> Runner:
    peer, folder = bench.peer, bench.scratch / "cli-peer"
    assert peer is not None
    assert bench.s3 is not None
    folder.mkdir()
    env = bench.environ()
    run(
        [peer, "init", "--endpoint", env["AWS_ENDPOINT_URL"], "--bucket",
         f"tclog-bench-peer-{bench.scratch.name.lower().replace('_', '-')}", "--project", "p",
         "--agent", AGENT, "--access-key", env["AWS_ACCESS_KEY_ID"],
         "--secret-key", env["AWS_SECRET_ACCESS_KEY"]],
        env=env, cwd=folder,
    )  # fmt: skip
    for nth in range(MESSAGES):
        run([peer, "send", "bob", f"message {nth}"], env=env, cwd=folder)
    bob = {"TRACECRAFT_AGENT": "bob"}
    words: Mapping[str, Callable[[int], Sequence[str | Path]]] = {
        "claim": lambda nth: [peer, "claim", f"step-{nth}"],
        "memory set": lambda nth: [peer, "memory", "set", "key", f"value {nth}"],
        "memory get": lambda _: [peer, "memory", "get", "key"],
        "send": lambda nth: [peer, "send", "carol", f"message {nth}"],
        "inbox": lambda _: ["env", *(f"{k}={v}" for k, v in bob.items()), peer, "inbox"],
    }
    return Runner("tracecraft", "s3", env, folder, words)


def _etcd(bench: Bench) -> Runner:
    """The nearest words of a server's client; a claim is a put that expects no such key."""
    at = ["etcdctl", "--endpoints", str(bench.etcd)]
    claim = 'printf \'create("step-%s") = "0"\\n\\nput "step-%s" alice\\n\\n\\n\' "$1" "$1" | "$@"'
    words: Mapping[str, Callable[[int], Sequence[str | Path]]] = {
        "claim": lambda nth: ["sh", "-c", claim.replace('"$@"', " ".join([*at, "txn"])), "sh",
                              str(nth)],
        "memory set": lambda nth: [*at, "put", "key", f"value {nth}"],
        "memory get": lambda _: [*at, "get", "key"],
    }  # fmt: skip
    return Runner("etcdctl", "etcd", etcd_environ(), bench.scratch, words)
