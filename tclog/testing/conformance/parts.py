"""The parts of a trial: what processes of the client and of tclog are made to do.

Each part yields a sentence for each thing that was not at once as it must be. What every process
was told is kept in the journal, and judged at the end against the log itself.
"""

from __future__ import annotations

import random
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import partial
from typing import Any

from tclog.chain.drive import run
from tclog.chain.read import read_newest, read_range
from tclog.clock import AHEAD_TRUSTED_US, SECOND_US, parse_us
from tclog.errors import TclogError
from tclog.event import ChainId, decode_event, event_key_parts, slot_key
from tclog.event.names import CHAINS, EVENTS, chain_id, kind_of, once_key
from tclog.history.history import History
from tclog.log.log import Log
from tclog.maintenance.void import void
from tclog.store.base import Created, Store
from tclog.testing.conformance.judge import ill_typed
from tclog.testing.conformance.member import Asked, Member
from tclog.testing.conformance.trial import OFFSET_VARIABLE, Trial
from tclog.testing.scheduler import EVERYTHING

CLIENTS = 3
# Of those that race, two are sessions of one agent.
RACERS = ("client-0", "client-1", "client-1")
COMPANIONS = 2
# A client that lacks one of these cannot be tried; of the others it is asked no more.
NEEDED = ("memory.set", "memory.get", "memory.incr", "message.send", "inbox.read", "step.claim")
OFFSET_S = 3 * 3600
LEASE_MS = 1500
EXIT_DAMAGED = 8
_PAUSE_S = 0.1
_TRIES = 200
_BIG = "x" * 20_000

# -- answers --------------------------------------------------------------------------------------

Line = tuple[str, dict[str, Any], dict[str, Any]]

