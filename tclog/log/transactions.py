"""Transactions: operations on several keys, steps and inboxes that are done together or not at all.

``Transaction`` collects operations; nothing is asked of the store before ``commit``. Each operation
sees what those before it have done. What one of them reads stays as it was read until all are done.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from tclog.chain.append import Appended
from tclog.chain.blobs import read_content
from tclog.chain.client import Client
from tclog.chain.drive import Protocol, together
from tclog.chain.fold import state_of
from tclog.chain.once import once
from tclog.chain.read import read_head, read_standing
from tclog.chain.results import Memory, Message, Step
from tclog.chain.show import show_memory, show_message
from tclog.chain.transact import Transacted, transact
from tclog.chain.view import Act, View
from tclog.clock import rfc3339
from tclog.domain import inbox as inbox_rules
from tclog.domain import memory, steps
from tclog.domain.decision import Unchanged
from tclog.errors import Refused, UsageError, to_run
from tclog.event import ChainId, Event, Version, chain_id, chain_name, validate_name
from tclog.log import claims, handoff, inbox
from tclog.log import memory as memory_log
from tclog.log import steps as steps_log
from tclog.log.methods import Collected
from tclog.log.operation import Declaration

Result = Memory | Message | Step


_Answer = Callable[[Client, Version | None, Event | None], Protocol[Any]]


class _Operation(NamedTuple):
    """One operation: what it does, how it is answered, and all that makes it what it is.

    ``found`` answers it where another command under the same key has done it.
    """

    act: Act
    answer: _Answer
    words: Mapping[str, Any]
    found: _Answer


class Transaction(memory_log.MemoryTogether):
    """Collects operations that are committed together; each returns its number, from 0."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self._operations: list[_Operation] = []
        self._claimed: set[str] = set()

    def __len__(self) -> int:
        return len(self._operations)

    message_send = Collected(inbox.send_message)
    step_add = Collected(steps_log.add_step)
    step_show = Collected(steps_log.show_step)
    step_claim = Collected(claims.claim)
    step_renew = Collected(claims.renew_step)
    step_note = Collected(steps_log.note_step)
    step_release = Collected(claims.release_step)
    step_reopen = Collected(steps_log.reopen_step)
    step_complete = Collected(handoff.complete_step)

    def collect(self, said: Declaration, arguments: dict[str, Any]) -> int:
        """Add an operation, whose arguments were checked; returns its number."""
        if callable(said.together):
            return self._change_memory(arguments.pop("key"), *said.together(**arguments))
        nth: int = getattr(self, "_" + said.name.replace(".", "_"))(**arguments)
        return nth

    # -- memory -------------------------------------------------------------------------------

    def _memory_get(self, key: str, if_version: int | None) -> int:
        chain = chain_id("memory", validate_name("key", key))
        seen: list[Memory] = []

        def work(view: View) -> Protocol[None]:
            state, place = yield from view.read(chain)
            refused = memory.guarded(state, if_version, place.base)
            if refused is not None:
                raise _about(refused, key)
            # Read now: once it is committed, nothing may fail any more.
            seen[:] = [(yield from _show_read(view, chain, state, place.index))]

        def answer(
            client: Client, version: Version | None, event: Event | None
        ) -> Protocol[Memory]:
            del client, version, event
            return _told(seen[0])

        def found(client: Client, version: Version | None, event: Event | None) -> Protocol[Memory]:
            del event
            return _show_again(client, key, version)

        words = {"op": "memory.get", "if_version": if_version}
        return self._add(Act(chain, work), answer, words, found)

    def _change_memory(self, key: str, command: memory.Command, blobs: Sequence[Any]) -> int:
        chain = chain_id("memory", validate_name("key", key))

        def decide(state: Any, place: Any) -> Any:
            decision = memory.decide(state, command, place)
            if isinstance(decision, Refused):
                return _about(decision, key)
            if isinstance(command, memory.Delete) and state.content is None:
                raise memory_log.missing(key)
            return decision

        def answer(
            client: Client, version: Version | None, event: Event | None
        ) -> Protocol[Memory]:
            del client, event
            assert version is not None  # noqa: S101 - it was changed
            return show_memory(version, committed=True)

        words = {"op": type(command).__name__, "with": command._asdict()}
        return self._add(_changing((chain,), decide, blobs), answer, words)

    # -- messages -----------------------------------------------------------------------------

    def _message_send(self, to: str, text: str, reply_to: str | None, step: str | None) -> int:
        chains, body, blobs = inbox.message(to, text, reply_to=reply_to, step=step)
        command = inbox_rules.Send(body)

        def answer(
            client: Client, version: Version | None, event: Event | None
        ) -> Protocol[Message]:
            del version
            assert event is not None  # noqa: S101 - a send is never unchanged
            inbox.note_recipients(client, body)
            return show_message(event, 0, unread=False, text=text)

        act = _changing(
            chains, lambda state, place: inbox_rules.decide(state, command, place), blobs
        )
        return self._add(act, answer, {"op": "message.send", "body": body})

    # -- steps --------------------------------------------------------------------------------

    def _step_add(self, step: str, after: Sequence[str], title: str | None, priority: int) -> int:
        # Those that it comes after, directly or not, stay as they are meanwhile.
        command = steps_log.add_command(self._client, step, title, priority, after)

        def work(view: View) -> Protocol[None]:
            if command.after:
                yield from steps_log.refuse_cycle(
                    step, command.after, lambda names: _steps_after(view, names)
                )
                yield from self._note_unknown(view, step, command.after)
            yield from _apply_step(view, step, command)

        return self._add_step(step, work, {"op": "step.add", "with": command._asdict()})

    def _note_unknown(self, view: View, step: str, after: Sequence[str]) -> Protocol[None]:
        """Note dependencies that do not exist and that no other operation makes."""
        made = {one.act.chain for one in self._operations}
        missing = []
        for name in after:
            state, _ = yield from view.read(chain_id("step", name))
            if not steps.is_known(state) and chain_id("step", name) not in made:
                missing.append(name)
        if missing:
            from tclog.log.nearby import note_unknown_steps

            note_unknown_steps(self._client, missing, f"{step} comes after")

    def _step_claim(
        self,
        step: str,
        lease_s: float | None,
        fence: int | None,
        steal: bool,
        reason: str | None,
    ) -> int:
        # What has lapsed is not taken over here.
        if step in self._claimed:
            raise UsageError(
                f"the transaction claims step {step} twice", code="claimed-twice", field="step"
            )
        claim = steps.Claim(
            step,
            self._client.agent,
            claims.lease_ms_of(lease_s),
            takeover=False,
            session=self._client.session,
            fence=fence,
            steal=claims.check_steal(step, steal, reason),
        )

        def work(view: View) -> Protocol[None]:
            state, _ = yield from view.read(chain_id("step", validate_name("step", step)))
            rows = []
            if state.state == steps.PENDING:
                for name in state.after:
                    chain = chain_id("step", name)
                    found, place = yield from view.read(chain)
                    rows.append((name, found, place))
            command = claim._replace(
                waiting=tuple(
                    f"{name} ({steps_log.says(found)})"
                    for name, found, _ in rows
                    if not steps.is_complete(found)
                ),
                seen={name: place.seq for name, _, place in rows},
            )
            yield from _apply_step(view, step, command)

        nth = self._add_step(step, work, steps_log.words_of(claim), claim=True, holds=True)
        self._claimed.add(step)
        return nth

    def _step_renew(self, step: str, lease_s: float | None, fence: int | None) -> int:
        command = claims.renew_command(self._client, step, lease_s, fence)
        return self._change_step(step, command, holds=True)

    def _step_note(self, step: str, text: str, fence: int | None) -> int:
        return self._change_step(step, *steps_log.note_command(step, text, fence), text=text)

    def _step_release(self, step: str, **options: Any) -> int:
        return self._change_step(step, claims.release_command(self._client, step, **options))

    def _step_reopen(self, step: str) -> int:
        return self._change_step(step, steps.Reopen(step), known=True)

    def _step_complete(self, step: str, **options: Any) -> int:
        # An agent that is to be told is told by a message of its own.
        command = handoff.complete_command(self._client, step, to=None, **options)
        return self._change_step(step, *command)

    def _step_show(self, step: str) -> int:
        chain = chain_id("step", validate_name("step", step))

        def work(view: View) -> Protocol[None]:
            _, place = yield from view.read(chain)
            if place.base == 0 and not place.index:
                raise steps.missing(step)

        return self._add_step(step, work, {"op": "step.show"})

    def _change_step(
        self,
        step: str,
        command: steps.Command,
        blobs: Sequence[Any] = (),
        *,
        known: bool = False,
        text: str | None = None,
        holds: bool = False,
    ) -> int:
        def work(view: View) -> Protocol[None]:
            if known:
                _, place = yield from view.read(chain_id("step", step))
                if place.base == 0 and not place.index:
                    raise steps.missing(step)
            yield from _apply_step(view, step, command, blobs)

        return self._add_step(step, work, steps_log.words_of(command), text, holds=holds)

    def _add_step(
        self,
        step: str,
        work: Callable[[View], Protocol[None]],
        words: Mapping[str, Any],
        text: str | None = None,
        *,
        claim: bool = False,
        holds: bool = False,
    ) -> int:
        chain = chain_id("step", validate_name("step", step))

        def answer(client: Client, version: Version | None, event: Event | None) -> Protocol[Step]:
            state = state_of(chain, version)
            result = yield from steps_log.read_result(client, step, version, state)
            if claim and event is not None and version is not None:
                result = claims.mark(result, version, event, state)
            if event is not None and text is not None:
                result = result._replace(note=text, note_by=event.agent)
            return result

        def found(client: Client, version: Version | None, event: Event | None) -> Protocol[Step]:
            state = state_of(chain, version)
            if holds and state.state == steps.CLAIMED:
                head = yield from read_head(client, chain)
                done = Appended(version, state, event, head=head)
                try:
                    claims.still_held(client, done)
                except Refused as lost:
                    lost.details["operation"] = nth
                    raise
            return (yield from answer(client, version, event))

        nth = self._add(Act(chain, work), answer, words, found)
        return nth

    # -- all of them --------------------------------------------------------------------------

    def _add(
        self,
        act: Act,
        answer: _Answer,
        words: Mapping[str, Any],
        found: _Answer | None = None,
    ) -> int:
        words = {**words, "chain": act.chain}
        self._operations.append(_Operation(act, answer, words, found or answer))
        return len(self._operations) - 1

    def protocol(self, id_key: str | None = None) -> Protocol[list[Result]]:
        """Return the protocol that commits all of them; it answers each in its place.

        Raises:
            Refused, NotFound, UsageError: ``operation`` in the details says which was refused.
            OutcomeUnknown: with an ``id_key`` under which it may be repeated.
        """
        bound = once(id_key, {"op": "txn", "operations": [one.words for one in self._operations]})
        acts = [one.act for one in self._operations]
        try:
            done: Transacted = yield from transact(self._client, acts, once=bound)
        except Refused as refused:
            if refused.code == "version-conflict":
                now = yield from memory_log.read_current(self._client, refused.details["key"])
                refused.message += memory_log.current_words(now)
                refused.details |= memory_log.tell_current(now)
            raise
        return (
            yield from together(
                *(
                    (one.found if done.found else one.answer)(
                        self._client, done.versions.get(one.act.chain), event
                    )
                    for one, event in zip(self._operations, done.events, strict=True)
                )
            )
        )


