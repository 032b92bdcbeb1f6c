"""Messages: send, read, wait, acknowledge."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from tclog.chain.append import Appended, append, take_in
from tclog.chain.client import Client
from tclog.chain.drive import Protocol, together
from tclog.chain.fold import state_of
from tclog.chain.once import once
from tclog.chain.race import Sealed
from tclog.chain.read import (
    read_at,
    read_broadcasts,
    read_head,
    read_range,
    read_version,
    read_young,
)
from tclog.chain.results import Message
from tclog.chain.seal import merge_of
from tclog.chain.show import show_message
from tclog.clock import Hlc
from tclog.domain import counting, inbox
from tclog.domain.content import Blob, make_content
from tclog.domain.decision import Draft
from tclog.domain.memory import check_value
from tclog.errors import Damaged, NotFound, OutcomeUnknown, UsageError, WaitTimeout, quote
from tclog.event import (
    ALL,
    RECIPIENTS_MAX,
    ChainId,
    Event,
    Version,
    chain_id,
    slot_key,
    split_names,
    validate_name,
    validate_new,
    why_odd,
)
from tclog.log.operation import WAIT_S, Count, Seconds, operation
from tclog.log.waiting import poll
from tclog.store.base import Get

REPLY_TO_BYTES_MAX = 200
EVERYBODY = "@all"


def inbox_chain(agent: str) -> ChainId:
    """Return the chain of an agent's inbox."""
    return chain_id("inbox", validate_name("agent", agent))


def _read_chain(agent: str) -> ChainId:
    return chain_id("read", validate_name("agent", agent))


@operation("message.send", together=True)
def send_message(
    client: Client,
    to: str,
    text: str,
    *,
    reply_to: str | None = None,
    step: str | None = None,
    id: str | None = None,
) -> Protocol[Message]:
    """Send a text to an agent, to several (with commas), or to ``@all``; see ``message``.

    It is one event, however many agents it goes to. It is acknowledged when every inbox named has
    it. If the sender dies between two inboxes, repeating it under the same idempotency key
    completes it.
    """
    chains, body, blobs = message(to, text, reply_to=reply_to, step=step)
    command = inbox.Send(body)
    yield from check_recipients(client, body["to"])
    sealed: Sealed | None = None
    places: list[int] = []
    for chain in chains:
        try:
            done: Appended = yield from append(
                client,
                chain,
                lambda state, place: inbox.decide(state, command, place),
                blobs=() if sealed else blobs,
                chains=chains,
                once=once(id, {"op": "message.send", "body": body}),
                sealed=sealed,
                joinable=True,
            )
        except OutcomeUnknown as unknown:
            raise _repeatable(unknown, places, id) from None
        assert done.event is not None  # noqa: S101 - a send is never unchanged
        assert done.version is not None  # noqa: S101 - as above
        places.append(done.version.seq)
        sealed = Sealed(Draft("message.send", body), done.event)
    assert sealed is not None  # noqa: S101 - there is at least one chain
    note_recipients(client, body)
    return (yield from show_message(sealed.event, 0, unread=False, text=text))


def check_recipients(client: Client, names: Sequence[str]) -> Protocol[None]:
    """Refuse names that look like others and have no inbox yet, before anything is written.

    Raises:
        BadName: see ``validate_new``.
    """
    for name in names:
        if why_odd(name) is not None and (yield from read_head(client, inbox_chain(name))) is None:
            validate_new("agent", name)


def note_recipients(client: Client, body: Mapping[str, Any]) -> None:
    """Note recipients that were never seen: a misspelt name makes an inbox that nobody reads."""
    names = [name for name in body["to"] if name != EVERYBODY and not client.heads.acted(name)]
    if names:
        from tclog.log.nearby import note_unseen

        note_unseen(client, names)