# One agent alone: what is asked, and what of the answer is known beforehand.
ALONE: tuple[Line, ...] = (
    ("memory.get", {"key": "a"}, {"exit": 3, "code": "key-missing"}),
    ("memory.set", {"key": "a", "value": "1"}, {"key": "a", "value": "1", "version": 1}),
    ("memory.set", {"key": "a", "value": "2", "if_version": 7}, {"exit": 4}),
    ("memory.set", {"key": "a", "value": "2", "if_version": 1}, {"version": 2}),
    ("memory.set", {"key": "a", "value": "3", "if_version": 1}, {"code": "version-conflict"}),
    ("memory.get", {"key": "a"}, {"value": "2", "version": 2}),
    ("memory.set", {"key": "names/é a#%~\u2014.", "value": "é\u2028\u0001"}, {"version": 1}),
    ("memory.get", {"key": "names/é a#%~\u2014."}, {"value": "é\u2028\u0001"}),
    ("memory.set", {"key": "..", "value": "dots"}, {"key": "..", "version": 1}),
    ("memory.set", {"key": "é" * 100, "value": "long"}, {"version": 1}),
    ("memory.get", {"key": "é" * 100}, {"value": "long"}),
    ("memory.set", {"key": "j", "value": {"b": [1, None, True], "a": -5}}, {"version": 1}),
    ("memory.get", {"key": "j"}, {"value": {"a": -5, "b": [1, None, True]}}),
    ("memory.set", {"key": "f", "value": [0.5, 1e16]}, {"version": 1}),
    ("memory.get", {"key": "f"}, {"value": [0.5, 1e16]}),
    ("memory.set", {"key": "big", "value": _BIG}, {"version": 1}),
    ("memory.get", {"key": "big"}, {"value": _BIG}),
    ("memory.incr", {"key": "n", "by": 5}, {"value": 5, "version": 1}),
    ("memory.incr", {"key": "n", "by": -7}, {"value": -2, "version": 2}),
    ("memory.set", {"key": "t", "value": " 41\n"}, {"version": 1}),
    ("memory.incr", {"key": "t", "by": 1}, {"value": 42, "version": 2}),
    ("memory.incr", {"key": "a/b", "by": 2**62}, {"value": 2**62}),
    ("memory.incr", {"key": "a/b", "by": 2**62}, {"exit": 4}),
    ("memory.set", {"key": "u", "value": "\u00a01"}, {"version": 1}),
    ("memory.incr", {"key": "u", "by": 1}, {"exit": 4}),
    ("memory.append", {"key": "l", "text": "one"}, {"value": "one", "version": 1}),
    ("memory.append", {"key": "l", "text": "two"}, {"value": "one\ntwo", "version": 2}),
    ("memory.append", {"key": "l", "text": _BIG}, {"version": 3}),
    ("memory.get", {"key": "l"}, {"value": f"one\ntwo\n{_BIG}"}),
    ("memory.set", {"key": "list", "value": [1]}, {"version": 1}),
    ("memory.append", {"key": "list", "text": "x"}, {"value": [1, "x"], "version": 2}),
    ("memory.delete", {"key": "list"}, {"version": 3}),
    ("memory.get", {"key": "list"}, {"exit": 3}),
    ("message.send", {"to": "alone", "text": "hi"}, {"type": "message", "text": "hi"}),
    ("message.send", {"to": "@all", "text": "all"}, {"type": "message", "to": "@all"}),
    ("step.claim", {"id": "s", "lease": "60s"}, {"state": "claimed", "agent": "alone", "fence": 1}),
    ("step.complete", {"id": "s", "fence": 9}, {"exit": 4, "code": "stale-fence"}),
    ("step.complete", {"id": "s", "fence": 1}, {"state": "complete", "version": 2}),
    ("step.claim", {"id": "s", "lease": "60s"}, {"exit": 4, "code": "step-complete"}),
    ("step.reopen", {"id": "s"}, {"version": 3}),
    ("step.claim", {"id": "t", "lease": "60s"}, {"state": "claimed", "fence": 1}),
    ("step.note", {"id": "t", "text": "half"}, {"version": 2}),
    ("step.renew", {"id": "t", "lease": "90s", "fence": 1}, {"fence": 1, "version": 3}),
    ("step.claim", {"id": "r", "lease": "60s"}, {"state": "claimed", "fence": 1}),
    ("step.release", {"id": "r", "fence": 1}, {"version": 2}),
    ("step.release", {"id": "r"}, {"exit": 4}),
)


def answers(trial: Trial) -> Iterator[str]:
    """One process alone, and tclog reading what it wrote."""
    member = trial.member("alone")
    values: dict[str, Any] = {}
    # Where an operation was left out, nothing that comes after it is known beforehand.
    left_out: set[Any] = set()
    for op, fields, expected in ALONE:
        about = op.partition(".")[0], fields.get("key", fields.get("id"))
        if about in left_out or not trial.can(op):
            left_out.add(about)
            continue
        asked = member.ask(op, **fields)
        if op == "memory.get" and "value" in expected:
            values[fields["key"]] = expected["value"]
        if asked.code == "op-unknown":
            trial.missing.add(op)
            left_out.add(about)
            if op in NEEDED:
                yield f"the client does not know {op}, which a trial needs"
        elif asked.answer is None:
            yield f"no answer to {asked}"
            return
        elif wrong := _different(asked, expected):
            yield f"{asked}; {wrong}"
    mail = member.ask("inbox.read", all=True)
    items = (mail.answer or {}).get("items", []) if not ill_typed(mail) else []
    texts = [(row["n"], row.get("text")) for row in items]
    if texts != [(1, "hi"), (2, "all")]:
        yield f"the inbox has {texts}, not the message and the broadcast"
    member.close()
    yield from _read_by_ours(trial, values)
    if trial.missing:
        words = ", ".join(sorted(trial.missing))
        trial.notes.append(f"not tried, because the client does not know it: {words}")


