"""Starting up: a hot command loads what it needs and nothing else.

Agents run thousands of commands, and most of the time of each goes into loading modules. What
costs more than it is worth is named here with the list of what may be loaded besides ``click``.
"""

from __future__ import annotations

import inspect
import json
import os
import subprocess
import sys

import pytest

from .conftest import User

# Each hot command, and the rules that it needs beside those that all need.
DOMAIN = {
    "claim s": {"steps"},
    "memory get k": set(),
    "memory set k v": set(),
    "send bob hi": {"inbox"},
    "inbox": {"inbox"},
    "ack 1": {"inbox"},
    "status": {"inbox", "steps"},
}
HOT = [line.split() for line in DOMAIN]
# What no hot command needs, except where it says so.
ELSEWHERE = {
    "tclog.chain.combine", "tclog.cli.files", "tclog.cli.operations", "tclog.history",
    "tclog.index", "tclog.log.history", "tclog.log.holding", "tclog.log.opening",
    "tclog.maintenance", "tclog.moment", "tclog.store.memory", "tclog.store.probe", "tclog.sync",
    "tclog.testing",
}  # fmt: skip
LOADS = {
    "inbox": {"tclog.moment"},  # its --timeout has a default
}
# Each would cost some milliseconds to some hundreds, at every call.
NEVER = {
    "argparse", "ast", "asyncio", "boto3", "botocore", "concurrent", "csv", "decimal", "difflib",
    "dis", "email", "fnmatch", "fractions", "getpass", "gettext", "hashlib", "http",
    "importlib.metadata", "inspect", "ipaddress", "locale", "logging", "multiprocessing", "ntpath",
    "optparse", "pathlib", "pickle", "platform", "platformdirs", "queue", "rich", "secrets",
    "select", "selectors", "signal", "socket", "sqlite3", "ssl", "statistics", "subprocess",
    "tempfile", "tokenize", "tomllib", "typing_extensions", "unittest", "urllib", "urllib3", "xml",
    "zipfile", "zoneinfo",
}  # fmt: skip
# What tclog and its dependencies load on top of click; growing this list needs a reason.
ALLOWED = {
    "file": {
        "blake3", "orjson", "tclog",
        "dataclasses", "copy", "json",  # orjson's
    },
    "s3": {
        "obstore", "calendar", "datetime",
        "resource",  # how many requests may go out side by side here; a tenth of a millisecond
    },
}  # fmt: skip
ALLOWED["s3"] |= ALLOWED["file"]
_LOOK = """
import atexit, json, sys
from tclog.cli.startup import Deferred, defer_unused
defer_unused()
def loaded():
    return {name for name, module in sys.modules.items() if type(module) is not Deferred}
import click
before = loaded()
def tell():
    found = {name for name in loaded() if name in NEVER or name not in before}
    print(json.dumps(sorted(found)), file=sys.stderr)
atexit.register(tell)
from tclog.cli import main
main()
"""


def loaded(user: User, words: list[str]) -> set[str]:
    """Return the modules that a command loads on top of click, and what none should load."""
    look = f"NEVER = {sorted(NEVER)}\n{_LOOK}"
    done = user.process("-c", look, *words, program=sys.executable).ok()
    return set(json.loads(done.err.splitlines()[-1]))


def check(user: User, words: list[str], store: str) -> None:
    modules = loaded(user, words)
    heavy = {name for name in modules for bad in NEVER if f"{name}.".startswith(f"{bad}.")}
    assert not heavy
    line = " ".join(words)
    assert not modules & ELSEWHERE - LOADS.get(line, set())
    domain = {name.removeprefix("tclog.domain.") for name in modules if "tclog.domain." in name}
    assert domain == {"content", "decision", "memory"} | DOMAIN[line]
    tops = {name.partition(".")[0] for name in modules}
    more = {name for name in tops - ALLOWED[store] if not name.startswith("_")}
    assert not more - set(sys.builtin_module_names)


def prepare(user: User) -> None:
    """Fill caches and the store, so that the commands do what they usually do."""
    for words in (["memory", "set", "k", "v"], ["send", "alice", "hi"], ["step", "add", "s"]):
        user(*words).ok()


@pytest.mark.parametrize("words", HOT, ids=" ".join)
def test_hot_commands_load_little_on_a_folder(project: User, words: list[str]):
    prepare(project)
    check(project, words, "file")


@pytest.mark.parametrize("words", HOT, ids=" ".join)
def test_hot_commands_load_little_on_a_bucket(bucket: User, words: list[str]):
    prepare(bucket)
    check(bucket, words, "s3")


