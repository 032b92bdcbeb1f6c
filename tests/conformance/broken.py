"""``tclog batch`` with a bug: a client that ``tclog conformance`` has to catch.

The first argument names the bug. What a bug changes is as a client in another language might have
it: each is a sentence of docs/format.md that was not followed.
"""

from __future__ import annotations

import sys
from typing import Any

from tclog.chain import append, once, resolve
from tclog.chain import fold as folding
from tclog.chain import judge as judging
from tclog.chain.client import Client
from tclog.domain import memory, steps
from tclog.domain.decision import Draft
from tclog.event import names
from tclog.store.base import Created, Outcome
from tclog.store.file import FileStore

create = FileStore.create


def forgetful() -> None:
    """A create is taken for won before it was sent; every third is then forgotten."""
    count = iter(range(1_000_000))

    def forget(self: FileStore, key: str, data: bytes) -> Created:
        if key.startswith("chains/memory/") and next(count) % 3 == 2:
            return Created(Outcome.WON)
        return create(self, key, data)

    FileStore.create = forget  # type: ignore[method-assign]


def overwriting() -> None:
    """Slots are put, not created."""

    def put(self: FileStore, key: str, data: bytes) -> Created:
        self.put(key, data)
        return Created(Outcome.WON)

    FileStore.create = put  # type: ignore[method-assign]


def stealing() -> None:
    """A claim of a step that somebody holds is granted and folded so."""
    decide, evolve = steps.decide, steps.evolve

    def grant(state: steps.State, command: steps.Command, place: Any) -> Any:
        found = decide(state, command, place)
        if isinstance(command, steps.Claim) and getattr(found, "op", "") != "step.claim":
            return Draft("step.claim", {"lease_ms": command.lease_ms})
        return found

    def fold(state: steps.State, event: Any, place: Any) -> Any:
        if event.op == "step.claim":
            state = state._replace(state=steps.PENDING, held_version=0)
        return evolve(state, event, place)

    known, rules = folding.kind_of, folding.kind_of("step")._replace(decide=grant, evolve=fold)
    folding.kind_of = lambda name: rules if name == "step" else known(name)
    steps.decide = grant


def nameless() -> None:
    """Whoever has the name of a holder is taken for the holder."""
    steps._is_own = lambda state, agent, session: state.agent == agent
    steps.is_same = lambda state, agent, session, fence=None: state.agent == agent


def keyless() -> None:
    """Idempotency keys are written and never looked for."""

    def nothing(*_: Any) -> Any:
        return None
        yield

    once.find_once = nothing
    append.find_once = nothing


def literal() -> None:
    """The # of an idempotency key's name is not encoded."""

    def key(agent: str, word: str) -> str:
        word, _, chain = word.rpartition("#")
        return f"once/{names.encode_name(agent)}/{names.encode_name(word)}#{chain}.json"

    once.once_key = key


def clockless() -> None:
    """The clock is never corrected towards the store's."""
    Client.learn_offset = lambda *args, **named: None  # type: ignore[assignment,method-assign]


def premature() -> None:
    """A transaction is taken for committed as soon as one of its slots is there."""

    def judge(client: Any, versions: Any) -> Any:
        return [row if row.settled else row.judged(aborted=False) for row in versions]
        yield

    judging.judge = judge
    resolve.judge = judge


def spacious() -> None:
    """White space around a number is what Unicode says it is."""
    memory._ASCII_SPACE = None  # type: ignore[assignment]


if __name__ == "__main__":
    globals()[sys.argv.pop(1)]()
    from tclog.cli import main

    main()
