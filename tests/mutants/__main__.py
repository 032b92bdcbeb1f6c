"""Changes the code in one place at a time, and runs the tests that cover the place.

    scripts/mutants --count 150 --seed 7          a sample, the same share of each module
    scripts/mutants --module tclog/log/claims.py  all changes of a module, or --line 192 of it
    scripts/mutants --list                        only says what it would change

A change is *killed* if a test fails, *timed out* if one does not end, and has *survived* if all
pass. Each is a line of JSON; the last line is the sum. Run first are the tests of rules, protocol
and history, then simulated schedules, then the tests that start processes; the first failure ends
it. The tests are run in a copy of the code, never here. Which test runs which line is found out
once and kept in the temporary folder; only files of tests that have changed are run for it again,
and with `--stale` none is. A test that runs the line is chosen the sooner the less else it runs.

`tests/mutants/explained.toml` names the changes that no test can or need notice, each with its
reason. *Equivalent* ones cannot be noticed and are left out; *cost* ones make a command slower or
word a message differently, and count as survived.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
import tomllib
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from mutants.changes import Change, changed, changes, differs

ROOT = Path(__file__).resolve().parents[2]
EXPLAINED = Path(__file__).with_name("explained.toml")
KEPT = Path(tempfile.gettempdir()) / f"tclog-mutants-{os.getuid()}"
# Where the guarantees live.
MODULES = [
    *(f"tclog/chain/{name}.py" for name in (
        "append", "combine", "fold", "heads", "judge", "junk", "once", "race", "read", "remembered",
        "resolve", "seal", "settle", "slots", "transact", "trust", "view",
    )),
    "tclog/clock.py",
    *(f"tclog/domain/{name}.py" for name in ("barriers", "content", "inbox", "memory", "steps")),
    *(f"tclog/event/{name}.py" for name in ("canonical", "names", "records", "schema")),
    *(f"tclog/history/{name}.py" for name in ("diff", "revert", "snapshot")),
    *(f"tclog/log/{name}.py" for name in ("claims", "inbox", "transactions", "waiting")),
    *(f"tclog/maintenance/{name}.py" for name in (
        "copies/copy", "copies/slots", "fsck/chains", "gc", "pack", "void",
    )),
    "tclog/moment.py",
    "tclog/store/file.py",
    *(f"tclog/sync/{name}.py" for name in ("chains", "sync")),
]  # fmt: skip
NEAR = (
    "tests/unit",
    "tests/protocol",
    "tests/stores",
    "tests/history",
    "tests/maintenance",
    "tests/sync",
    "tests/vectors",
)
FAR = ("tests/cli", "tests/story", "tests/simulation", "tests/fuzz", "tests/docs")
LEFT_OUT = {
    "tests/stores/test_s3.py", "tests/stores/test_probe.py", "tests/protocol/test_crowd.py",
    "tests/simulation/test_teeth.py", "tests/simulation/test_schedules.py",
    "tests/simulation/test_shrink.py", "tests/sync/test_scale.py",
}  # fmt: skip
SCHEDULES = (["--count", "300"], ["--count", "150", "--work", "txn"])
# What the tests of one part may take by the time that they took when they were looked at.
PART_S = 60.0
FLAKY_MAX = 3
TIME_LIMIT_S = 120.0


class Mutant(NamedTuple):
    """One change of one module."""

    module: str
    change: Change


class Explained(NamedTuple):
    """A change that is explained.

    ``at`` is a part of its line, or of the one above, where others there look alike.
    """

    module: str
    where: str
    change: str
    kind: str
    why: str
    at: str = ""

    def of(self, mutant: Mutant) -> bool:
        """Whether this is about a mutant. Lines may move."""
        change = mutant.change
        if (self.module, self.where, self.change) != (mutant.module, change.where, change.shown):
            return False
        lines = (ROOT / self.module).read_text().splitlines()
        return self.at in "\n".join(lines[change.line - 2 : change.line])


# The functions of a module that are run, and which of their lines, counted from their first.
Ran = dict[str, list[int]]


class Test(NamedTuple):
    """What a test runs of each module, and how long that took."""

    seconds: float
    ran: dict[str, Ran]

    def cost(self, module: str) -> float:
        """Return the seconds for each part of what it runs that is of a module."""
        return self.seconds * sum(map(_lines, self.ran.values())) / _lines(self.ran[module])


def _lines(ran: Ran) -> int:
    return sum(map(len, ran.values()))


class Known(NamedTuple):
    """The tests, by their ids, and how many seconds of them one part of a mutant's tests takes."""

    tests: dict[str, Test]
    part_s: float
    # Tests that were seen to pass without any change.
    sound: set[str]


