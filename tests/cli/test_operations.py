"""Each operation is declared once: its command, its line of JSON, its method and its twin in a
transaction take the same options, with the same defaults and the same conflicts."""

from __future__ import annotations

import inspect
import json
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import click
import pytest

import tclog
from tclog.cli.operations import read_operation
from tclog.errors import UsageError
from tclog.log.operation import declared, field_of
from tclog.log.operations import fields_of, operations, parameters_of
from tclog.log.transactions import Transaction

from .conftest import User
from .test_help import command_at

# Where each operation is: its command, and its method of ``Log``.
PLACES = {
    "memory.set": ("memory set", "memory.set"),
    "memory.get": ("memory get", "memory.get"),
    "memory.delete": ("memory delete", "memory.delete"),
    "memory.incr": ("memory incr", "memory.incr"),
    "memory.append": ("memory append", "memory.append"),
    "memory.list": ("memory list", "memory.list"),
    "memory.history": ("memory history", "memory.history"),
    "message.send": ("send", "send"),
    "message.ack": ("ack", "ack"),
    "inbox.read": ("inbox", "inbox"),
    "step.add": ("step add", "steps.add"),
    "step.show": ("step show", "steps.show"),
    "step.list": ("step list", "steps.list"),
    "step.claim": ("claim", "steps.claim"),
    "step.renew": ("renew", "steps.renew"),
    "step.note": ("note", "steps.note"),
    "step.release": ("release", "steps.release"),
    "step.reopen": ("reopen", "steps.reopen"),
    "step.complete": ("complete", "steps.complete"),
    "step.wait": ("wait-for", "wait_for"),
    "barrier.pass": ("barrier", "barrier"),
    "artifact.put": ("artifact put", "artifacts.put"),
    "artifact.get": ("artifact get", "artifacts.get"),
    "artifact.list": ("artifact list", "artifacts.list"),
    "artifact.history": ("artifact history", "artifacts.history"),
    "agent.list": ("agents", "agents"),
    "tag.set": ("tag", "tags.set"),
    "tag.delete": ("tag", "tags.delete"),
    "tag.list": ("tag", "tags.list"),
}
TOGETHER = [op for op, made in operations().items() if declared(made).together]
# A keyword whose option has another name, or is an argument of the command: why.
OTHER_OPTIONS = {
    ("memory.set", "value_type"): "--type",  # the contract's word
    ("memory.get", "if_version"): None,  # only for a transaction, which is no command
    ("message.ack", "n"): "which",  # one word may be the number or the id, and there may be several
    ("message.ack", "message"): "which",
    (
        "step.complete",
        "outcome",
    ): "--failed",  # a flag for each: --blocked, --needs-review, --failed
    ("step.complete", "changed_files"): "--changed-files-from-git",  # a shell has no lists
    ("step.complete", "exit_status"): None,  # `tclog exec` gives it
    ("artifact.get", "out"): "-o",
    ("tag.set", "at"): "point",  # --at is that of the list
}
# An option that is no keyword of the operation: why.
MORE_OPTIONS = {
    ("memory.set", "file"): "a shell reads a file with it",
    ("message.send", "message"): "the text, for texts that look like options",
    ("step.note", "message"): "the text, for texts that look like options",
    ("step.complete", "blocked"): "an outcome",
    ("step.complete", "needs_review"): "an outcome",
    ("step.complete", "failed"): "an outcome",
    **{
        (op, option): "tag, tag --delete and the list of tags are one command"
        for op, options in {
            "tag.set": ("delete", "at", "limit"),
            "tag.delete": ("point", "move", "delete", "at", "limit"),
            "tag.list": ("name", "point", "move", "delete", "id_key"),
        }.items()
        for option in options
    },
    ("agent.list", "at"): "read from the index of history, not from the store",
}
EVERYWHERE = {"as_json", "as_agent", "strict", "help"}
# Where the command's own default differs: why.
OTHER_DEFAULTS = {
    ("memory.set", "value_type"): "all arguments of a command are texts",
    ("memory.list", "values"): "rows for people are short; with --json they have the values",
    ("artifact.get", "out"): "the artifact's name, in the working folder",
    ("step.complete", "changed_files"): "a flag, which asks git",
    ("step.complete", "outcome"): "complete, if no flag says otherwise",
    ("inbox.read", "timeout_s"): "None until --timeout is given, for the conflict with --wait",
}


def options_of(op: str) -> dict[str, click.Parameter]:
    """Return the options and arguments of an operation's command, by what they are called."""
    found = {}
    for parameter in command_at(tuple(PLACES[op][0].split())).params:
        if parameter.name not in EVERYWHERE:
            found |= dict.fromkeys(parameter.opts, parameter)
    return found


