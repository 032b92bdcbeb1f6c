"""``fsck``: every damage is found and named, and none is invented."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from history.filled import PROJECT, fill, filled_store, open_log
from history.places import busy, given_project, given_seeds, given_store, objects  # noqa: F401
from support.logs.generate import generate
from support.project import Project
from support.stores import Around

from tclog.chain.drive import run
from tclog.chain.fold import fold, place_of, rules_of, state_of
from tclog.clock import format_us, hlc, parse_hlc, parse_us, stamp
from tclog.errors import Damaged
from tclog.event import (
    ALL,
    ChainId,
    Version,
    chain_of_slot,
    decode,
    decode_version,
    digest,
    encode,
    event_key,
    once_key,
    pending_key,
    seal_event,
    seal_version,
    slot_key,
    slot_seq,
)
from tclog.maintenance.fsck.check import Checked, Patient, fsck
from tclog.maintenance.fsck.findings import Damage, Writer
from tclog.store.base import Entry, Found, Store
from tclog.store.file import FileStore
from tclog.store.memory import MemoryStore


def check(store: Store, project: str = PROJECT) -> tuple[list[Damage], Checked]:
    told: list[Damage] = []
    checked = run(fsck(project, told.append), Patient(store))
    found = [damage for damage in told if not damage.harmless]
    assert checked.damaged == len(found)
    return found, checked


def noted(store: Store) -> set[tuple[str, str]]:
    """Return the codes and keys of what is told and is no damage."""
    told: list[Damage] = []
    run(fsck(PROJECT, told.append), Patient(store))
    return {(one.code, one.where.key) for one in told if one.harmless}


def head_of(store: Store, chain: ChainId) -> Version:
    entry = store.list(slot_key(chain, 1).rpartition("/")[0], "", 1, False)[0]
    found = store.get(entry.key)
    return decode_version(found.data, chain=chain, seq=slot_seq(entry.key), stored=found.stored)


# -- sound logs -----------------------------------------------------------------------------------


def test_nothing_is_invented_on_a_log_that_used_everything(store: Store, tmp_path: Path):
    fill(store, tmp_path / "files")
    found, checked = check(store)
    assert found == []
    assert checked.versions == len([key for key in objects(store) if key.startswith("chains/")])
    assert checked.events == len([key for key in objects(store) if key.startswith("events/")])
    assert checked.attempts >= 2
    assert checked.keys == len([key for key in objects(store) if key.startswith("once/")]) >= 2
    assert checked.unknown == 0


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_nothing_is_invented_on_generated_logs(seed: int):
    store = MemoryStore()
    generate(store, events=1500, seed=seed)
    store.put(
        "tclog.json", encode({"created_at": stamp(0), "format": 1, "id": "0", "project": PROJECT})
    )
    assert check(store)[0] == []


def test_a_log_that_is_written_meanwhile_is_sound(project: Project):
    work = busy(project)
    workers = project.crew([f"agent-{nth}" for nth in range(len(work))])
    for worker, commands in zip(workers, work, strict=True):
        worker.post(commands)
    for _ in range(5):
        done = project.run("fsck", "--json", timeout=120)
        assert done.code == 0, done
    for worker in workers:
        for result in worker.results(240):
            assert result.code in (0, 4), result
    assert project.run("fsck").code == 0


# -- single damages -------------------------------------------------------------------------------


class Harm(NamedTuple):
    """What was done: the keys that have to be named, and those that may be."""

    named: set[str]
    allowed: set[str]
    undo: Callable[[], None]


def _put_back(store: Store, key: str, raw: bytes) -> Callable[[], None]:
    return lambda: store.put(key, raw) and None


def flip(store: Store, key: str, rng: random.Random) -> Harm:
    raw = store.get(key).data
    place = rng.randrange(len(raw))
    bad = bytearray(raw)
    bad[place] ^= 1 << rng.randrange(8)
    store.put(key, bytes(bad))
    return Harm({key}, {key}, _put_back(store, key, raw))


def truncate(store: Store, key: str, rng: random.Random) -> Harm:
    raw = store.get(key).data
    store.put(key, raw[: rng.randrange(len(raw))])
    return Harm({key}, {key}, _put_back(store, key, raw))


def empty(store: Store, key: str, rng: random.Random) -> Harm:
    raw = store.get(key).data
    store.put(key, b"")
    return Harm({key}, {key}, _put_back(store, key, raw))


def garbage(store: Store, key: str, rng: random.Random) -> Harm:
    raw = store.get(key).data
    bad = [rng.randbytes(200), b"[" * 5000, b"{}", b'{"at":1,"sum":null}', b"null", b'"\xff"']
    store.put(key, rng.choice(bad))
    return Harm({key}, {key}, _put_back(store, key, raw))


def delete(store: Store, key: str, rng: random.Random) -> Harm:
    raw = store.get(key).data
    store.delete(key)
    return Harm({key}, {key}, _put_back(store, key, raw))


def swap(store: Store, key: str, rng: random.Random) -> Harm:
    others = [row.key for row in store.list(key.rpartition("/")[0], "", 99, False)]
    other = rng.choice([one for one in others if one != key])
    first, second = store.get(key).data, store.get(other).data
    store.put(key, second)
    store.put(other, first)

    def undo() -> None:
        store.put(key, first)
        store.put(other, second)

    return Harm({key, other}, {key, other}, undo)


def rename(store: Store, key: str, rng: random.Random) -> Harm:
    raw = store.get(key).data
    folder, _, name = key.rpartition("/")
    seconds = (int(name[4:6]) + rng.randrange(1, 60)) % 60
    other = f"{folder}/{name[:4]}{seconds:02d}{name[6:]}"
    store.delete(key)
    store.put(other, raw)

    def undo() -> None:
        store.delete(other)
        store.put(key, raw)

    return Harm({other}, {other}, undo)


def harms(store: Store, rng: random.Random, count: int) -> list[tuple[Any, str]]:
    """Draw damages that can be found: of what another object names or that holds a sum."""
    everything = objects(store)
    slots = [key for key in everything if key.startswith("chains/")]
    newest = {min(one for one in slots if one.rpartition("/")[0] == key.rpartition("/")[0])
              for key in slots}  # fmt: skip
    versions = b"".join(everything[key] for key in slots)
    committed = [
        key
        for key, raw in everything.items()
        if key.startswith("events/") and json.loads(raw)["nonce"].encode() in versions
    ]
    blobs = [key for key in everything if key.startswith("blobs/")]
    named = [key for key in blobs if key[-64:].encode() in versions]
    events = [key for key in everything if key.startswith("events/")]
    older = [key for key in slots if key not in newest]
    choices = [
        *((how, kind) for how in (flip, truncate, empty, garbage) for kind in (slots, events)),
        *((how, blobs) for how in (flip, truncate, empty, garbage)),
        (delete, older), (delete, committed), (delete, named), (swap, older), (rename, events),
    ]  # fmt: skip
    rounds = [choices[nth % len(choices)] for nth in range(count)]
    return [(how, rng.choice(keys)) for how, keys in rounds]


def test_random_damages_are_all_found_and_nothing_else(store: Store, tmp_path: Path):
    fill(store, tmp_path / "files")
    before = objects(store)
    rng = random.Random(20)
    rounds = 119 if isinstance(store, FileStore) else 34
    for how, key in harms(store, rng, rounds):
        harm = how(store, key, rng)
        named = {damage.where.key for damage in unstamped(store)}
        assert harm.named <= named <= harm.allowed, (how.__name__, key)
        harm.undo()
    assert objects(store) == before
    assert unstamped(store) == []


def unstamped(store: Store) -> list[Damage]:
    """Return the damage but that of stamps: what was put back has another one."""
    return [damage for damage in check(store)[0] if damage.code != "stamp-wrong"]


def test_many_damages_at_once_are_all_named(store: Store, tmp_path: Path):
    fill(store, tmp_path / "files")
    rng = random.Random(21)
    named: set[str] = set()
    folders: set[str] = set()
    for how, key in harms(store, rng, 400):
        folder = key.rpartition("/")[0]
        if how in (flip, truncate, garbage, empty) and folder not in folders and len(named) < 20:
            folders.add(folder)
            named |= how(store, key, rng).named
    assert len(named) == 20
    found, _ = check(store)
    assert named <= {damage.where.key for damage in found}


def test_bytes_all_over_a_version_count(tmp_path: Path):
    store = filled_store(tmp_path / "files")
    key = slot_key(ChainId("step/design"), 2)
    raw = store.get(key).data
    for place in range(0, len(raw), 5):
        bad = bytearray(raw)
        bad[place] ^= 1
        store.put(key, bytes(bad))
        assert {damage.where.key for damage in check(store)[0]} == {key}, place


# -- missing versions -----------------------------------------------------------------------------


@pytest.mark.parametrize("gone", [[3], [1], [6], [2, 3, 4]])
def test_a_missing_version_is_named(store: Store, tmp_path: Path, gone: list[int]):
    fill(store, tmp_path / "files")
    chain = ChainId("step/design")
    newest = head_of(store, chain).seq
    assert newest >= 7
    gone = [newest - 1] if gone == [6] else gone
    for seq in gone:
        store.delete(slot_key(chain, seq))
    (damage,) = check(store)[0]
    assert damage.code == "version-missing"
    assert damage.where.key == slot_key(chain, gone[0])
    assert damage.where.chain == chain
    assert damage.where.version == gone[0]
    which = f"version {gone[0]}" if len(gone) == 1 else f"versions {gone[0]} to {gone[-1]}"
    assert damage.message.startswith(f"{which} of {chain} ")


def test_a_missing_broadcast_that_an_inbox_has_taken_in_is_named(tmp_path: Path):
    store = filled_store(tmp_path / "files")
    open_log(store, "bob").inbox()
    newest = head_of(store, ALL)
    store.delete(slot_key(ALL, newest.seq))
    found, _ = check(store)
    assert {damage.where.key for damage in found} == {slot_key(ALL, newest.seq)}


# -- what a foreign client may write --------------------------------------------------------------


def forge(
    store: Store,
    chain: ChainId,
    op: str,
    body: dict[str, Any],
    *,
    honest_state: bool = True,
    state: dict[str, Any] | None = None,
    agent: str = "mallory",
    chains: list[ChainId] | None = None,
    expect: dict[str, Any] | None = None,
    later_us: int = 0,
    **fields: Any,
) -> str:
    """Append a version by hand, ids and sum correct; return its key."""
    head = head_of(store, chain)
    us, counter = parse_hlc(head.at)
    event, raw = seal_event(
        op=op, chains=chains or [chain], agent=agent, session="s", host="h", client="forger",
        at=hlc(us + 1, counter), nonce="00" * 16, body=body, expect=expect,
    )  # fmt: skip
    key = event_key(event.at, event.chains[0], event.id)
    store.put(key, raw)
    given = {"prev_stored": head.stored, "prev": head.id, "merge": None, **fields}
    at = hlc(us + 2 + later_us, counter)
    draft = seal_version(
        chain=chain, seq=head.seq + 1, at=at, by=agent, events=(event,),
        state={}, **given,
    )  # fmt: skip
    if state is None:
        folded = fold(chain, state_of(chain, head), (event,), place_of(draft, head), draft.merge)
        state = dict(rules_of(chain).pack(folded, (event,)))
    sealed = seal_version(
        chain=chain, seq=head.seq + 1, at=at, by=agent, events=(event,),
        state=state, **given,
    )  # fmt: skip
    slot = slot_key(chain, head.seq + 1)
    store.put(slot, sealed.raw)
    return slot


HELD = ChainId("step/build")
STOLEN = {
    "agent": "mallory",
    "fence": 9,
    "held_version": 9,
    "lease_ms": 1000,
    "session": "s",
    "state": "claimed",
}


def test_a_forged_claim_on_a_held_step_is_named(store: Store, tmp_path: Path):
    fill(store, tmp_path / "files")
    key = forge(store, HELD, "step.claim", {"lease_ms": 1000})
    (damage,) = check(store)[0]
    assert (damage.code, damage.where.key, damage.where.agent) == ("rule-broken", key, "mallory")
    assert open_log(store, "alice").steps.show("build").agent == "alice"


def test_a_claim_that_says_itself_that_it_holds_is_named(tmp_path: Path):
    store = filled_store(tmp_path / "files")
    key = forge(store, HELD, "step.claim", {"lease_ms": 1000}, state=STOLEN)
    found, _ = check(store)
    assert {damage.where.key for damage in found} == {key}
    assert {damage.code for damage in found} == {"state-mismatch", "rule-broken"}


def test_a_takeover_before_the_lease_has_ended_is_named(tmp_path: Path):
    store = filled_store(tmp_path / "files")
    head = head_of(store, HELD)
    fence = head.state["fence"]
    body = {"fence": fence, "from": "alice", "lease_ms": 1000}
    early = format_us(parse_us(head.stored) + 5_000_000)
    key = forge(store, HELD, "step.takeover", body, now=early)
    found, _ = check(store)
    assert {damage.where.key for damage in found} == {key}
    assert "rule-broken" in {damage.code for damage in found}


HOUR_US = 3_600_000_000


def test_a_takeover_whose_stamp_is_not_the_stores_is_named(tmp_path: Path):
    store = filled_store(tmp_path / "files")
    head = head_of(store, HELD)
    body = {"fence": head.state["fence"], "from": "alice", "lease_ms": 1000}
    late = format_us(parse_us(head.stored) + HOUR_US)
    key = forge(store, HELD, "step.takeover", body, now=late, later_us=HOUR_US)
    assert open_log(store, "bob").steps.show("build").agent == "mallory"  # the fold has to believe
    found = check(store)[0]
    assert ("rule-broken", key) in {(damage.code, damage.where.key) for damage in found}


def test_a_takeover_whose_stamp_is_far_after_its_own_time_is_ignored_and_named(tmp_path: Path):
    store = filled_store(tmp_path / "files")
    head = head_of(store, HELD)
    body = {"fence": head.state["fence"], "from": "alice", "lease_ms": 1000}
    late = format_us(parse_us(head.stored) + HOUR_US)
    key = forge(store, HELD, "step.takeover", body, now=late)
    assert open_log(store, "bob").steps.show("build").agent == head.state["agent"]
    found = check(store)[0]
    assert ("rule-broken", key) in {(damage.code, damage.where.key) for damage in found}


FORGERIES: list[tuple[str, str, dict[str, Any], dict[str, Any], str]] = [
    ("step/build", "step.renew", {"lease_ms": 500}, {}, "rule-broken"),
    ("step/build", "step.complete", {"outcome": "complete"}, {}, "rule-broken"),
    ("step/build", "step.complete", {"outcome": "claimed", "force": True}, {}, "body-invalid"),
    ("step/build", "step.release", {}, {}, "rule-broken"),
    ("step/build", "step.reopen", {}, {}, "rule-broken"),
    ("step/design", "step.complete", {"outcome": "failed"}, {}, "rule-broken"),
    ("step/design", "step.add", {"after": [], "priority": 0}, {}, "rule-broken"),
    ("step/design", "step.claim", {"lease_ms": 500}, {}, "rule-broken"),
    ("memory/json", "memory.incr", {"by": 1}, {}, "rule-broken"),
    ("memory/count", "memory.incr", {"by": 2**63 - 1}, {}, "rule-broken"),
    ("memory/count", "memory.set", {"type": "text", "value": "x"}, {"expect": {"version": 1}},
     "rule-broken"),
    ("memory/float", "step.claim", {"lease_ms": 500}, {}, "rule-broken"),
    ("memory/float", "memory.set", {"type": "text", "value": "x"},
     {"chains": [ChainId("memory/other")]}, "event-elsewhere"),
    ("memory/float", "memory.set", {"type": "text", "value": "x"}, {"prev": "0" * 64},
     "prev-mismatch"),
    ("memory/float", "memory.set", {"type": "text", "blob": "0" * 64, "size": 3}, {},
     "blob-missing"),
    ("barrier/pair", "barrier.leave", {"generation": 7}, {}, "rule-broken"),
    ("barrier/pair", "barrier.leave", {"generation": 1}, {}, "rule-broken"),
    ("step/build", "step.renew", {"lease_ms": 10**15}, {}, "body-invalid"),
    ("step/design", "step.note", {"note": "text"}, {}, "body-invalid"),
    ("step/design", "step.add", {"after": ["a,b"], "priority": 0}, {}, "body-invalid"),
    ("step/design", "step.add", {"after": [], "priority": "high"}, {}, "body-invalid"),
    ("memory/float", "memory.set", {"type": "text", "blob": "../../fifo", "size": 3}, {},
     "body-invalid"),
    ("memory/float", "memory.set", {"type": "json", "text": "[1"}, {}, "body-invalid"),
    ("memory/count", "memory.incr", {"by": "1"}, {}, "body-invalid"),
    ("inbox/@all", "message.send", {"to": ["@all"]}, {}, "body-invalid"),
    ("read/bob", "message.ack", {"ranges": [[3, 1]], "version": 1}, {}, "body-invalid"),
    ("barrier/pair", "barrier.arrive", {"parties": 0}, {}, "body-invalid"),
]  # fmt: skip


@pytest.mark.parametrize(("chain", "op", "body", "more", "code"), FORGERIES)
def test_forgeries_are_named(
    tmp_path: Path, chain: str, op: str, body: dict[str, Any], more: dict[str, Any], code: str
):
    store = filled_store(tmp_path / "files")
    key = forge(store, ChainId(chain), op, body, **more)
    (damage,) = check(store)[0]
    assert damage.code == code
    assert damage.where.agent == "mallory"
    if code != "blob-missing":
        assert damage.where.key == key


@pytest.mark.parametrize(
    ("chain", "op", "body"),
    [
        ("step/build", "step.note", {"note": {"type": "text", "value": "mine"}}),
        ("step/design", "step.reopen", {}),
        ("step/build", "step.complete", {"outcome": "complete", "force": True}),
        ("memory/same", "memory.set", {"type": "text", "value": "again"}),
        ("memory/same", "memory.future", {"whatever": 1}),
        ("memory/same", "memory.delete", {}),
        ("inbox/bob", "message.send", {"text": {"type": "text", "value": "x"}, "to": ["bob"]}),
    ],
)
def test_what_a_foreign_client_may_write_is_no_damage(
    tmp_path: Path, chain: str, op: str, body: dict[str, Any]
):
    store = filled_store(tmp_path / "files")
    forge(store, ChainId(chain), op, body)
    found, checked = check(store)
    assert found == []
    assert checked.unknown == (op == "memory.future")


@pytest.mark.parametrize(
    "merge",
    [
        {"after": 0, "through": 2, "count": 2, "taken": 2},
        {"after": 3, "through": 4, "count": 9, "taken": 6},
        {"after": 3, "through": 40, "count": 4, "taken": 1},
        {"after": 3, "through": 4, "count": 4, "taken": 3},
        {"after": "x", "through": 4, "count": 4, "taken": 1},
        {},
    ],
)
def test_a_merge_that_does_not_fit_the_broadcasts_is_named(tmp_path: Path, merge: dict[str, Any]):
    store = filled_store(tmp_path / "files")
    open_log(store, "bob").send("@all", "one more")
    assert head_of(store, ChainId("inbox/alice")).state["all_version"] == 3
    body = {"text": {"type": "text", "value": "x"}, "to": ["alice"]}
    state = {"count": 99}
    key = forge(
        store, ChainId("inbox/alice"), "message.send", body,
        merge={"chain": ALL, **merge}, state=state,
    )  # fmt: skip
    found, _ = check(store)
    keys = {damage.where.key for damage in found}
    assert key in keys
    assert keys <= {key, slot_key(ALL, 40)}
    assert {damage.code for damage in found} & {"merge-wrong", "version-missing", "version-damaged"}


def test_an_event_that_stands_twice_in_a_chain_is_named(tmp_path: Path):
    store = filled_store(tmp_path / "files")
    chain = ChainId("memory/count")
    head = head_of(store, chain)
    us, _ = parse_hlc(head.at)
    again = decode_version(
        store.get(slot_key(chain, 1)).data, chain=chain, seq=1, stored=None
    ).events
    sealed = seal_version(
        chain=chain, seq=head.seq + 1, prev=head.id, prev_stored=head.stored, at=hlc(us + 1, 0),
        by="mallory", events=again, state={"content": {"type": "json", "value": 11}},
    )  # fmt: skip
    store.put(slot_key(chain, head.seq + 1), sealed.raw)
    found, _ = check(store)
    assert {damage.code for damage in found} == {"event-twice"}


def test_foreign_objects_are_named(store: Store, tmp_path: Path):
    fill(store, tmp_path / "files")
    strays = [
        "chains/step/design/notes.txt",
        "chains/step/design/00000000001.json",
        "chains/readme",
        "events/2026-11-23T16/x.json",
        f"blobs/00/{'f' * 64}",
        "blobs/zz",
        "once/alice/x.json",
    ]
    for key in strays:
        store.put(key, b"whatever")
    found, _ = check(store)
    # By its name the last one is ours.
    assert {damage.where.key for damage in found} == {strays.pop()}
    assert {("stray-object", key) for key in strays} <= noted(store)


@pytest.mark.parametrize(
    ("key", "after", "codes"),
    [
        ("k", 0, []),
        ("k", 1, []),
        ("k", 2, ["key-hides-event"]),
        ("k", 3, ["key-hides-event"]),
        ("k", 99, ["key-hides-event"]),
        ("other", 3, []),
        # As in a copy that was stopped before the chains were whole.
        ("other", 4, []),
        ("ID.9", 1, []),
        ("ID.9", 2, ["key-hides-event"]),
    ],
)
def test_a_keys_object_is_compared_with_its_event(
    tmp_path: Path, key: str, after: int, codes: list[str]
):
    store = filled_store(tmp_path / "files")
    alice, bob = open_log(store, "alice"), open_log(store, "bob")
    bob.memory.incr("keyed", id="k")
    alice.memory.incr("keyed", id="k")
    bob.memory.incr("keyed")
    chain = ChainId("memory/keyed")
    (mine,) = _version_at(store, chain, 2).events
    key = key.replace("ID", mine.id[:16])
    name = once_key("alice", key, chain)
    fields = {"agent": "alice", "chain": chain, "command": "0" * 64, "format": 1, "key": key}
    store.put(name, encode({**fields, "after": after}))
    found, _ = check(store)
    assert [damage.code for damage in found] == codes
    assert all(name in damage.message for damage in found)


@pytest.mark.parametrize(
    ("chain", "after", "codes"),
    [
        ("memory/p", 0, []),
        ("memory/p", 1, ["key-hides-event"]),
        # There the key would be another one.
        ("memory/q", 1, []),
    ],
)
def test_a_transactions_key_is_compared_too(
    tmp_path: Path, chain: ChainId, after: int, codes: list[str]
):
    store = filled_store(tmp_path / "files")
    alice = open_log(store, "alice")
    both = alice.transaction()
    both.memory_incr("p")
    both.memory_incr("q")
    alice.transact(both, id="k")
    name = once_key("alice", "k", chain)
    fields = {"agent": "alice", "chain": chain, "command": "0" * 64, "format": 1, "key": "k"}
    store.put(name, encode({**fields, "after": after}))
    assert [damage.code for damage in check(store)[0]] == codes


def _version_at(store: Store, chain: ChainId, seq: int) -> Version:
    found = store.get(slot_key(chain, seq))
    return decode_version(found.data, chain=chain, seq=seq, stored=found.stored)


def test_a_slot_far_away_is_one_gap(tmp_path: Path):
    store = filled_store(tmp_path / "files")
    chain = ChainId("memory/count")
    raw = store.get(slot_key(chain, 1)).data
    store.put(slot_key(chain, 9_999_999_998), raw)
    found, _ = check(store)
    assert len(found) == 2


def test_a_file_that_the_disk_does_not_give_back_is_one_damage(tmp_path: Path):
    class Failing(FileStore):
        def get(self, key: str) -> Found | None:
            if key == bad:
                raise Damaged("cannot read it: Input/output error")
            return super().get(key)

    store = Failing(tmp_path / "store", fsync=False)
    bad = ""
    fill(store, tmp_path / "files")
    for chain in ("memory/count", "step/design"):
        bad = slot_key(ChainId(chain), 1)
        (damage,) = check(store)[0]
        assert damage.where.key == bad
        assert "Input/output error" in damage.message


def test_a_version_that_only_claims_a_later_format_is_damaged(tmp_path: Path):
    """One whose sum holds may be of a later release, which this one cannot judge."""
    store = filled_store(tmp_path / "files")
    key = forge(store, ChainId("memory/same"), "memory.set", {"type": "text", "value": "x"})
    raw = store.get(key).data
    store.delete(key)
    later = raw.replace(b'"format":1,"prev"', b'"format":2,"prev"')
    assert later != raw
    store.create(key, later)
    found, checked = check(store)
    assert [(one.code, one.where.key) for one in found] == [("version-damaged", key)]
    assert checked.unknown == 0


# -- the command ----------------------------------------------------------------------------------


def test_the_command_says_what_is_wrong_and_ends_with_8(project: Project):
    for command in (
        ["memory", "set", "k", "one"],
        ["memory", "set", "k", "two\x1b[31m"],
        ["send", "bob", "hi"],
    ):
        project.run(*command, agent="alice").ok()
    sound = project.run("fsck", "--json").one()
    assert sound["type"] == "fsck"
    assert (sound["versions"], sound["events"], sound["damaged"]) == (3, 3, 0)
    assert "nothing damaged" in project.run("fsck").ok().out

    raw = project.objects.read("chains/memory/k/9999999998.json")
    project.objects.write("chains/memory/k/9999999998.json", raw.replace(b"one", b"two"))
    event = next(key for key in project.objects.keys("events/") if "inbox.bob" in key)
    project.objects.delete(event)
    done = project.run("fsck", "--json")
    assert done.code == 8
    assert done.error()["code"] == "store-damaged"
    first, second, summary = done.json()
    assert first | {"message": ""} == {
        "type": "damage", "object": "chains/memory/k/9999999998.json", "code": "version-damaged",
        "message": "", "chain": "memory/k", "version": 1, "agent": "alice",
    }  # fmt: skip
    assert (second["object"], second["code"], second["agent"]) == (event, "event-missing", "alice")
    assert (summary["type"], summary["damaged"]) == ("fsck", 2)

    plain = project.run("fsck")
    assert plain.code == 8
    assert "chains/memory/k/9999999998.json" in plain.out
    assert event in plain.out
    assert "\x1b" not in plain.out
    assert len(plain.out.splitlines()) == 3


def test_a_damaged_mark_does_not_end_the_check(project: Project):
    project.run("memory", "set", "k", "v", agent="alice").ok()
    mark = project.objects.read("tclog.json")
    for bad in (b"", b"{}", mark[:-5], mark.replace(b'"format":1', b'"format":2'), b"[1]"):
        project.objects.write("tclog.json", bad)
        done = project.run("fsck", "--json")
        assert done.code == 8, done
        assert done.json()[0]["object"] == "tclog.json"
        assert done.json()[-1]["versions"] == 1
    project.objects.delete("tclog.json")
    assert project.run("fsck", "--json").json()[0]["code"] == "mark-missing"


def test_an_empty_place_is_no_damaged_project(tmp_path: Path, project: Project):
    project.objects.delete("tclog.json")
    done = project.run("fsck", "--json")
    assert done.code == 3
    assert done.error()["code"] == "project-missing"


def test_the_records_of_these_tests_are_what_they_seem(tmp_path: Path):
    store = filled_store(tmp_path / "files")
    chains = {chain_of_slot(key) for key in objects(store) if key.startswith("chains/")}
    assert None in chains  # a name that was cut is among them
    ops = {
        event["op"]
        for key, raw in objects(store).items()
        if key.startswith("events/")
        for event in [decode(raw, key)]
    }
    assert len(ops) >= 16


# -- announcements --------------------------------------------------------------------------------


def announced(store: Store) -> tuple[str, bytes]:
    """Leave an announcement behind, as a sender that died does; return its key and event."""
    open_log(store, "alice").send("bob", "hello")
    event = head_of(store, ChainId("inbox/bob")).events[0]
    key = pending_key(ChainId("inbox/bob"), event.at, 0, event.id)
    store.put(key, b"")
    return key, encode(event.record)


@pytest.mark.parametrize("whole", [False, True], ids=["by its name", "with its event"])
def test_an_announcement_that_is_left_over_is_counted_and_no_damage(tmp_path: Path, whole: bool):
    store = MemoryStore()
    fill(store, tmp_path / "files")
    key, raw = announced(store)
    store.put(key, raw if whole else b"")
    found, checked = check(store)
    assert not found
    assert checked.pending == 1


@pytest.mark.parametrize(
    "raw", [b"{}", b"\xff", b'{"event":{}}', b"another event", b"another's"], ids=str
)
def test_an_announcement_that_makes_no_sense_is_damage(tmp_path: Path, raw: bytes):
    store = MemoryStore()
    fill(store, tmp_path / "files")
    key, event = announced(store)
    if raw == b"another event":
        raw = event.replace(b"hello", b"hullo")
    if raw == b"another's":
        raw = encode(head_of(store, ChainId("inbox/bob")).events[0].record | {"agent": "mallory"})
    store.put(key, raw)
    found, checked = check(store)
    assert [(damage.code, damage.where.key) for damage in found] == [("pending-damaged", key)]
    assert checked.pending == 1


def test_an_announcement_whose_name_makes_no_sense_is_noted(tmp_path: Path):
    store = MemoryStore()
    fill(store, tmp_path / "files")
    key, _ = announced(store)
    store.delete(key)
    strange = key.replace("-0-", "-one-")
    store.put(strange, b"")
    assert check(store)[0] == []
    assert noted(store) == {("stray-object", strange)}


def test_an_announcement_under_another_name_is_damage(tmp_path: Path):
    store = MemoryStore()
    fill(store, tmp_path / "files")
    key, event = announced(store)
    store.delete(key)
    other = key.replace("pending/inbox/bob/", "pending/inbox/carol/")
    store.put(other, event)
    found, _ = check(store)
    assert [damage.where.key for damage in found] == [other]


# -- what is looked at beside the link ------------------------------------------------------------


def remade(store: Store, chain: ChainId, seq: int, **fields: Any) -> str:
    """Change the newest version of a chain, its sum mended; return its key."""
    key = slot_key(chain, seq)
    record = {k: v for k, v in decode(store.get(key).data, key).items() if k != "sum"} | fields
    store.put(key, encode(record | {"sum": digest(encode(record))}))
    return key


def test_a_first_version_is_recomputed_like_any_other(tmp_path: Path):
    store = filled_store(tmp_path / "files")
    open_log(store, "alice").memory.set("young", "one")
    key = remade(store, ChainId("memory/young"), 1, state={})
    (damage,) = check(store)[0]
    assert (damage.code, damage.where.key) == ("state-mismatch", key)


@pytest.mark.parametrize("later_us", [0, -1, 1])
def test_a_version_that_is_no_later_than_the_one_before_is_named(tmp_path: Path, later_us: int):
    store = filled_store(tmp_path / "files")
    chain = ChainId("memory/young")
    for value in ("one", "two"):
        open_log(store, "alice").memory.set("young", value)
    first = decode(store.get(slot_key(chain, 1)).data, "version 1")
    us, counter = parse_hlc(first["at"])
    key = remade(store, chain, 2, at=hlc(us + later_us, counter))
    found, _ = check(store)
    expected = [] if later_us > 0 else [("stamp-order", key)]
    assert [(damage.code, damage.where.key) for damage in found] == expected


def test_a_fill_of_no_transaction_is_named_with_its_place(tmp_path: Path):
    store = filled_store(tmp_path / "files")
    chain = ChainId("memory/young")
    open_log(store, "alice").memory.set("young", "one")
    head = head_of(store, chain)
    us, _ = parse_hlc(head.at)
    sealed = seal_version(
        chain=chain, seq=2, prev=head.id, prev_stored=head.stored, at=hlc(us + 1, 0),
        by="mallory", events=(), state={"content": {"type": "text", "value": "one"}},
        fills={"chain": "memory/json", "seq": 1},
    )  # fmt: skip
    store.put(slot_key(chain, 2), sealed.raw)
    (damage,) = check(store)[0]
    assert damage.code == "fill-wrong"
    assert damage.where == Writer(slot_key(chain, 2), chain, 2, "mallory")


def test_a_copy_with_other_stamps_is_judged_by_what_it_says_itself(tmp_path: Path):
    """Takeovers rest on stamps of the store that they were made in."""
    store, copy = filled_store(tmp_path / "files"), MemoryStore()
    taken = [
        key
        for key, raw in objects(store).items()
        if key.startswith("chains/step") and b"step.takeover" in raw
    ]
    assert taken
    # As every copy does, it writes the project's mark last.
    for key, raw in sorted(objects(store).items(), key=lambda item: item[0] == "tclog.json"):
        copy.put(key, raw)
    assert check(copy)[0] == []


class Behind(Around):
    """A store whose listing of slots lacks some that are there: it was made while they came."""

    def __init__(self, store: Store, hidden: set[str]) -> None:
        super().__init__(store)
        self.hidden = hidden

    def list(self, prefix: str, after: str, limit: int, folders: bool) -> list[Entry]:
        rows = super().list(prefix, after, limit, folders)
        return [row for row in rows if row.key not in self.hidden]


@pytest.mark.parametrize("seqs", [[1], [3], [2, 3], [1, 2, 3, 4]])
def test_a_slot_that_came_while_they_were_listed_is_not_missing(tmp_path: Path, seqs: list[int]):
    store, chain = filled_store(tmp_path / "files"), ChainId("step/design")
    hidden = {slot_key(chain, seq) for seq in seqs}
    assert check(Behind(store, hidden))[0] == []
    # One of them really is: then that is told.
    store.delete(slot_key(chain, seqs[0]))
    (damage,) = check(Behind(store, hidden))[0]
    assert damage.code == "version-missing"


NOTE = {"note": {"type": "text", "value": "x"}}


def test_a_stamp_that_the_store_did_not_give_is_named(tmp_path: Path):
    """A note that says that it found the claim an hour older than it is."""
    store = MemoryStore()
    fill(store, tmp_path / "files")
    assert noted(store) == set()
    head = head_of(store, HELD)
    early = format_us(parse_us(head.stored) - 3600 * 1_000_000)
    key = forge(
        store, HELD, "step.note", {"note": {"type": "text", "value": "x"}}, prev_stored=early
    )
    assert ("stamp-wrong", key) in {(one.code, one.where.key) for one in check(store)[0]}
    late = format_us(parse_us(head.stored) + 3600 * 1_000_000)
    store.delete(key)
    key = forge(
        store, HELD, "step.note", {"note": {"type": "text", "value": "x"}}, prev_stored=late
    )
    assert ("stamp-wrong", key) in {(one.code, one.where.key) for one in check(store)[0]}


def test_a_copy_is_told_once_and_its_stamps_are_no_damage(tmp_path: Path):
    store, copy = filled_store(tmp_path / "files"), MemoryStore()
    for key, raw in sorted(objects(store).items()):
        copy.put(key, raw)
    assert check(copy)[0] == []
    assert len([code for code, _ in noted(copy) if code == "stamps-copied"]) == 1
