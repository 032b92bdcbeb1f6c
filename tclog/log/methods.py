"""Operations as methods of ``Log`` and ``Transaction``: typed by the protocol functions themselves.

What checks their arguments loads when the first of them is called: the CLI calls none.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Concatenate, Generic, ParamSpec, TypeVar

from tclog.chain.client import Client
from tclog.chain.drive import Protocol

P = ParamSpec("P")
T = TypeVar("T")


class Method(Generic[P, T]):
    """An operation as a method of ``Log``, or of an object that holds one as ``_log``.

    Given by its name, it is loaded when it is first used; a type checker must see the function.
    """

    def __init__(self, protocol: Callable[Concatenate[Client, P], Protocol[T]] | str) -> None:
        self._protocol = protocol

    def __get__(self, owner: Any, _: type | None = None) -> Callable[P, T]:
        """Return the operation; called, it runs."""
        from tclog.log.operations import method_of, operations

        log = getattr(owner, "_log", owner)
        found = self._protocol
        protocol = operations()[found] if isinstance(found, str) else found
        return method_of(protocol, lambda made: log.run(made(log.client)))


class Operations:
    """A group of operations of a ``Log``."""

    def __init__(self, log: Any) -> None:
        self._log = log

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self._log!r})"


class Collected(Generic[P]):
    """An operation as a method of a transaction, which holds it as ``collect`` takes it."""

    def __init__(self, protocol: Callable[Concatenate[Client, P], Protocol[Any]]) -> None:
        self._protocol = protocol

    def __get__(self, owner: Any, _: type | None = None) -> Callable[P, int]:
        """Return the operation; called, it is added, and its number returned."""
        from tclog.log.operations import collector_of

        return collector_of(self._protocol, owner.collect)