def option_of(op: str, keyword: str) -> str | None:
    """Return what a keyword is called on the command line, by the rule."""
    return OTHER_OPTIONS.get((op, keyword), "--" + keyword.removesuffix("_s").replace("_", "-"))


def argument_of(op: str, keyword: str) -> click.Parameter | None:
    command = command_at(tuple(PLACES[op][0].split()))
    arguments = [p for p in command.params if isinstance(p, click.Argument)]
    wanted = (keyword, "step_id" if keyword == "step" and op != "step.wait" else keyword)
    return next((one for one in arguments if one.name in wanted), None)


def default_of(option: click.Parameter) -> Any:
    """Return what a command hands over where nothing is said."""
    if isinstance(option, click.Option) and option.is_flag:
        return False
    if not isinstance(option.default, str | int | float):  # click has a mark for none
        return None
    return option.type.convert(option.default, option, None)


@pytest.mark.parametrize("op", operations())
def test_the_options_of_a_command_are_the_keywords_of_its_operation(op: str):
    options, met = options_of(op), []
    for keyword, parameter in parameters_of(operations()[op]).items():
        name = option_of(op, keyword)
        if name is None:
            continue
        found = options.get(name) or argument_of(op, keyword)
        assert found is not None, (keyword, name)
        met.append(found)
        if isinstance(found.type, click.IntRange):
            least = found.type.min
            assert parameter.kind.words == f"an integer from {least}", keyword
        default = inspect.signature(operations()[op]).parameters[keyword].default
        if (op, keyword) in OTHER_DEFAULTS or parameter.needed or found.multiple:
            continue
        assert default_of(found) == default, keyword
    for option in options.values():
        assert option in met or (op, option.name) in MORE_OPTIONS, option.name


@pytest.mark.parametrize("op", operations())
def test_the_fields_of_a_line_are_the_keywords(op: str):
    made = operations()[op]
    for together in (False, True):
        if together and op not in TOGETHER:
            continue
        gone = set(declared(made).apart if together else declared(made).only_together)
        keywords = [name for name in parameters_of(made) if name not in gone]
        assert list(fields_of(made, together=together)) == [field_of(op, k) for k in keywords]


def test_every_operation_is_a_method_and_every_method_of_a_group_an_operation(log: tclog.Log):
    assert set(PLACES) == set(operations())
    for op, (_, path) in PLACES.items():
        method: Any = log
        for name in path.split("."):
            method = getattr(method, name)
        same(method, op)
        assert method.__doc__ == operations()[op].__doc__
    more = {"hold"}  # a context manager, made of several operations
    for group in ("memory", "steps", "artifacts", "tags"):
        names = {name for name in dir(getattr(log, group)) if name[0] != "_"} - more
        assert {f"{group}.{name}" for name in names} <= {path for _, path in PLACES.values()}


@pytest.mark.parametrize("op", TOGETHER)
def test_a_transaction_takes_the_same_keywords(log: tclog.Log, op: str):
    same(getattr(log.transaction(), op.replace(".", "_")), op)


def test_a_transaction_has_no_other_operations():
    methods = {name for name in dir(Transaction) if name[0] != "_"} - {"collect", "protocol"}
    assert methods == {op.replace(".", "_") for op in TOGETHER}


def same(method: Callable[..., Any], op: str) -> None:
    expected = list(inspect.signature(operations()[op]).parameters.values())[1:]
    assert list(inspect.signature(method).parameters.values()) == expected


@pytest.mark.parametrize("op", operations())
def test_what_writes_takes_a_key_and_options_are_keywords(op: str):
    made = operations()[op]
    parameters = inspect.signature(made).parameters
    assert ("id" in parameters) == declared(made).writes
    for name in ("id", "at", "wait", "timeout_s", "fence", "limit"):
        assert name not in parameters or parameters[name].kind is inspect.Parameter.KEYWORD_ONLY
    for name in names_in(op):
        assert name in parameters, name


def names_in(op: str) -> Iterator[str]:
    said = declared(operations()[op])
    yield from (name for group in said.excludes for name in group)
    yield from said.one_of
    yield from (*said.needs, *said.needs.values(), *said.only_together)
    yield from said.apart


# -- conflicts ------------------------------------------------------------------------------------

# Something for each keyword that takes more than a flag.
SAMPLES: dict[str, Any] = {
    "if_version": 1, "version": 1, "count": 1, "fence": 1, "timeout_s": 5.0, "reason": "why",
    "id": "once", "step": "s", "n": 1, "message": "abcd", "state": "ready", "lease_s": 5.0,
    "at": "2026-11-30T10:00:00.000000Z-0000",
}  # fmt: skip
NEEDED: dict[str, dict[str, Any]] = {
    "memory.set": {"key": "k", "value": "v"},
    "memory.get": {"key": "k"},
    "step.wait": {"ids": ["s"]},
    "artifact.get": {"name": "a", "out": "copy"},
}