@pytest.mark.parametrize("words", HOT[:3], ids=" ".join)
def test_hot_commands_load_as_little_on_a_new_machine(bucket: User, words: list[str]):
    prepare(bucket)
    bucket.environ["TCLOG_CACHE"] = str(bucket.folder / "nothing yet")
    check(bucket, words, "s3")


def test_a_message_that_meets_no_other_loads_nothing_of_combining(project: User):
    prepare(project)
    assert "tclog.chain.combine" not in loaded(project, ["send", "bob", "hi"])


@pytest.mark.parametrize(
    ("words", "files"),
    [(["status"], {"status"}), (["memory", "get", "k"], {"memory", "memory.get"})],
)
def test_a_command_loads_no_other_command(project: User, words: list[str], files: set[str]):
    prepare(project)
    commands = {name for name in loaded(project, words) if name.startswith("tclog.cli.comm")}
    assert commands == {"tclog.cli.commands", *(f"tclog.cli.commands.{name}" for name in files)}


def test_the_public_module_loads_nothing_until_it_is_used():
    look = "import sys, tclog; print(*[n for n in sys.modules if n.startswith('tclog')])"
    done = subprocess.run([sys.executable, "-c", look], capture_output=True, text=True, check=True)
    assert set(done.stdout.split()) == {"tclog", "tclog.version"}


# -- what is deferred -----------------------------------------------------------------------------


def in_new_process(script: str) -> str:
    """Run a script in an interpreter that has deferred what a command does not use."""
    begin = "from tclog.cli.startup import Deferred, defer_unused; defer_unused(); import sys\n"
    words = [sys.executable, "-c", begin + script]
    return subprocess.run(words, capture_output=True, text=True, check=True).stdout


def test_whoever_uses_what_is_deferred_gets_it():
    out = in_new_process("""
import inspect, platform
held = inspect
from inspect import signature
assert "ast" in sys.modules and type(sys.modules["inspect"]) is not Deferred
import inspect
assert inspect.signature is signature is held.signature
assert inspect.cleandoc is held.load().cleandoc
assert not hasattr(held, "nothing")
print(signature(lambda a: 1), platform.machine() != "", platform.system())
import gettext
print(gettext.gettext("one"), gettext.ngettext("one", "two", 2), gettext.find("tclog"))
""")
    assert out.splitlines() == [
        f"(a) True {os.uname().sysname}",
        "one two None",
    ]


def test_what_was_loaded_before_stays():
    assert in_new_process("""
import inspect
inspect.load()
real = sys.modules["inspect"]
defer_unused()
print(sys.modules["inspect"] is real)
""") == "True\n"  # fmt: skip


@pytest.mark.parametrize(
    "text", ["", "one", "  one ", "a\tb", "\tone\t", "one\n  two\n    three\n", "\n  one\n two\n"]
)
def test_the_help_of_an_option_is_what_inspect_makes_of_it(text: str):
    out = in_new_process(f"import inspect; print(ascii(inspect.cleandoc({text!r})))")
    assert out == f"{inspect.cleandoc(text)!a}\n"


# -- the end of a process -------------------------------------------------------------------------

_ENDS = """
import atexit, sys, threading, time
from tclog.cli.startup import leave
atexit.register(lambda: print("atexit ran"))
%s
sys.stdout.write("not flushed, ")
leave(3)
"""
_WORKER = """
def work():
    time.sleep(0.3)
    print("worker ended, ", end="", flush=True)
threading.Thread(target=work).start()
"""


@pytest.mark.parametrize(
    ("before", "out"),
    [
        ("", "not flushed, atexit ran\n"),
        ("import sqlite3", "not flushed, atexit ran\n"),
        (_WORKER, "worker ended, not flushed, atexit ran\n"),
    ],
    ids=["plain", "index", "thread"],
)
def test_leaving_loses_nothing_that_was_begun(before: str, out: str):
    done = subprocess.run(
        [sys.executable, "-c", _ENDS % before], capture_output=True, text=True, check=False
    )
    assert done.returncode == 3
    assert sorted(done.stdout.strip().split(", ")) == sorted(out.strip().split(", "))
    assert done.stderr == ""


def test_a_command_that_is_over_takes_no_interpreter_apart(project: User):
    """What the interpreter would destroy at its end, one module after the other, is left alone."""
    look = """
import tclog.errors
class Told:
    def __del__(self):
        import os
        os.write(2, b"taken apart")
tclog.errors.told = Told()
from tclog.cli import main
main()
"""
    done = project.process("-c", look, "memory", "set", "k", "v", program=sys.executable)
    assert done.ok().err == ""