def message(
    to: str, text: str, *, reply_to: str | None = None, step: str | None = None
) -> tuple[Sequence[ChainId], dict[str, Any], Sequence[Blob]]:
    """Check a message; return the inboxes that it goes to, its body, and the blobs it needs.

    ``to`` is names, exactly as the agents have them. Other words for ``@all`` are the business of
    the command line.
    """
    if to == EVERYBODY:
        names, chains = [EVERYBODY], [ALL]
    else:
        names = split_names("agent", to)
        chains = [inbox_chain(name) for name in names]
    if len(names) > RECIPIENTS_MAX:
        raise UsageError(
            f"a message goes to at most {RECIPIENTS_MAX} agents by name, not {len(names)}",
            code="too-many-recipients",
            hint="tclog send --help",
        )
    check_value("text", text)
    if not text:
        raise UsageError("the message is empty", code="bad-value")
    content, blobs = make_content("text", text)
    body: dict[str, Any] = {"text": content, "to": names}
    if reply_to is not None:
        check_value("text", reply_to)
        if len(reply_to.encode()) > REPLY_TO_BYTES_MAX:
            raise UsageError(
                f"{reply_to[:30]}... is not a message id",
                code="bad-value",
                hint="tclog inbox --all",
            )
        body["reply_to"] = reply_to
    if step is not None:
        body["step"] = validate_name("step", step)
    return chains, body, blobs


def _repeatable(
    unknown: OutcomeUnknown, places: Sequence[int], id_key: str | None
) -> OutcomeUnknown:
    """Make the hint's key look back far enough for every inbox.

    ``places`` are where the message stands already. In an inbox that was not tried, the first
    repetition binds the key before it sends, so a further one finds what it sent. A key that was
    given stays: each inbox is bound to it already, also where its event carries none.
    """
    told = unknown.details.get("id_key")
    if told is None:
        return unknown
    prefix, _, place = told.partition(".")
    key = id_key or (f"{prefix}.{min(int(place), *places)}" if places else told)
    unknown.hint = unknown.hint.replace(quote(told), quote(key))
    unknown.details["id_key"] = key
    return unknown


class Mailbox(NamedTuple):
    """An inbox as read: ``messages`` asked for, and what is needed to acknowledge them.

    ``own`` holds the numbers of the reader's own broadcasts among what was looked at.
    """

    messages: Sequence[Message]
    own: Sequence[int]
    total: int
    version: int


@operation(
    "inbox.read",
    writes=False,
    excludes=[("wait", "all"), ("wait", "at")],
    needs={"timeout_s": "wait"},
)
def read_mail(
    client: Client,
    *,
    all: bool = False,
    ack: bool = False,
    wait: bool = False,
    timeout_s: Seconds | None = WAIT_S,
    at: Hlc | None = None,
    limit: Count | None = None,
) -> Protocol[Mailbox]:
    """Read the agent's inbox: what is unread, or ``all``. Never deletes.

    With ``wait`` it waits until something is unread. With ``ack`` what is returned is acknowledged.

    Raises:
        WaitTimeout: nothing came in time.
    """
    if wait:
        mailbox = yield from wait_inbox(client, timeout_s=timeout_s)
    else:
        mailbox = yield from read_inbox(client, everything=all, at=at)
    mailbox = mailbox._replace(messages=mailbox.messages[: limit or None])
    if ack and mailbox.messages:
        yield from acknowledge(client, mailbox)
    return mailbox


def read_inbox(
    client: Client, *, everything: bool = False, at: Hlc | None = None
) -> Protocol[Mailbox]:
    """Read the client's inbox: what is unread, or everything. Changes no acknowledgement.

    Broadcasts that have no place in this inbox yet are given one first, so the numbers are final.
    """
    chain = inbox_chain(client.agent)
    known = client.known(chain) is not None
    if at is not None:
        head = yield from read_at(client, chain, at)
    else:
        head, broadcasts = yield from together(read_young(client, chain), read_broadcasts(client))
        if broadcasts is not None:
            head = yield from take_in(client, chain, head, broadcasts)
        if head is None:
            from tclog.log.nearby import note_misnamed

            note_misnamed(client)
    return (yield from _mailbox(client, head, everything=everything, at=at, known=known))


def count_unread(client: Client, *, at: Hlc | None = None) -> Protocol[int]:
    """Count the messages that the client has not acknowledged, and write nothing.

    Broadcasts without a number in the inbox count too, and get none here.
    """
    chain = inbox_chain(client.agent)
    known = client.known(chain) is not None
    broadcasts: Version | None = None
    if at is not None:
        head = yield from read_at(client, chain, at)
    else:
        head, broadcasts = yield from together(read_young(client, chain), read_broadcasts(client))
    mailbox = yield from _mailbox(client, head, everything=False, at=at, known=known)
    merge = merge_of(state_of(chain, head), broadcasts)
    waiting = [] if merge is None else (yield from _taken_in(client, merge))
    later = [event for version in waiting for event in _sent(version)]
    return len(mailbox.messages) + sum(event.agent != client.agent for event in later)


