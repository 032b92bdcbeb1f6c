"""Starting up: a hot command loads what it needs and nothing else.

Agents run thousands of commands, and most of the time of each goes into loading modules. What
costs more than it is worth is named here with the list of what may be loaded besides ``click``.
"""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from .conftest import User

HOT = [
    ["claim", "s"],
    ["memory", "get", "k"],
    ["memory", "set", "k", "v"],
    ["send", "bob", "hi"],
    ["inbox"],
    ["ack", "1"],
    ["status"],
]
# Each would cost some milliseconds to some hundreds, at every call.
NEVER = {
    "argparse", "asyncio", "boto3", "botocore", "concurrent", "csv", "decimal", "difflib", "email",
    "fractions", "getpass", "hashlib", "http", "importlib.metadata", "logging", "multiprocessing",
    "optparse", "pickle", "platformdirs", "queue", "rich", "secrets", "select", "selectors",
    "socket", "sqlite3", "ssl", "statistics", "subprocess", "tempfile", "typing_extensions",
    "unittest", "urllib.request", "urllib3", "xml", "zipfile", "zoneinfo",
}  # fmt: skip
# What tclog and its dependencies load on top of click; growing this list needs a reason.
ALLOWED = {
    "file": {
        "blake3", "orjson", "tclog", "tomllib",
        "pathlib", "fnmatch", "ipaddress", "ntpath", "nturl2path", "urllib",  # pathlib's
        "dataclasses", "copy", "json",  # orjson's
        "string",  # tomllib's
        "locale",  # gettext's, for click
        "threading",
        "signal",  # an interrupt while orjson loads has crashed the interpreter
    },
    "s3": {"obstore", "calendar", "datetime"},
}  # fmt: skip
ALLOWED["s3"] |= ALLOWED["file"]
_LOOK = """
import atexit, json, sys
import click
before = set(sys.modules)
atexit.register(lambda: print(json.dumps(sorted(set(sys.modules) - before)), file=sys.stderr))
from tclog.cli import main
main()
"""


def loaded(user: User, words: list[str]) -> set[str]:
    """Return the modules that a command loads on top of click."""
    done = user.process("-c", _LOOK, *words, program=sys.executable).ok()
    return set(json.loads(done.err.splitlines()[-1]))


def check(user: User, words: list[str], store: str) -> None:
    modules = loaded(user, words)
    heavy = {name for name in modules for bad in NEVER if f"{name}.".startswith(f"{bad}.")}
    assert not heavy
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


def test_a_message_that_meets_no_other_loads_nothing_of_combining(project: User):
    prepare(project)
    assert "tclog.chain.combine" not in loaded(project, ["send", "bob", "hi"])


def test_a_command_loads_no_other_command(project: User):
    commands = {name for name in loaded(project, ["status"]) if name.startswith("tclog.cli.comm")}
    assert commands == {"tclog.cli.commands", "tclog.cli.commands.status"}


def test_the_public_module_loads_nothing_until_it_is_used():
    look = "import sys, tclog; print(*[n for n in sys.modules if n.startswith('tclog')])"
    done = subprocess.run([sys.executable, "-c", look], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["tclog"]