def _different(asked: Asked, expected: Mapping[str, Any]) -> str:
    """Say which field of an answer is not as expected."""
    answer = asked.answer or {}
    told = {"exit": asked.exit, "code": asked.code}
    for name, value in expected.items():
        found = told[name] if name in told else answer.get(name)
        if found != value or type(found) is not type(value):
            return f"{name} should be {value!r}"[:200]
    if "exit" not in expected and "code" not in expected and not asked.ok:
        return "it should succeed"
    return ""


def _read_by_ours(trial: Trial, values: Mapping[str, Any]) -> Iterator[str]:
    """What the client was given reads the same by tclog."""
    log = trial.log("reader")
    for key, value in values.items():
        found: Any = None
        with suppress(TclogError):
            found = log.memory.get(key).value
        if found != value:
            yield f"tclog reads another value of {key!r} than the client was given"


# -- races ----------------------------------------------------------------------------------------


def races(trial: Trial, rounds: int, ends_s: float) -> Iterator[str]:
    """Several processes of the client and of tclog on the same keys at once."""
    members = [trial.member(agent) for agent in RACERS]
    members += [trial.member(f"tclog-{nth}", ours=True) for nth in range(COMPANIONS)]
    begun = 0
    with ThreadPoolExecutor(len(members)) as pool:
        # They begin together only when all have started.
        list(pool.map(lambda member: member.ask("memory.get", key="race-count"), members))
        for number in range(rounds):
            if number and time.monotonic() > ends_s:
                break
            begun += 1
            seeds = [trial.rng.getrandbits(32) for _ in members]
            first = list(pool.map(partial(_race, trial, number), members, seeds))
            if not any(asked.ok for asked in first):
                yield f"nobody got the step race-{number}, which all had asked for"
        list(pool.map(lambda member: member.ask("inbox.read", all=True), members))
    for member in members:
        member.close()
    trial.notes.append(f"{begun} round(s) of {CLIENTS} clients and {COMPANIONS} of tclog")


def _race(trial: Trial, number: int, member: Member, seed: int) -> Asked:
    """Do what one member does in one round; return how its claim of the common step went."""
    rng = random.Random(seed)  # noqa: S311 - a schedule, no secret
    step = f"race-{number}"
    claimed = member.ask("step.claim", id=step, lease="60s")
    works = [_count, _guard, _tell, _broadcast, _append]
    for nth in range(4):
        rng.choice(works)(trial, member, f"{member.session}.{number}.{nth}")
    if claimed.ok and claimed.answer is not None:
        fence = claimed.answer.get("fence")
        end = rng.choice([op for op in ("step.complete", "step.release") if trial.can(op)] or [""])
        if end:
            member.ask(end, id=step, fence=fence)
    member.ask("memory.get", key="race-count")
    return claimed


def _count(trial: Trial, member: Member, token: str) -> None:
    del trial, token
    member.ask("memory.incr", key="race-count", by=1)


def _guard(trial: Trial, member: Member, token: str) -> None:
    del trial
    seen = member.ask("memory.get", key="race-guard")
    fields = {"if_version": (seen.answer or {}).get("version")} if seen.ok else {}
    member.ask("memory.set", key="race-guard", value=token, **fields)


def _tell(trial: Trial, member: Member, token: str) -> None:
    del trial
    member.ask("message.send", to="client-0", text=token)


def _broadcast(trial: Trial, member: Member, token: str) -> None:
    del trial
    member.ask("message.send", to="@all", text=token)


def _append(trial: Trial, member: Member, token: str) -> None:
    if trial.can("memory.append"):
        member.ask("memory.append", key="race-log", text=token)


# -- killed authors -------------------------------------------------------------------------------


def killed(trial: Trial, rounds: int, ends_s: float) -> Iterator[str]:
    """Kill clients between and in the middle of writes, and repeat what they were asked."""
    count = silent = 0
    with ThreadPoolExecutor(CLIENTS) as pool:
        for number in range(rounds):
            if number and time.monotonic() > ends_s:
                break
            numbers = range(count, count + CLIENTS)
            moments = [trial.rng.random() for _ in numbers]
            count += CLIENTS
            for died, sentences in pool.map(partial(_victim, trial), numbers, moments):
                silent += died
                yield from sentences
    trial.notes.append(f"{count} killed, {silent} of them before they had answered")


