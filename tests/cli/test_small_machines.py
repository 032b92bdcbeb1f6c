"""Few threads, few open files, little memory: a command works, or says what is short."""

from __future__ import annotations

import os
import resource
import shutil
from collections.abc import Callable
from typing import Any, NamedTuple

import pytest
from support.zygote import TCLOG

from tclog.store.room import has_threads, helpers, shortage

from .conftest import Done, User

MIB = 1 << 20
# As another user, for root has as many processes as it wants; this one may still read all files,
# and what runs beside this test is not its own.
AS_ANOTHER = (
    "setpriv", f"--reuid={60_000 + os.getpid() % 5000}", "--clear-groups",
    "--inh-caps=-all,+dac_override,+dac_read_search",
    "--ambient-caps=-all,+dac_override,+dac_read_search",
)  # fmt: skip
can_be_another = os.geteuid() == 0 and shutil.which("setpriv") is not None


class Limit(NamedTuple):
    """A limit of a process, and the commands that cannot do without more."""

    name: str
    value: int
    short: frozenset[str] = frozenset()


LIMITS = [
    Limit("RLIMIT_NOFILE", 16),
    Limit("RLIMIT_NPROC", 1, frozenset({"doctor", "clone . copy", "exec e -- true"})),
    Limit("RLIMIT_NPROC", 3, frozenset({"exec e -- true"})),
    Limit("RLIMIT_AS", 400 * MIB),
]
COMMANDS = [
    "memory set k v", "memory list", "send bob,carol hi", "log -n 1", "exec e -- true",
]  # fmt: skip
IN_A_FOLDER = ["doctor", "clone . copy"]


def small(user: User, limit: Limit, words: str) -> Done:
    """Run a fresh process under a limit."""

    def begin() -> None:
        resource.setrlimit(getattr(resource, limit.name), (limit.value, limit.value))

    program, *before = AS_ANOTHER if limit.name == "RLIMIT_NPROC" else (str(TCLOG),)
    if before:
        before.append(str(TCLOG))
    options = {"program": program, "preexec_fn": begin, "fresh": True}
    return user.process(*before, *words.split(), **options)


@pytest.mark.parametrize("store", ["project", "bucket"])
@pytest.mark.parametrize("limit", LIMITS, ids=lambda limit: f"{limit.name}={limit.value}")
def test_a_command_works_or_says_what_is_short(
    request: pytest.FixtureRequest, limit: Limit, store: str
) -> None:
    if limit.name == "RLIMIT_NPROC" and not can_be_another:
        pytest.skip("only root can be another user")
    user: User = request.getfixturevalue(store)
    for nth in range(6):
        user("memory", "set", f"key-{nth}", "v").ok()
    for words in COMMANDS + (IN_A_FOLDER if store == "project" else []):
        done = small(user, limit, words)
        assert "panicked" not in done.err, done
        assert "Traceback" not in done.err, done
        if words in limit.short:
            assert done.code == 1, done
            *_, error, hint = done.err.splitlines()
            assert f"{limit.name} is {limit.value}" in error, done
            assert hint.startswith("hint: ulimit -"), done
        else:
            assert done.code == 0, done
    # What could not be started holds nothing.
    assert not any(
        step["agent"] for step in user("step", "list", "--state", "claimed", "--json").objects()
    )


def refuse(*_: Any, **__: Any) -> Any:
    raise RuntimeError("can't start new thread")


def test_without_threads_all_requests_are_answered(monkeypatch: pytest.MonkeyPatch) -> None:
    import _thread

    from tclog.chain.drive import run
    from tclog.store.base import Get
    from tclog.store.memory import MemoryStore

    store = MemoryStore()
    store.concurrent = True
    store.put("k/3", b"x")
    monkeypatch.setattr(_thread, "start_new_thread", refuse)

    def many() -> Any:
        return (yield tuple(Get(f"k/{nth}") for nth in range(9)))

    assert [found is not None for found in run(many(), store)] == [nth == 3 for nth in range(9)]
    assert not has_threads(1)


@pytest.mark.parametrize(
    ("limits", "most"),
    [
        ({}, 31),
        ({"RLIMIT_AS": 400 * MIB}, 0),
        ({"RLIMIT_NOFILE": 16}, 0),
        ({"RLIMIT_NOFILE": 64}, 20),
        ({"RLIMIT_NOFILE": 1024, "RLIMIT_AS": 64 << 30}, 31),
    ],
)
def test_how_many_threads_help(
    monkeypatch: pytest.MonkeyPatch, limits: dict[str, int], most: int
) -> None:
    monkeypatch.setattr("tclog.store.room.soft_limit", limits.get)
    assert helpers(31) == most


@pytest.mark.parametrize(
    ("error", "name"),
    [
        (RuntimeError("can't start new thread"), "RLIMIT_NPROC"),
        (RuntimeError("OS can't spawn worker thread: Resource"), "RLIMIT_NPROC"),
        (BlockingIOError(11, "Resource temporarily unavailable"), "RLIMIT_NPROC"),
        (OSError(24, "Too many open files"), "RLIMIT_NOFILE"),
        (ValueError("tcp connect error: Too many open files (os error 24)"), "RLIMIT_NOFILE"),
        (RuntimeError('Unable to build: Os { code: 24, message: "Too many"'), "RLIMIT_NOFILE"),
        (RuntimeError('Unable to build: Os { code: 11, message: "Try again"'), "RLIMIT_NPROC"),
        (ImportError("x.so: failed to map segment from shared object"), "RLIMIT_AS"),
        (ImportError("x.so: cannot allocate memory in static TLS block"), "RLIMIT_AS"),
        (ImportError("no module named x"), None),
        (MemoryError(), "RLIMIT_AS"),
        (OSError(12, "Cannot allocate memory"), "RLIMIT_AS"),
        (OSError(2, "No such file"), None),
        (RuntimeError("other"), None),
    ],
)
def test_what_an_error_says_of_the_machine(error: Exception, name: str | None) -> None:
    def wrapped(raise_it: Callable[[], Any]) -> Exception:
        try:
            raise_it()
        except Exception as caught:
            return caught
        raise AssertionError

    def deep() -> None:
        raise ValueError from error

    for told in (shortage(error), shortage(wrapped(deep))):
        assert (told.details["limit"] if told else None) == name