class Tree:
    """A copy of the code and its tests, with a Python of its own that finds no other tclog."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self._mutant: Mutant | None = None
        left_out = shutil.ignore_patterns(".hypothesis", "*.pyc")
        for part in ("tclog", "tests", "docs"):
            shutil.copytree(ROOT / part, root / part, ignore=left_out)
        for part in ("pyproject.toml", "README.md"):
            shutil.copy(ROOT / part, root / part)
        self.python = root / ".venv" / "bin" / "python"
        self.packages = root / ".venv" / "lib" / f"python3.{sys.version_info[1]}" / "site-packages"
        self.packages.mkdir(parents=True)
        self.python.parent.mkdir()
        for program in Path(sys.executable).parent.iterdir():
            if program.name != "tclog":
                link = program.resolve() if program.name.startswith("python") else program
                (self.python.parent / program.name).symlink_to(link)
        home = Path(sys.executable).resolve().parent
        (root / ".venv" / "pyvenv.cfg").write_text(
            f"home = {home}\ninclude-system-site-packages = false\n"
        )
        folders = [root, *(path for path in sys.path if path.endswith("site-packages"))]
        (self.packages / "tree.pth").write_text("".join(f"{path}\n" for path in folders))
        command = self.python.with_name("tclog")
        command.write_text(f"#!{self.python}\nfrom tclog.cli import main\nmain()\n")
        command.chmod(0o755)
        no_ceph = root / "scripts" / "ceph"
        no_ceph.parent.mkdir()
        no_ceph.write_text("#!/bin/sh\nexit 1\n")
        no_ceph.chmod(0o755)

    def trace(self, folder: Path) -> None:
        """Let each process of this tree write down its lines into a folder."""
        shutil.copy(Path(__file__).with_name("covering.py"), self.packages)
        start = f"covering.start({str(self.root)!r}, {str(folder)!r}, {MODULES!r})"
        (self.packages / "trace.pth").write_text(f"import covering; {start}\n")

    def compile(self) -> None:
        """Keep the bytecode of all that is not changed; what is changed has another time."""
        keeps = {"PYTHONDONTWRITEBYTECODE": ""}
        self.run("-m", "compileall", "-q", "tclog", limit_s=TIME_LIMIT_S, **keeps)
        self.run("-m", "pytest", "--co", "-q", *NEAR, *FAR, limit_s=TIME_LIMIT_S, **keeps)

    @contextmanager
    def mutated(self, mutant: Mutant | None) -> Iterator[None]:
        """Make a change, in place of the one that is made now, and take it back."""
        before, self._mutant = self._mutant, mutant
        self._write(before, mutant)
        try:
            yield
        finally:
            self._mutant = before
            self._write(mutant, before)

    def _write(self, last: Mutant | None, mutant: Mutant | None) -> None:
        if last is not None:
            shutil.copy2(ROOT / last.module, self.root / last.module)
        if mutant is not None:
            source = (ROOT / mutant.module).read_text()
            (self.root / mutant.module).write_text(changed(source, mutant.change))

    def run(self, *words: str, limit_s: float, **environ: str) -> tuple[int | None, str]:
        """Run Python; return its exit status, None if it did not end, and the end of its output."""
        told = {"PYTHONDONTWRITEBYTECODE": "1", "PYTHONPATH": str(self.root / "tests"), **environ}
        with tempfile.TemporaryFile() as out:
            process = subprocess.Popen(
                [self.python, *words], cwd=self.root, env={**os.environ, **told},
                stdin=subprocess.DEVNULL, stdout=out, stderr=out, start_new_session=True,
            )  # fmt: skip
            try:
                status = process.wait(limit_s)
            except subprocess.TimeoutExpired:
                status = None
            finally:
                if process.poll() is None:
                    os.killpg(process.pid, signal.SIGKILL)
                    process.wait()
            out.seek(0)
            return status, out.read().decode(errors="replace")[-4000:]

    def pytest(self, names: Sequence[str], limit_s: float) -> tuple[int | None, str]:
        """Run tests in this order until one fails."""
        chosen = self.root / "chosen.json"
        chosen.write_text(json.dumps(names))
        files = list(dict.fromkeys(map(_file, names)))
        words = ["-m", "pytest", "-x", "-q", "-p", "no:cacheprovider", "-p", "mutants.selecting",
                 "--tb=line", *files]  # fmt: skip
        return self.run(*words, limit_s=limit_s, MUTANTS_SELECT=str(chosen))


# -- which test runs which line -------------------------------------------------------------------


def test_files() -> list[str]:
    """Return the files whose tests are run, those without processes first."""
    found = [
        str(path.relative_to(ROOT))
        for part in (*NEAR, *FAR)
        for path in sorted((ROOT / part).rglob("test_*.py"))
    ]
    return [name for name in found if name not in LEFT_OUT]


def cover(files: Iterable[str], jobs: int, *, stale: bool = False) -> dict[str, Test]:
    """Return what each test runs; files that have changed since they were looked at are run.

    With ``stale`` none is run: what was known of a file before it was changed has to do.
    """
    KEPT.mkdir(exist_ok=True)

    def look(name: str) -> dict[str, Test]:
        looked_at = (ROOT / name).read_bytes() + repr(MODULES).encode()
        key = hashlib.sha256(looked_at).hexdigest()[:24]
        begins = name.replace("/", "-")
        kept = KEPT / f"{begins}-{key}.json"
        if stale and not kept.exists():
            before = sorted(KEPT.glob(f"{begins}-*.json"), key=os.path.getmtime)
            if not before:
                return {}
            kept = before[-1]
        if not kept.exists():
            print(f"looking at {name}", file=sys.stderr, flush=True)
            kept.write_text(json.dumps(_trace(name)))
        return {
            name: Test(seconds, ran)
            for name, (seconds, ran) in json.loads(kept.read_text()).items()
        }

    with ThreadPoolExecutor(jobs) as pool:
        return {name: test for found in pool.map(look, files) for name, test in found.items()}


def _trace(name: str) -> dict[str, Any]:
    """Run one file of tests; return, by test that passed, the seconds and what it ran."""
    with tempfile.TemporaryDirectory(prefix="tclog-mutants-") as root:
        tree, folder = Tree(Path(root) / "tree"), Path(root) / "ran"
        folder.mkdir()
        tree.trace(folder)
        # Most stories are slow, and all that processes do is told by one of them.
        quick = ["-m", "not slow"] if not name.startswith("tests/story") else []
        words = ["-m", "pytest", "-q", "-p", "no:cacheprovider", "-p", "mutants.selecting",
                 "--tb=no", *quick, name]  # fmt: skip
        tree.run(*words, limit_s=900, MUTANTS_NOW=str(folder))
        times = folder / "times"
        found: dict[str, Any] = {}
        for line in times.read_text().splitlines() if times.exists() else []:
            nth, test, seconds, passed = json.loads(line)
            ran: dict[str, dict[str, list[int]]] = defaultdict(lambda: defaultdict(list))
            for entry in (folder / str(nth)).read_text().splitlines() if passed else []:
                module, function, number = entry.rsplit(":", 2)
                ran[module][function].append(int(number))
            if ran:
                found[test] = (
                    seconds,
                    {
                        module: {
                            function: sorted(set(lines)) for function, lines in functions.items()
                        }
                        for module, functions in ran.items()
                    },
                )
        return found


def choose(mutant: Mutant, known: Known, parts: Sequence[str]) -> list[str]:
    """Return the tests of some folders that run a change's lines, the fastest files first.

    Should they be too many, those are chosen that are quick and run little but this module, some of
    each file.
    """
    change, module = mutant.change, mutant.module
    here = {
        name: test for name, test in known.tests.items()
        if name.startswith(tuple(parts)) and module in test.ran
    }  # fmt: skip
    # Few tests load a module themselves, and all that use it may notice what is run then.
    covering = here
    if change.base:
        covering = {n: t for n, t in here.items() if change.where in t.ran[module]}
        lines = range(change.first - change.base, change.last - change.base + 1)
        exactly = {
            n: t
            for n, t in covering.items()
            if not set(lines).isdisjoint(t.ran[module][change.where])
        }
        covering = exactly or covering
    # Files look at different things, so each further test of a file is dearer.
    nth: Counter[str] = Counter()
    ranked = []
    for name, test in sorted(covering.items(), key=lambda item: item[1].cost(mutant.module)):
        nth[_file(name)] += 1
        ranked.append((test.cost(mutant.module) * nth[_file(name)], name))
    chosen, spent_s = [], 0.0
    for _, name in sorted(ranked):
        spent_s += known.tests[name].seconds
        if chosen and spent_s > known.part_s:
            break
        chosen.append(name)
    cost: dict[str, float] = defaultdict(float)
    for name in chosen:
        cost[_file(name)] += known.tests[name].seconds
    return sorted(chosen, key=lambda name: (cost[_file(name)], _file(name)))


def _file(test: str) -> str:
    return test.partition("::")[0]


# -- one mutant -----------------------------------------------------------------------------------


def judge(tree: Tree, mutant: Mutant, known: Known) -> dict[str, Any]:
    """Run what covers a change against it."""
    begun = time.monotonic()
    status, by = "survived", ""
    for part in (NEAR, SCHEDULES, FAR):
        with tree.mutated(mutant):
            status, by = _part(tree, mutant, known, part)
        if status != "survived":
            break
    return {**_told(mutant), "status": status, "by": by,
            "seconds": round(time.monotonic() - begun, 1)}  # fmt: skip


def _part(tree: Tree, mutant: Mutant, known: Known, part: Any) -> tuple[str, str]:
    if part is SCHEDULES:
        for words in SCHEDULES:
            code, out = tree.run(
                "-m", "tclog.testing", "--jobs", "1", "--no-shrink", *words, limit_s=TIME_LIMIT_S
            )
            if code != 0:
                return _ended(code), "schedules" + (": " + _last(out) if code else "")
        return "survived", ""
    names = choose(mutant, known, part)
    limit_s = TIME_LIMIT_S + 2 * known.part_s
    for _ in range(FLAKY_MAX):
        if not names:
            break
        code, out = tree.pytest(names, limit_s=limit_s)
        if code in (0, 5):
            break
        by = _last(out)
        failed = by.removeprefix("FAILED ").partition(" - ")[0]
        if failed not in names or _notices(tree, mutant, known, failed, part):
            return _ended(code), by
        names.remove(failed)
    return "survived", ""


def _notices(tree: Tree, mutant: Mutant, known: Known, failed: str, part: Any) -> bool:
    """Whether a test that failed does so because of the change: not also without it.

    One that waits for other processes has to fail again too: the machine may be busy.
    """
    limit_s = TIME_LIMIT_S + 2 * known.part_s
    if failed not in known.sound:
        with tree.mutated(None):
            sound = tree.pytest([failed], limit_s=limit_s)[0] == 0
        if not sound:
            known.tests.pop(failed, None)
            return False
        known.sound.add(failed)
    return part is NEAR or tree.pytest([failed], limit_s=limit_s)[0] != 0


def _ended(code: int | None) -> str:
    return "timed out" if code is None else "killed"


def _last(out: str) -> str:
    """Return what pytest says failed, or the last line."""
    lines = [line for line in out.splitlines() if line.strip()]
    named = [line for line in lines if line.startswith(("FAILED ", "ERROR "))]
    return (named or lines or [""])[-1][:400]


def _told(mutant: Mutant) -> dict[str, Any]:
    return {"module": mutant.module, "line": mutant.change.line, "in": mutant.change.where,
            "change": mutant.change.shown}  # fmt: skip


# -- all of them ----------------------------------------------------------------------------------


def sample(
    modules: Sequence[str], lines: Sequence[int], count: int | None, seed: int
) -> list[Mutant]:
    """Return changes of modules: all, or as many of each module."""
    rng = random.Random(seed)
    rows: list[Iterator[Mutant]] = []
    for module in modules:
        source = (ROOT / module).read_text()
        row = [one for one in changes(source) if not lines or one.line in lines]
        if count is not None:
            rng.shuffle(row)
        rows.append(_made(module, source, row))
    if count is None:
        return [one for row in rows for one in row]
    dealt: list[Mutant] = []
    while rows and len(dealt) < count:
        for row in list(rows):
            one = next(row, None)
            if one is None:
                rows.remove(row)
            else:
                dealt.append(one)
    return sorted(dealt[:count], key=lambda one: (modules.index(one.module), one.change.start))


def _made(module: str, source: str, row: Iterable[Change]) -> Iterator[Mutant]:
    return (Mutant(module, change) for change in row if differs(source, change))


def explained() -> list[Explained]:
    """Return the changes that are explained."""
    rows = tomllib.loads(EXPLAINED.read_text()).get("mutant", [])
    return [Explained(where=row.pop("in"), **row) for row in rows]


def main(words: Sequence[str] | None = None) -> int:
    """Run a sample and sum up; return 1 if a change survived that is not explained."""
    parser = argparse.ArgumentParser(
        prog="scripts/mutants", description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    parser.add_argument("--module", action="append", help="only these modules")
    parser.add_argument("--line", action="append", type=int, help="only these lines")
    parser.add_argument("--count", type=int, help="how many; without it all")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument(
        "--part-seconds", type=float, default=PART_S, help="of tests in each of two parts"
    )
    parser.add_argument(
        "--stale", action="store_true", help="run no changed file of tests to see what it covers"
    )
    parser.add_argument("--list", action="store_true", help="run nothing")
    told = parser.parse_args(words)
    mutants = sample(told.module or MODULES, told.line or (), told.count, told.seed)
    if told.list:
        for mutant in mutants:
            print(json.dumps(_told(mutant)))
        return 0
    rows = explained()
    equivalent = [row for row in rows if row.kind == "equivalent"]
    left_out = [one for one in mutants if any(row.of(one) for row in equivalent)]
    tests = cover(test_files(), told.jobs, stale=told.stale)
    known = Known(tests, told.part_seconds, set())
    results = run([one for one in mutants if one not in left_out], known, told.jobs, rows)
    return summarize(results, len(left_out))


def run(
    mutants: Sequence[Mutant], known: Known, jobs: int, rows: Sequence[Explained]
) -> list[dict[str, Any]]:
    """Judge all, each process in a tree of its own; print each as soon as it is known."""
    here = threading.local()
    with tempfile.TemporaryDirectory(prefix="tclog-mutants-") as root:

        def work(mutant: Mutant) -> dict[str, Any]:
            if not hasattr(here, "tree"):
                here.tree = Tree(Path(root) / f"{threading.get_ident()}")
                here.tree.compile()
            result = judge(here.tree, mutant, known)
            why = [row.why for row in rows if row.of(mutant)]
            if result["status"] == "survived" and why:
                result["why"] = why[0]
            print(json.dumps(result), flush=True)
            return result

        with ThreadPoolExecutor(jobs) as pool:
            return list(pool.map(work, mutants))


def summarize(results: Sequence[dict[str, Any]], equivalent: int) -> int:
    """Print the sum; return 1 if a change survived that is not explained."""
    count = Counter(result["status"] for result in results)
    caught = count["killed"] + count["timed out"]
    print(
        json.dumps(
            {
                "mutants": len(results) + equivalent,
                "equivalent": equivalent,
                "killed": count["killed"],
                "timed_out": count["timed out"],
                "survived": count["survived"],
                "explained": sum("why" in result for result in results),
                "caught_percent": round(100 * caught / max(1, len(results)), 1),
            }
        )
    )
    return int(any(r["status"] == "survived" and "why" not in r for r in results))


if __name__ == "__main__":
    sys.exit(main())