def _victim(trial: Trial, number: int, when: float) -> tuple[bool, list[str]]:
    """Kill one client at a moment of its work; return whether it had answered nothing by then."""
    agent = f"victim-{number}"
    key = f"killed#{number}/é"
    first = trial.member(agent)
    # The first answer comes when the process has started; the second tells how long one takes.
    for nth in range(2):
        warm = first.ask("memory.incr", key=f"warm-{number}", by=1, id_key=f"warm-{nth}")
    took_s = (warm.ended_us - warm.begun_us) / SECOND_US
    op, fields = (
        ("memory.incr", {"key": "killed-count", "by": 1}),
        ("message.send", {"to": "victim-0", "text": f"last words {number}"}),
    )[number % 2]
    died = first.ask_and_die(when * took_s, op, **fields, id_key=key)
    second = trial.member(agent)
    broken = []
    again = second.ask(op, **fields, id_key=key)
    if not again.ok:
        broken.append(f"what a killed client was asked cannot be repeated: {again}")
    twice = second.ask(op, **fields, id_key=key)
    if again.ok and (twice.answer or {}).get("id") != (again.answer or {}).get("id"):
        broken.append(f"the second repetition has another answer than the first: {twice}")
    second.close()
    return died.answer is None, broken


# -- idempotency keys -----------------------------------------------------------------------------


def keys(trial: Trial) -> Iterator[str]:
    """One command under an idempotency key: repeated, with other words, and by another client."""
    member = trial.member("keeper")
    word = "a#b/é"
    fields = {"key": "keyed", "by": 1, "id_key": word}
    first, second = (member.ask("memory.incr", **fields) for _ in range(2))
    if not first.ok or (first.answer or {}).get("id") != (second.answer or {}).get("id"):
        yield f"a repetition under its id_key does not answer as the first: {first}; {second}"
    other = member.ask("memory.incr", **{**fields, "by": 2})
    if other.exit != 4 or other.code != "key-reused":
        yield f"an id_key with another command is not refused (4, key-reused): {other}"
    member.close()
    name = once_key("keeper", word, chain_id("memory", "keyed"))
    if trial.store.get(name) is None:
        yield f"the id_key {word!r} is not bound under {name}"
    ours = trial.log("keeper")
    with suppress(TclogError):
        ours.memory.incr("keyed", 1, id=word)
    if ours.memory.get("keyed").value != 1:
        yield "a repetition under the same id_key by another client was applied again"


# -- leases ---------------------------------------------------------------------------------------


def leases(trial: Trial) -> Iterator[str]:
    """A holder of tclog that died, taken over by the client; and the other way round."""
    with ThreadPoolExecutor(2) as pool:
        for sentences in pool.map(partial(_lapse, trial), (True, False)):
            yield from sentences


def _lapse(trial: Trial, ours: bool) -> list[str]:
    """Let a holder die, of tclog or of the client, and the other take over when it may."""
    step = "lapsed-ours" if ours else "lapsed-theirs"
    holder, taker = trial.member("holder", ours=ours), trial.member("taker", ours=not ours)
    twin = trial.member("holder")
    # A process takes longer to start than a lease lasts, perhaps.
    for member in (holder, taker, twin):
        member.ask("memory.get", key="warm")
    held = holder.ask("step.claim", id=step, lease=f"{LEASE_MS}ms")
    holder.kill()
    if not held.ok:
        return [f"a free step was not given: {held}"]
    broken = []
    asked = twin.ask("step.claim", id=step, lease="60s")
    if asked.exit != 4:
        broken.append(f"another session of the holder's name was not refused: {asked}")
    twin.close()
    asked = taker.ask("step.claim", id=step, lease="60s")
    if asked.ok or asked.exit != 4:
        broken.append(f"a held step was not refused with exit 4: {asked}")
    for _ in range(_TRIES):
        if asked.exit != 4:
            break
        time.sleep(_PAUSE_S)
        asked = taker.ask("step.claim", id=step, lease="60s")
    if not asked.ok:
        broken.append(f"a step whose lease had ended was not taken over: {asked}")
    taker.close()
    return broken


