"""The table of all operations, made from their declarations, and the reading of their arguments.

``operations`` finds each declared function. ``parameters_of`` says what each takes: the keyword,
its field in JSON, its kind, whether it is needed. Batch and txn read their lines with it, the
methods of ``Log`` and ``Transaction`` check their arguments with it.
"""

from __future__ import annotations

import inspect
import os
import types
import typing
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from importlib import import_module
from typing import Any, Literal, NamedTuple, TypeVar

from tclog.chain.drive import Protocol
from tclog.clock import Hlc, parse_hlc
from tclog.errors import UsageError
from tclog.event import validate_name
from tclog.log.operation import Count, Declaration, Positive, Seconds, declared, field_of
from tclog.moment import DURATION_MAX_S, parse_duration_s

T = TypeVar("T")

# The modules that declare operations, in the order in which a reader meets them.
MODULES = (
    "memory", "inbox", "steps", "claims", "handoff", "barriers", "artifacts", "agents", "tags",
)  # fmt: skip
SHOWN_MAX = 60


class Kind(NamedTuple):
    """What an argument may be, in words, and how it is read; ``read`` raises TypeError."""

    words: str
    read: Callable[[Any], Any]


class Parameter(NamedTuple):
    """One argument of an operation.

    From Python it may be one of the types ``also``, too. ``many`` are positional arguments; in
    JSON they are one list.
    """

    keyword: str
    field: str
    kind: Kind
    needed: bool
    also: tuple[type, ...] = ()
    many: bool = False


def _exactly(type_: type) -> Callable[[Any], Any]:
    def read(value: Any) -> Any:
        # Not isinstance: to Python true is an int.
        if type(value) is not type_:
            raise TypeError
        return value

    return read


def _text(value: Any) -> str:
    # JSON can write half a character, which UTF-8 cannot.
    if not isinstance(value, str) or value.encode(errors="replace").decode() != value:
        raise TypeError
    return value


def _path(value: Any) -> Any:
    name = os.fspath(value)
    if not name or "\0" in _text(name):
        raise TypeError
    return value


def _texts(value: Any) -> list[str]:
    if not isinstance(value, list | tuple):
        raise TypeError
    return [_text(item) for item in value]


def _seconds(value: Any) -> float:
    if isinstance(value, str):
        return parse_duration_s(value)
    if type(value) not in (int, float) or not value >= 0:
        raise TypeError
    return parse_duration_s(f"{min(value, 10 * DURATION_MAX_S):.9f}")


def _from(least: int) -> Callable[[Any], int]:
    def read(value: Any) -> int:
        if type(value) is not int or value < least:
            raise TypeError
        return value

    return read


def _moment(value: Any) -> Hlc:
    try:
        parse_hlc(_text(value))
    except ValueError:
        raise TypeError from None
    return Hlc(value)


def _one_of(words: tuple[str, ...]) -> Kind:
    def read(value: Any) -> Any:
        if type(value) is not str or value not in words:
            raise TypeError
        return value

    return Kind(f"one of {', '.join(words)}", read)


TEXT = Kind("a text", _text)
_KEY = Kind("a text", lambda value: validate_name("idempotency key", _text(value)))
# Read as a stamp: words such as "10m ago" need the log to be understood, which is up to the caller.
POINT = Kind('a point in time such as "10m ago"', _moment)
_KINDS: Mapping[Any, Kind] = {
    str: TEXT,
    int: Kind("an integer", _exactly(int)),
    bool: Kind("true or false", _exactly(bool)),
    Count: Kind("an integer from 0", _from(0)),
    Positive: Kind("an integer from 1", _from(1)),
    Seconds: Kind('a duration such as "30m", or seconds', _seconds),
    Sequence[str]: Kind("a list of texts", _texts),
    str | os.PathLike[str]: Kind("the path of a file", _path),
    Hlc: POINT,
    Any: Kind("any JSON", lambda value: value),
}


@cache
def operations() -> Mapping[str, Callable[..., Protocol[Any]]]:
    """Return each operation by its name."""
    found: dict[str, Callable[..., Protocol[Any]]] = {}
    for name in MODULES:
        module = import_module(f"tclog.log.{name}")
        for value in vars(module).values():
            if getattr(value, "declaration", None) and value.__module__ == module.__name__:
                found[declared(value).name] = value
    return found


@cache
def parameters_of(protocol: Callable[..., Protocol[Any]]) -> Mapping[str, Parameter]:
    """Return what an operation takes, by keyword.

    What JSON cannot write, such as a function to be called, is left out.
    """
    op = declared(protocol).name
    hints = typing.get_type_hints(protocol, include_extras=True)
    found = {}
    for keyword, parameter in list(inspect.signature(protocol).parameters.items())[1:]:
        many = parameter.kind is parameter.VAR_POSITIONAL
        kind, also = _kind_of(Sequence[str] if many else hints[keyword])
        kind = _KEY if keyword == "id" else kind
        if kind is not None:
            needed = many or parameter.default is parameter.empty
            found[keyword] = Parameter(keyword, field_of(op, keyword), kind, needed, also, many)
    return found