def _mailbox(
    client: Client, head: Version | None, *, everything: bool, at: Hlc | None, known: bool
) -> Protocol[Mailbox]:
    """Return an inbox's messages at a version; ``known`` says whether any version was known."""
    if head is None:
        return Mailbox((), (), 0, 0)
    agent, chain = client.agent, head.chain
    count = state_of(chain, head).count
    read = yield from _acknowledged(client, agent, count, at, known=known)
    if read.floor >= count and not everything:
        return Mailbox((), (), count, head.seq)
    first = 1 if everything or read.version > head.seq else read.version + 1
    numbered = yield from _numbered(client, chain, first, head.seq, head)
    own = [n for n, event in numbered if _own_broadcast(event, agent)]
    own += _lost(numbered, count)
    wanted = [
        show_message(event, n, unread=unread)
        for n, event in numbered
        if (unread := not read.covers(n) and not _own_broadcast(event, agent)) or everything
    ]
    messages = yield from together(*wanted)
    return Mailbox(messages, own, count, head.seq)


def _own_broadcast(event: Event, agent: str) -> bool:
    return event.agent == agent and list(event.chains) == [ALL]


def _acknowledged(
    client: Client, agent: str, count: int, at: Hlc | None, *, known: bool
) -> Protocol[inbox.Read]:
    chain = _read_chain(agent)
    if at is not None:
        return state_of(chain, (yield from read_at(client, chain, at)))  # type: ignore[no-any-return]
    before: inbox.Read = state_of(chain, client.known(chain))
    if before.floor >= count:
        return before  # acknowledgements only add up: what is known to cover all still does
    # Where the inbox was known but none of them, there are probably none.
    look = read_young if known else read_head
    return state_of(chain, (yield from look(client, chain)))  # type: ignore[no-any-return]


def _numbered(
    client: Client, chain: ChainId, first: int, last: int, head: Version | None = None
) -> Protocol[list[tuple[int, Event]]]:
    """Return the messages of versions ``first`` to ``last`` with their numbers, in order.

    ``head`` is the last of them, where it has been read already.
    """
    versions = yield from read_range(client, chain, first, last, head)
    merges = [version.merge for version in versions if version.merge is not None]
    ranges = yield from together(*(_taken_in(client, merge) for merge in merges))
    broadcasts = dict(zip((merge["through"] for merge in merges), ranges, strict=True))
    numbered: list[tuple[int, Event]] = []
    for version in versions:
        sent = _sent(version)
        number = state_of(chain, version).count - len(sent)
        if version.merge is not None:
            # They end where the messages that were sent to this inbox begin.
            shift = number - version.merge["count"]
            for one in broadcasts[version.merge["through"]]:
                events = _sent(one)
                before = shift + state_of(ALL, one).count - len(events)
                numbered += [(before + place, event) for place, event in enumerate(events, 1)]
        numbered += [(number + place, event) for place, event in enumerate(sent, 1)]
    return numbered


def _lost(numbered: Sequence[tuple[int, Event]], count: int) -> list[int]:
    """Return the numbers of broadcasts that are junk by now: there is nothing to be shown."""
    there = {number for number, _ in numbered}
    return [n for n in range(min(there), count + 1) if n not in there] if there else []


def _taken_in(client: Client, merge: Mapping[str, Any]) -> Protocol[list[Version]]:
    """Return the versions of broadcasts that a merge names, but what is junk by now."""
    first, last = merge["after"] + 1, merge["through"]
    try:
        return (yield from read_range(client, ALL, first, last))
    except Damaged as error:
        client.leave_out(ALL, error)
    found = []
    for seq in range(first, last + 1):
        # A forged merge may name a billion versions.
        if (yield Get(slot_key(ALL, seq))) is None:
            break
        try:
            found.append((yield from read_version(client, ALL, seq)))
        except (Damaged, NotFound):
            continue
    return found