# -- transactions beside --------------------------------------------------------------------------


class _Died(BaseException):
    """A process of ours is killed here; no code of the protocol may catch it."""


class _Dying:
    """A store whose client dies after it has created so many slots."""

    def __init__(self, store: Store, slots: int) -> None:
        self._store = store
        self._left = slots

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)

    def create(self, key: str, data: bytes) -> Created:
        """See ``Store``."""
        if kind_of(key) == CHAINS and self._left == 0:
            raise _Died
        self._left -= kind_of(key) == CHAINS
        return self._store.create(key, data)


def transactions(trial: Trial) -> Iterator[str]:
    """Transactions of tclog: committed, aborted, left open by an author that died, and beside."""
    ours, member = trial.log("author"), trial.member("neighbour")
    for name in ("open", "gone", "done"):
        ours.memory.set(f"{name}-1", "before")
        ours.memory.set(f"{name}-2", "before")
    _transact(ours, "done")
    for name in ("open", "gone"):
        with suppress(_Died):
            _transact(trial.log("author", _Dying(trial.store, 1)), name)
    slots = _slots_of_last(trial, ("gone-1", "gone-2"))
    free = next(name for name, there in slots.items() if not there)
    trial.log("author-2").memory.set(free, "instead")
    expected = {"done-1": "after", "done-2": "after", "open-1": "before", "open-2": "before"}
    for name in slots:
        expected[name] = "instead" if name == free else "before"
    for key, value in expected.items():
        told = member.ask("memory.get", key=key)
        if (told.answer or {}).get("value") != value:
            yield f"beside a transaction {key} should be {value!r}: {told}"
    for key in ("open-1", "gone-1", "done-1", "open-2"):
        told = member.ask("memory.set", key=key, value="mine")
        if not told.ok:
            yield f"a transaction whose author has died stops a write for ever: {told}"
    yield from _transfers(trial, member)
    member.close()


def _transact(log: Log, name: str) -> None:
    transaction = log.transaction()
    transaction.memory_set(f"{name}-1", "after")
    transaction.memory_set(f"{name}-2", "after")
    log.transact(transaction)


def _slots_of_last(trial: Trial, names: Sequence[str]) -> dict[str, bool]:
    """Return which keys have a second version, of a transaction that has one slot of two."""
    slots = {name: slot_key(chain_id("memory", name), 2) for name in names}
    return {name: trial.store.get(key) is not None for name, key in slots.items()}


def _transfers(trial: Trial, member: Member) -> Iterator[str]:
    """Move amounts between two accounts in transactions while the client pays into both."""
    ours = trial.log("bank")
    for account in ("account-1", "account-2"):
        ours.memory.set(account, 0)
    with ThreadPoolExecutor(1) as pool:
        moving = pool.submit(_move, ours, 8)
        paid = 0
        for nth in range(16):
            paid += member.ask("memory.incr", key=f"account-{nth % 2 + 1}", by=10).ok * 10
        moving.result()
    told = [member.ask("memory.get", key=f"account-{nth}") for nth in (1, 2)]
    values = [(asked.answer or {}).get("value") for asked in told]
    total = sum(value for value in values if type(value) is int)
    if total != paid:
        yield f"the accounts hold {total} after {paid} were paid in: {told[0]}; {told[1]}"


def _move(log: Log, times: int) -> None:
    for _ in range(times):
        transaction = log.transaction()
        transaction.memory_incr("account-1", -3)
        transaction.memory_incr("account-2", 3)
        log.transact(transaction)


# -- junk -----------------------------------------------------------------------------------------


