"""The declaration of an operation: a typed protocol function, and what its signature cannot say.

``operation`` declares a function that returns a protocol. Everything else is made from it: the
methods of ``Log`` and ``Transaction``, the lines of batch and txn (``tclog.log.operations``). The
decorator checks, for every caller, which options exclude or need each other.

A keyword has the name of its field in JSON, with three exceptions (``field_of``): the field lacks
the unit at the end, ``id`` is ``id_key``, and the thing that the operation is about is ``id``. The
CLI writes that name as an option.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import wraps
from typing import Annotated, Any, Concatenate, NamedTuple, ParamSpec, TypeVar, cast

from tclog.chain.client import Client
from tclog.chain.drive import Protocol
from tclog.errors import UsageError
from tclog.event import validate_name

P = ParamSpec("P")
T = TypeVar("T")

# What JSON needs to know beside the type; ``tclog.log.operations`` reads them.
Count = Annotated[int, "an integer from 0"]
Positive = Annotated[int, "an integer from 1"]
Seconds = Annotated[float, 'a duration such as "30m", or seconds']

# How long a wait lasts by default.
WAIT_S = 300.0
INTEGER_MAX = 2**63 - 1


class Misfit(UsageError):  # noqa: N818 - as in ``tclog.errors``
    """Options that are wrong for every caller. One with other words for them calls ``rename``.

    Args:
        words: the message, with ``{}`` for each keyword.
        names: the keywords, in that order.
    """

    def __init__(self, words: str, *names: str, code: str | None = None) -> None:
        super().__init__(words.format(*names), code=code, field=names[0])
        self.words = words
        self.names = names

    def rename(self, word: Callable[[str], str]) -> None:
        """Say it in the caller's words."""
        self.message = self.words.format(*map(word, self.names))
        self.details["field"] = word(self.names[0])


class Declaration(NamedTuple):
    """What is said of an operation beside its signature.

    Args:
        name: its name in JSON, ``memory.set``.
        acts: whether it needs an agent.
        writes: whether it writes; then it takes ``id``.
        excludes: groups of options of which one at most may be given.
        one_of: options of which exactly one is given.
        needs: options that need another one.
        together: whether it may stand in a transaction; or what makes its command and its blobs of
            its options there.
        apart: options that no transaction takes.
        only_together: options that nothing but a transaction takes.
    """

    name: str
    acts: bool
    writes: bool
    excludes: Sequence[Sequence[str]]
    one_of: Sequence[str]
    needs: Mapping[str, str]
    together: bool | Callable[..., Any]
    apart: Sequence[str]
    only_together: Sequence[str]

    def check(self, arguments: Mapping[str, Any], *, together: bool = False) -> None:
        """Check what was given together; ``arguments`` need not hold defaults.

        Raises:
            Misfit: options exclude or need each other, or one of them is missing; or ``bad-value``,
                for an integer that no record can hold.
            BadName: the idempotency key is not a name.
        """
        for name, value in arguments.items():
            if (self.writes or together) and type(value) is int and abs(value) > INTEGER_MAX:
                raise Misfit("{} does not fit in 64 bits", name, code="bad-value")
        given = {
            name for name, value in arguments.items() if value is not None and value is not False
        }
        wrong, words = (
            (self.apart, "{} cannot be used in a transaction")
            if together
            else (self.only_together, "{} needs a transaction")
        )
        for name in given.intersection(wrong):
            raise Misfit(words, name)
        for group in self.excludes:
            both = [name for name in group if name in given]
            if len(both) > 1:
                raise Misfit("{} and {} exclude each other", *both[:2])
        if self.one_of and len(given.intersection(self.one_of)) != 1:
            blanks = " and ".join("{}" for _ in self.one_of)
            raise Misfit(f"exactly one of {blanks} is needed", *self.one_of)
        for name, other in self.needs.items():
            if name in given and other not in given:
                raise Misfit("{} needs {}", name, other)
        if "id" in given:
            validate_name("idempotency key", arguments["id"])


def operation(
    name: str,
    *,
    acts: bool = True,
    writes: bool | None = None,
    excludes: Sequence[Sequence[str]] = (),
    one_of: Sequence[str] = (),
    needs: Mapping[str, str] | None = None,
    together: bool | Callable[..., Any] = False,
    apart: Sequence[str] = (),
    only_together: Sequence[str] = (),
) -> Callable[
    [Callable[Concatenate[Client, P], Protocol[T]]],
    Callable[Concatenate[Client, P], Protocol[T]],
]:
    """Declare an operation; see ``Declaration``. By default what acts also writes."""
    writes = acts if writes is None else writes
    apart = (*apart, "id") if writes else apart
    said = Declaration(
        name, acts, writes, excludes, one_of, needs or {}, together, apart, only_together
    )

    def declare(
        protocol: Callable[Concatenate[Client, P], Protocol[T]],
    ) -> Callable[Concatenate[Client, P], Protocol[T]]:
        code = protocol.__code__
        names = code.co_varnames[1 : code.co_argcount]

        @wraps(protocol)
        def checked(client: Client, /, *args: P.args, **kwargs: P.kwargs) -> Protocol[T]:
            said.check({**dict(zip(names, args, strict=False)), **kwargs})
            return protocol(client, *args, **kwargs)

        checked.declaration = said  # type: ignore[attr-defined]
        return checked

    return declare


def declared(protocol: Callable[..., Any]) -> Declaration:
    """Return the declaration of an operation."""
    return cast("Declaration", protocol.declaration)  # type: ignore[attr-defined]


def field_of(op: str, keyword: str) -> str:
    """Return the name in JSON of an operation's keyword."""
    if keyword == "id":
        return "id_key"
    return "id" if keyword == op.partition(".")[0] else keyword.removesuffix("_s")