def _sent(version: Version) -> list[Event]:
    return [event for event in counting(version) if event.op == "message.send"]


def wait_inbox(client: Client, *, timeout_s: float | None) -> Protocol[Mailbox]:
    """Wait until something is unread.

    Raises:
        WaitTimeout: nothing came in time.
    """

    def look() -> Protocol[Mailbox | None]:
        mailbox = yield from read_inbox(client)
        return mailbox if mailbox.messages else None

    return (
        yield from poll(
            client,
            look,
            timeout_s=timeout_s,
            timed_out=lambda: WaitTimeout(
                f"no unread message for {client.agent} within {timeout_s:g} s",
                hint="tclog inbox --all",
            ),
        )
    )


@operation("message.ack", one_of=("n", "message"))
def acknowledge(
    client: Client,
    n: Count | Mailbox | None = None,
    *,
    message: str | None = None,
    id: str | None = None,
) -> Protocol[Message | None]:
    """Acknowledge one message, by its number ``n`` or an id prefix; returns it.

    Given a mailbox as it was read, acknowledge exactly the messages in it; returns None.

    Raises:
        NotFound: no such message in this inbox.
    """
    if isinstance(n, Mailbox):
        numbers = [one.n for one in n.messages] + list(n.own)
        yield from _acknowledge(client, numbers, n, id)
        return None
    if message is not None:
        mailbox = yield from read_inbox(client, everything=True)
        found = _by_id(mailbox, message.lower(), client.agent)
    else:
        assert n is not None  # noqa: S101 - one of them is given
        found, mailbox = yield from _at_number(client, n)
    yield from _acknowledge(client, [found.n], mailbox, id)
    return found._replace(unread=False)


def _acknowledge(
    client: Client, numbers: Sequence[int], mailbox: Mailbox, id_key: str | None
) -> Protocol[inbox.Read]:
    chain = _read_chain(client.agent)
    ranges = inbox.join((), ((n, n) for n in numbers))

    def decide(state: inbox.Read, place: Any) -> Any:
        covered = inbox.Read(inbox.join(state.ranges, ranges)).floor >= mailbox.total
        version = mailbox.version if covered else 0
        return inbox.decide_ack(state, inbox.Ack(ranges, version), place)

    bound = once(id_key, {"op": "message.ack", "ranges": ranges})
    done = yield from append(client, chain, decide, once=bound)
    return done.state  # type: ignore[no-any-return]


def _at_number(client: Client, number: int) -> Protocol[tuple[Message, Mailbox]]:
    """Find a message by binary search: each version's state says how many there are up to it."""
    chain = inbox_chain(client.agent)
    head, broadcasts = yield from together(read_young(client, chain), read_broadcasts(client))
    if broadcasts is not None:
        head = yield from take_in(client, chain, head, broadcasts)
    count = 0 if head is None else state_of(chain, head).count
    if head is None or not 1 <= number <= count:
        raise _no_message(client.agent, str(number), count)
    low, high = 1, head.seq
    while low < high:
        middle = (low + high) // 2
        version = yield from read_version(client, chain, middle)
        if state_of(chain, version).count >= number:
            high = middle
        else:
            low = middle + 1
    numbered = yield from _numbered(client, chain, low, low)
    event = next((event for n, event in numbered if n == number), None)
    if event is None:
        raise Damaged(
            f"version {low} of {chain} counts a message that it does not hold", hint="tclog fsck"
        )
    message = yield from show_message(event, number, unread=True)
    return message, Mailbox((message,), (), count, head.seq)


def _by_id(mailbox: Mailbox, prefix: str, agent: str) -> Message:
    found = [m for m in mailbox.messages if len(prefix) >= 4 and m.id.startswith(prefix)]
    if len(found) > 1:
        raise UsageError(
            f"{prefix} is the beginning of {len(found)} message ids",
            code="ambiguous-id",
            hint="tclog inbox --all",
        )
    if not found:
        raise _no_message(agent, prefix, mailbox.total)
    return found[0]


def _no_message(agent: str, which: str, count: int) -> NotFound:
    return NotFound(
        f"{agent} has no message {which}; there are {count}",
        code="message-missing",
        hint="tclog inbox --all",
    )