def _changing(
    chains: Sequence[ChainId], decide: Callable[[Any, Any], Any], blobs: Sequence[Any]
) -> Act:
    return Act(chains[0], lambda view: view.apply(chains, decide, blobs))


def _apply_step(
    view: View, step: str, command: steps.Command, blobs: Sequence[Any] = ()
) -> Protocol[None]:
    chain = chain_id("step", validate_name("step", step))

    def decide(state: Any, place: Any) -> Any:
        decision = steps.decide(state, command, place)
        told = isinstance(command, steps.Complete) and command.handoff
        if told and isinstance(decision, Unchanged):
            return Refused(
                f"step {step} was already ended by {state.agent}",
                code="step-complete",
                hint=to_run("tclog step show", step),
            )
        return decision

    yield from view.apply((chain,), decide, blobs)


def _steps_after(view: View, names: Sequence[str]) -> Protocol[list[tuple[str, Sequence[str]]]]:
    found = []
    for name in names:
        state, _ = yield from view.read(chain_id("step", name))
        found.append((name, state.after))
    return found


def _about(refused: Refused, key: str) -> Refused:
    return Refused(
        f"{key}: {refused.message}",
        code=refused.code,
        hint=to_run("tclog memory get", key),
        key=key,
        **refused.details,
    )


def _show_read(view: View, chain: ChainId, state: memory.State, index: int) -> Protocol[Memory]:
    """Make the answer of a read; what the transaction itself has changed has no id yet."""
    key, found = chain_name(chain), view.chains[chain]
    kind = "text" if state.content is None else state.content["type"]
    value = None if state.content is None else (yield from read_content(state.content))
    gone = state.content is None
    if index:
        event = found.events[-1]
        seq, at = found.place.seq, rfc3339(event.at)
        return Memory(key, value, kind, seq, event.agent, at, event.id, gone, event.op)
    standing = yield from read_standing(view.client, found.head)
    if standing is None:
        return _nothing(key)
    shown = yield from show_memory(standing, read=False)
    return shown._replace(value=value, type=kind, deleted=gone)


def _show_again(client: Client, key: str, version: Version | None) -> Protocol[Memory]:
    """Make the answer of a read that was made by an earlier command under the same key."""
    standing = yield from read_standing(client, version)
    return _nothing(key) if standing is None else (yield from show_memory(standing))


def _nothing(key: str) -> Memory:
    return Memory(key, None, "text", 0, "", "", "", deleted=True)


def _told(memory_read: Memory) -> Protocol[Memory]:
    return memory_read
    yield