def wrong_calls() -> Iterator[tuple[str, tuple[str, ...], dict[str, Any]]]:
    """Yield each conflict: the operation, the keywords in the message, the options given."""
    for op, made in operations().items():
        said = declared(made)
        one: dict[str, Any] = {"step": "s"} if op == "step.claim" else {}
        for group in said.excludes:
            for nth, first in enumerate(group):
                for second in group[nth + 1 :]:
                    given = {name: SAMPLES.get(name, True) for name in (first, second)}
                    rest = {} if "next" in given else one
                    yield op, (first, second), {**rest, **given}
        for name, other in said.needs.items():
            yield op, (name, other), {**one, name: SAMPLES[name]}
        if said.one_of:
            yield op, tuple(said.one_of), {}
            yield op, tuple(said.one_of), {n: SAMPLES.get(n, True) for n in said.one_of}


CONFLICTS = list(wrong_calls())
# The one word of `ack` cannot be none or two of them.
COMMANDS_CANNOT = {"message.ack"}


@pytest.fixture
def log(tmp_path: Path) -> tclog.Log:
    return tclog.open(tmp_path / "store", agent="alice", create=True)


def refusal(call: Callable[[], Any]) -> UsageError:
    with pytest.raises(UsageError) as caught:
        call()
    return caught.value


@pytest.mark.parametrize(("op", "names", "given"), CONFLICTS)
def test_a_conflict_is_the_same_error_for_every_caller(
    log: tclog.Log, project: User, op: str, names: tuple[str, ...], given: dict[str, Any]
):
    needed = NEEDED.get(op, {})
    by_name = dict(needed)
    positional = by_name.pop("ids", ())
    method: Any = log
    for name in PLACES[op][1].split("."):
        method = getattr(method, name)
    told = refusal(lambda: method(*positional, **by_name, **given))
    assert (told.code, told.exit, told.details["field"]) == ("usage", 2, names[0])
    assert all(name in told.message for name in names), told.message

    line = {"op": op, **needed, **{field_of(op, k): v for k, v in given.items()}}
    done = project("batch", stdin=json.dumps(line).encode())
    answer = json.loads(done.out)
    assert (answer["code"], answer["exit"]) == ("usage", 2)
    assert answer["field"] == field_of(op, names[0])
    assert all(field_of(op, name) in answer["message"] for name in names), answer

    if op not in COMMANDS_CANNOT:
        words = [str(word) for value in needed.values() for word in as_words(value)]
        if op == "artifact.get":
            words.insert(-1, "-o")
        if "step" in given:
            words.append("s")
        for keyword, value in given.items():
            if keyword != "step":
                words += [str(option_of(op, keyword)), *(() if value is True else (f"{value}",))]
        error = project(*PLACES[op][0].split(), *words, "--json").error(2)
        assert error["code"] == "usage"
        for name in names:
            said = "ID" if name == "step" else option_of(op, name)
            assert str(said) in error["message"], error

    without = set(declared(operations()[op]).apart)
    if op in TOGETHER and not without & {*names}:
        twin = getattr(log.transaction(), op.replace(".", "_"))
        error = refusal(lambda: twin(**by_name, **given))
        assert (error.code, error.message) == (told.code, told.message)