def fields_of(
    protocol: Callable[..., Protocol[Any]], *, together: bool = False
) -> Mapping[str, Parameter]:
    """Return what an operation takes by the names in JSON, alone or in a transaction."""
    said = declared(protocol)
    without = set(said.apart if together else said.only_together)
    alone = [name for name in said.one_of if name not in without]
    return {
        one.field: one._replace(needed=one.needed or alone == [keyword])
        for keyword, one in parameters_of(protocol).items()
        if keyword not in without
    }


def _kind_of(hint: Any) -> tuple[Kind | None, tuple[type, ...]]:
    if hint in _KINDS:
        return _KINDS[hint], ()
    if typing.get_origin(hint) is Literal:
        return _one_of(typing.get_args(hint)), ()
    if typing.get_origin(hint) not in (types.UnionType, typing.Union):
        return None, ()
    members = typing.get_args(hint)
    plain = [member for member in members if isinstance(member, type) and member not in _KINDS]
    rest = tuple(member for member in members if member not in plain)
    if not plain or not rest:
        return None, ()
    return _kind_of(typing.Union[rest])[0], tuple(plain)  # noqa: UP007 - made at run time


def method_of(
    protocol: Callable[..., Protocol[T]], run: Callable[[Callable[[Any], Protocol[T]]], T]
) -> Callable[..., T]:
    """Make an operation a method, which checks its arguments; ``run`` gets the rest of the call."""

    def call(*args: Any, **kwargs: Any) -> T:
        bound = _bound(protocol, args, kwargs)
        return run(lambda client: protocol(client, *bound.args[1:], **bound.kwargs))

    returns = inspect.signature(protocol).return_annotation
    return _named(call, protocol, returns.removeprefix("Protocol[").removesuffix("]"))


def collector_of(
    protocol: Callable[..., Protocol[Any]], collect: Callable[[Declaration, dict[str, Any]], int]
) -> Callable[..., int]:
    """Make an operation a method of a transaction; ``collect`` gets it with all its arguments.

    It checks them as the operation itself does.
    """
    said = declared(protocol)

    def call(*args: Any, **kwargs: Any) -> int:
        bound = _bound(protocol, args, kwargs)
        said.check(bound.arguments, together=True)
        bound.apply_defaults()
        left_out = {"client", *said.apart}
        return collect(
            said, {name: v for name, v in bound.arguments.items() if name not in left_out}
        )

    return _named(call, protocol, "int")


def _named(
    method: Callable[..., T], protocol: Callable[..., Any], returns: str
) -> Callable[..., T]:
    """Let ``help`` show of a method what its operation says."""
    method.__name__, method.__doc__ = protocol.__name__, protocol.__doc__
    without_client = list(inspect.signature(protocol).parameters.values())[1:]
    method.__signature__ = inspect.Signature(without_client, return_annotation=returns)  # type: ignore[attr-defined]
    return method


def _bound(
    protocol: Callable[..., Any], args: tuple[Any, ...], kwargs: Mapping[str, Any]
) -> inspect.BoundArguments:
    """Check the arguments of a call from Python, as those of a line of JSON are checked.

    Raises:
        UsageError: ``field-wrong``, with the keyword as ``field``.
    """
    bound = inspect.signature(protocol).bind(None, *args, **kwargs)
    for keyword, parameter in parameters_of(protocol).items():
        value = bound.arguments.get(keyword)
        if keyword in bound.arguments and not isinstance(value, parameter.also):
            op = declared(protocol).name
            bound.arguments[keyword] = read_argument(op, keyword, parameter.kind, value)
    return bound


def read_argument(op: str, name: str, kind: Kind, value: Any) -> Any:
    """Read one argument.

    Raises:
        UsageError: it is wrong; ``field`` in the details is its name.
    """
    try:
        return kind.read(value)
    except TypeError:
        raise UsageError(
            f"field {name} of {op} is {kind.words}, not {shown(value)}",
            code="field-wrong",
            field=name,
        ) from None
    except UsageError as error:
        error.message = f"field {name} of {op}: {error.message}"
        error.details["field"] = name
        raise


def shown(value: Any) -> str:
    """Return a value as JSON, for a message; a long one is cut."""
    import json

    text = json.dumps(value, ensure_ascii=False, default=repr)
    return text if len(text) <= SHOWN_MAX else text[: SHOWN_MAX - 3] + "..."