def junk(trial: Trial) -> Iterator[str]:
    """Put junk into a slot: the chain stops for the client, others go on, and then it is ended."""
    apart = trial.apart("junk")
    chain = chain_id("memory", "broken")
    ours, member = apart.log("witness"), apart.member("client")
    for key in ("broken", "sound"):
        ours.memory.set(key, "one")
    apart.store.put(slot_key(chain, 2), b'{"seq":2}')
    for op, fields in (("memory.get", {}), ("memory.set", {"value": "two"})):
        told = member.ask(op, key="broken", **fields)
        if told.exit != EXIT_DAMAGED:
            yield f"junk in a slot is not refused with exit {EXIT_DAMAGED}: {told}"
    told = member.ask("memory.set", key="sound", value="two")
    if not told.ok:
        yield f"junk in one chain stops another: {told}"
    run(void(apart.log("warden").client, None, chain, 2, "a trial"), apart.store)
    told = member.ask("memory.get", key="broken")
    if (told.answer or {}).get("value") != "one":
        yield f"after junk was ended the value should be 'one': {told}"
    told = member.ask("memory.set", key="broken", value="two", if_version=1)
    if not told.ok:
        yield f"a chain with ended junk is not written to: {told}"
    elif apart.log("reader").memory.get("broken").value != "two":
        yield f"what was written after ended junk is not there: {told}"
    apart.close()


# -- clocks ---------------------------------------------------------------------------------------


def clocks(trial: Trial) -> Iterator[str]:
    """A client whose machine's clock is hours slow, and one whose is hours fast."""
    reader = trial.log("watcher")
    history = History(trial.store, reader.client, trial.folder / "index", run=reader.run)
    history.sync()
    obeyed = 0
    for offset_s in (-OFFSET_S, OFFSET_S):
        member = trial.member(f"clock{offset_s:+d}", offset_s=offset_s)
        done = [member.ask("memory.incr", key="clocked", by=1) for _ in range(3)]
        member.close()
        for asked in done:
            if not asked.ok:
                yield f"a wrong clock stops a write: {asked}"
        off, worst_us = _off_events(trial, member.session)
        obeyed += bool(off)
        if worst_us > AHEAD_TRUSTED_US:
            yield (
                f"an event of a client whose clock is {offset_s:+d} s off was committed with a time"
                f" {worst_us // SECOND_US} s from the store's stamp"
            )
    if obeyed == 0:
        trial.notes.append(
            f"wrong clocks were not tried: the client does not follow {OFFSET_VARIABLE}"
        )
    history.sync()
    seen = {(commit.chain, commit.seq) for commit in history.index.commits()}
    head = reader.memory.get("clocked").version
    unseen = [seq for seq in range(1, head + 1) if (chain_id("memory", "clocked"), seq) not in seen]
    if unseen:
        yield f"tclog log misses versions {unseen} of memory/clocked, which a wrong clock named"


def _off_events(trial: Trial, session: str) -> tuple[list[str], int]:
    """Return the events of a session that are named by a wrong clock, and the worst committed."""
    committed = _committed(trial, chain_id("memory", "clocked"))
    off, worst_us = [], 0
    for entry in trial.store.list(EVENTS, "", EVERYTHING, False):
        parts, found = event_key_parts(entry.key), trial.store.get(entry.key)
        if parts is None or found is None or decode_event(found.data).session != session:
            continue
        away_us = abs(parse_us(parts[0]) - parse_us(found.stored))
        if away_us > AHEAD_TRUSTED_US:
            off.append(entry.key)
        if parts[2] in committed:
            worst_us = max(worst_us, away_us)
    return off, worst_us


def _committed(trial: Trial, chain: ChainId) -> set[str]:
    client = trial.log("watcher").client
    head = run(read_newest(client, chain), trial.store)
    versions = [] if head is None else run(read_range(client, chain, 1, head.seq), trial.store)
    return {event.id for version in versions for event in version.events}