def as_words(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


@pytest.mark.parametrize("op", TOGETHER)
def test_what_cannot_stand_in_a_transaction_is_refused_there(log: tclog.Log, op: str):
    made = operations()[op]
    needed: dict[str, Any] = {
        name: 1 if "integer" in one.kind.words else "x"
        for name, one in parameters_of(made).items()
        if one.needed or name == "step"
    }
    for name in declared(made).apart:
        given = {**needed, name: SAMPLES.get(name, True if name in ("next", "wait") else "x")}
        twin = getattr(log.transaction(), op.replace(".", "_"))
        error = refusal(partial(twin, **given))
        assert (error.code, error.details["field"]) == ("usage", name)
        line = json.dumps({"op": op, field_of(op, name): 1}).encode()
        told = refusal(partial(read_operation, 1, line, together=True))
        assert told.code == "field-unknown"


# -- differences that there were ------------------------------------------------------------------


def test_a_write_with_two_expectations_commits_nothing(log: tclog.Log):
    refusal(lambda: log.memory.set("j", 1, if_version=7, if_absent=True))
    with pytest.raises(tclog.NotFound):
        log.memory.get("j")


def test_renew_release_and_reopen_apply_once_under_a_key(log: tclog.Log):
    held = log.steps.claim("s")
    for _ in range(2):
        renewed = log.steps.renew("s", fence=held.fence, id="r1")
    assert renewed.version == held.version + 1
    for _ in range(2):
        released = log.steps.release("s", id="r2")
    assert released.version == renewed.version + 1
    log.steps.claim("s")
    log.steps.complete("s", outcome="failed")
    for _ in range(2):
        opened = log.steps.reopen("s", id="r3")
    assert opened.state == "ready"


def test_a_wait_takes_no_other_step(log: tclog.Log):
    """With wait, fence and steal were ignored: it renewed the session's own claim."""
    held = log.steps.claim("s")
    refusal(lambda: log.steps.claim("s", wait=True, fence=held.fence))
    refusal(lambda: log.steps.claim("s", wait=True, steal=True, reason="mine"))
    assert log.steps.show("s").version == held.version


INTEGERS = [
    (op, name)
    for op, made in operations().items()
    for name, one in parameters_of(made).items()
    if declared(made).writes and one.kind.words.startswith("an integer")
]


@pytest.mark.parametrize(("op", "keyword"), INTEGERS)
def test_an_integer_that_no_record_can_hold_is_no_bug(
    log: tclog.Log, project: User, op: str, keyword: str
):
    """With a key, such a fence ended as a bug, and ended all of batch."""
    made = operations()[op]
    given: dict[str, Any] = {n: "x" for n, one in parameters_of(made).items() if one.needed}
    given |= {"step": "s"} if op == "step.claim" else {}
    given |= {keyword: 2**63, "id": "once"}
    error = refusal(partial(made, log.client, **given))
    assert (error.code, error.details["field"]) == ("bad-value", keyword)
    line = {"op": op, **{field_of(op, name): value for name, value in given.items()}}
    answer = json.loads(project("batch", stdin=json.dumps(line).encode()).out)
    assert (answer["code"], answer["field"]) == ("bad-value", field_of(op, keyword))


def test_an_expectation_in_a_transaction_fits_too(log: tclog.Log):
    transaction = log.transaction()
    error = refusal(lambda: transaction.memory_get("k", if_version=2**63))
    assert error.code == "bad-value"


# -- types ----------------------------------------------------------------------------------------

WRONG_TYPES: list[tuple[str, Callable[[Any], Any], str]] = [
    ("by", lambda log: log.memory.incr("x", by="2"), "an integer"),
    ("by", lambda log: log.memory.incr("x", by=True), "an integer"),
    ("to", lambda log: log.send(None, "x"), "a text"),
    ("key", lambda log: log.memory.get(7), "a text"),
    ("key", lambda log: log.memory.set("\ud800", 1), "a text"),
    ("if_absent", lambda log: log.memory.set("k", 1, if_absent="yes"), "true or false"),
    ("if_version", lambda log: log.memory.delete("k", if_version=0), "an integer from 1"),
    ("value_type", lambda log: log.memory.set("k", 1, value_type="yaml"), "one of text, json"),
    ("at", lambda log: log.memory.get("k", at="10m"), "a point in time"),
    ("at", lambda log: log.steps.list(at=12), "a point in time"),
    ("limit", lambda log: log.memory.history("k", limit=1.5), "an integer from 0"),
    ("lease_s", lambda log: log.steps.claim("s", lease_s=-1), "a duration"),
    ("lease_s", lambda log: log.steps.claim("s", lease_s=float("nan")), "a duration"),
    ("ids", lambda log: log.wait_for(["a", "b"]), "a list of texts"),
    ("after", lambda log: log.steps.add("s", after="abc"), "a list of texts"),
    ("outcome", lambda log: log.steps.complete("s", outcome="done"), "one of complete, blocked"),
    ("state", lambda log: log.steps.list(state="done"), "one of pending, ready"),
    ("path", lambda log: log.artifacts.put("a\0b"), "the path of a file"),
    ("n", lambda log: log.ack("1"), "an integer from 0"),
    ("key", lambda log: log.transaction().memory_set(None, 1), "a text"),
]  # fmt: skip


@pytest.mark.parametrize(("field", "call", "words"), WRONG_TYPES)
def test_a_wrong_type_is_one_error_that_names_the_keyword(
    log: tclog.Log, field: str, call: Callable[[Any], Any], words: str
):
    error = refusal(lambda: call(log))
    assert (error.code, error.details["field"]) == ("field-wrong", field)
    assert f"field {field} of" in error.message
    assert words in error.message


def test_a_key_that_is_no_name_is_refused_by_every_caller(log: tclog.Log, project: User):
    for call in (
        lambda: log.memory.set("k", "v", id=""),
        lambda: log.steps.claim("s", id="a\nb"),
        lambda: log.transact(log.transaction(), id=""),
    ):
        assert refusal(call).code == "bad-name"
    assert project("memory", "set", "k", "v", "--id", "", "--json").error(2)["code"] == "bad-name"
