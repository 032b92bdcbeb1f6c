"""What ends junk is looked at again, ends no more than it may, and says what is lost."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from tclog.chain.combine import _Seen, _take_in
from tclog.chain.drive import Protocol, run
from tclog.chain.fold import verify
from tclog.chain.judge import judge
from tclog.chain.read import read_next, read_range, read_version
from tclog.chain.slots import decode_slot
from tclog.clock import stamp
from tclog.errors import (
    BadName,
    Damaged,
    NotFound,
    OutcomeUnknown,
    StoreUnreachable,
    TclogError,
    UsageError,
)
from tclog.event import ALL, VOIDS_MAX, ChainId, Version, chain_id, slot_key
from tclog.event.names import SEQ_MAX
from tclog.index import Index
from tclog.log.inbox import read_inbox, send_message
from tclog.log.memory import get_value, set_value
from tclog.log.project import create_project
from tclog.log.transactions import Transaction
from tclog.maintenance.fsck.check import fsck
from tclog.maintenance.fsck.findings import Damage
from tclog.maintenance.pack import pack
from tclog.maintenance.void import REASON_BYTES_MAX, Voided, check_chain, void
from tclog.store.base import Create, Created, Found, Get, Outcome
from tclog.sync.sync import sync

from .world import World


class KilledError(BaseException):
    """The process is gone."""


A, B, C = (chain_id("memory", name) for name in "abc")


@pytest.fixture
def world() -> World:
    return World()


def write(world: World, *keys: str, agent: str = "alice") -> None:
    for key in keys:
        world.run(set_value(world[agent], key, f"of {agent}"))


def spoil(world: World, chain: ChainId, *seqs: int, raw: bytes = b"junk") -> None:
    for seq in seqs:
        world.store.put(slot_key(chain, seq), raw)


def end(world: World, chain: ChainId, seq: int, index: Index | None = None) -> Voided:
    """End junk as a machine does that remembers nothing."""
    return world.run(void(world.client("carol"), index, chain, seq, "a test"))


def told(world: World, protocol: Protocol[Any]) -> TclogError:
    with pytest.raises(TclogError) as error:
        world.run(protocol)
    return error.value


def slots(world: World, chain: ChainId) -> int:
    return len(world.store.list(f"chains/{chain}", "", 99, False))


def dies(world: World, *keys: str) -> Version:
    """Create the first slot of a transaction and no more; return its version."""
    transaction = Transaction(world.client("dora"))
    for key in keys:
        transaction.memory_set(key, "of dora")
    second = slot_key(chain_id("memory", keys[1]), 2)

    def kill(step: Any) -> None:
        if type(step) is Create and step.key == second:
            raise KilledError

    world.before = kill
    with pytest.raises(KilledError):
        world.run(transaction.protocol(None))
    world.before = lambda _: None
    chain = chain_id("memory", keys[0])
    found = world.store.get(slot_key(chain, 2))
    assert found is not None
    return decode_slot(world.client("reader"), chain, 2, found)


# -- what is ended ---------------------------------------------------------------------------------


@pytest.mark.parametrize("seq", [2, 5, 1 + VOIDS_MAX])
def test_a_version_ends_as_many_slots_as_it_may_name(world: World, seq: int) -> None:
    write(world, "a")
    spoil(world, A, *range(2, 2 + VOIDS_MAX))
    done = end(world, A, seq)
    assert [one["seq"] for one in done.version.voids] == [*range(1 + VOIDS_MAX, 1, -1)]
    for one in range(2, 2 + VOIDS_MAX):
        error = told(world, read_version(world.client("bob"), A, one))
        assert isinstance(error, NotFound), error
        assert error.details["before"] == 1
        assert error.hint == f"tclog show {done.version.id[:16]}"
        assert end(world, A, one).already
    assert world.run(get_value(world.client("bob"), "a")).version == 1


@pytest.mark.parametrize("seq", [2, 5, 2 + VOIDS_MAX])
def test_more_slots_than_a_version_may_name_are_not_ended(world: World, seq: int) -> None:
    write(world, "a")
    spoil(world, A, *range(2, 3 + VOIDS_MAX))
    error = told(world, void(world.client("carol"), None, A, seq, "x"))
    assert (error.exit, error.code) == (4, "too-much-junk")
    assert slots(world, A) == 2 + VOIDS_MAX


def test_nothing_is_ended_above_a_slot_that_is_missing(world: World) -> None:
    write(world, "a")
    spoil(world, A, 3)
    with pytest.raises(Damaged, match="version 2 of memory/a is missing"):
        end(world, A, 3)
    assert slots(world, A) == 2


def test_junk_that_has_changed_since_it_was_ended_is_damage(world: World) -> None:
    """Else a slot would be told as ended, and more be ended above it, that no reader passes."""
    write(world, "a")
    spoil(world, A, 2)
    end(world, A, 2)
    spoil(world, A, 2, raw=b"other junk")
    with pytest.raises(Damaged, match="has changed since version 3"):
        end(world, A, 2)
    spoil(world, A, 4)
    with pytest.raises(Damaged, match="has changed since version 3"):
        end(world, A, 4)
    assert slots(world, A) == 4


def test_a_transaction_below_the_junk_is_ended_first(world: World) -> None:
    write(world, "a", "b")
    dies(world, "a", "b")
    spoil(world, A, 3)
    end(world, A, 3)
    assert (slots(world, A), slots(world, B)) == (4, 2)
    write(world, "a", agent="bob")
    for reader in (world["bob"], world.client("emil")):
        assert world.run(get_value(reader, "a")).value == "of bob"
        assert world.run(get_value(reader, "b")).value == "of alice"


def test_an_end_whose_create_is_unknown_can_be_repeated(world: World) -> None:
    write(world, "a")
    spoil(world, A, 2)
    one, slot = world._one, slot_key(A, 3)

    def answer(step: Any) -> Any:
        if type(step) is Create:
            one(step)
            return Created(Outcome.UNKNOWN, cause="gone")
        if type(step) is Get and step.key == slot and world.store.get(slot):
            world.clock.pass_s(60)
            return StoreUnreachable("gone")
        return one(step)

    world._one = answer  # type: ignore[method-assign]
    with pytest.raises(OutcomeUnknown) as unknown:
        end(world, A, 2)
    world._one = one  # type: ignore[method-assign]
    assert unknown.value.hint == "run the same command again"
    assert end(world, A, 2).already


@pytest.mark.parametrize(
    ("reason", "seq", "code"),
    [
        ("", 2, "bad-value"),
        ("é" * (REASON_BYTES_MAX // 2) + "x", 2, "bad-value"),
        ("x", 0, "bad-version"),
        ("x", -1, "bad-version"),
        ("x", SEQ_MAX, "bad-version"),
        ("é" * (REASON_BYTES_MAX // 2), 9, "version-missing"),
        ("x", SEQ_MAX - 1, "version-missing"),
    ],
)
def test_what_void_is_given_has_bounds(world: World, reason: str, seq: int, code: str) -> None:
    write(world, "a")
    spoil(world, A, 2)
    error = told(world, void(world.client("carol"), None, A, seq, reason))
    assert error.code == code
    assert isinstance(error, UsageError if code.startswith("bad") else NotFound)
    assert slots(world, A) == 2


def test_a_chain_is_named_by_its_kind_and_a_sound_name() -> None:
    for word in ("memory/a", "step/build", "inbox/bob", "inbox/@all", "read/bob", "pack/log"):
        assert check_chain(word) == word
    for word in ("a", "memory", "memory/", "nothing/a", "inbox/@bob", "inbox/a,b", "step/a b\n"):
        with pytest.raises(BadName):
            check_chain(word)


def test_what_this_process_remembers_is_not_ended(world: World) -> None:
    """Nor what is below it; a bucket is not asked for what is remembered."""
    write(world, "a", "a")
    alice = world["alice"]
    spoil(world, A, 2, 3)
    for seq in (2, 3):
        error = told(world, void(alice, None, A, seq, "x"))
        assert error.code == "version-known"
        assert "version 2 of memory/a is remembered in this machine's cache" in error.message
    assert end(world, A, 3).version.voids[-1]["seq"] == 2


def test_what_a_pack_holds_is_not_ended(world: World, tmp_path: Path) -> None:
    write(world, "a", "a")
    world.clock.pass_s(24 * 3600)
    write(world, "b")
    done = world.run(pack(world.client("packer"), Index(tmp_path / "packer")))
    assert done.packs == 1
    spoil(world, A, 2, 3)
    index = Index(tmp_path / "carol")
    for seq in (2, 3):
        error = told(world, void(world.client("carol"), index, A, seq, "x"))
        assert error.code == "version-known"
        assert "the pack" in error.message
        assert "holds version 2 of memory/a" in error.message
    # What came later is in no pack.
    spoil(world, B, 2)
    assert end(world, B, 2, index).version.seq == 3
    index.close()


def test_what_the_index_holds_is_not_ended(world: World, tmp_path: Path) -> None:
    """Another process of this machine has seen the version; this one's heads are gone."""
    write(world, "a", "a")
    index = Index(tmp_path)
    world.run(sync(world.client("bob"), index))
    spoil(world, A, 2, 3)
    for seq in (2, 3):
        error = told(world, void(world.client("carol"), index, A, seq, "x"))
        assert (error.code, "in this machine's index" in error.message) == ("version-known", True)
    spoil(world, B, 1)
    assert end(world, B, 1, index).version.seq == 2
    index.close()


@pytest.mark.parametrize(("first", "lost"), [(2, 3), (3, 2), (4, 1)])
def test_numbers_of_broadcasts_that_are_junk_by_now_are_not_given_again(
    world: World, tmp_path: Path, first: int, lost: int
) -> None:
    """Carol's inbox has taken in three of the broadcasts, bob's all four."""
    for nth in range(1, 5):
        world.run(send_message(world["alice"], "@all", f"all {nth}"))
        if nth > 2:
            world.run(send_message(world["alice"], "carol" if nth == 3 else "bob", "direct"))
    index = Index(tmp_path)
    spoil(world, ALL, *range(first, 5))
    world.run(sync(world.client("eve"), index))
    done = end(world, ALL, 4, index)
    assert done.version.events[0].body == {"reason": "a test", "lost": lost}
    world.run(send_message(world.client("alice"), "@all", "new"))
    left = [*range(1, first)]
    for name, numbers in (("bob", [*left, 5, 6]), ("fred", [*left, 5])):
        box = world.run(read_inbox(world.client(name), everything=True))
        assert [message.n for message in box.messages] == numbers, name
        assert box.messages[-1].text == "new"
    index.close()


# -- transactions with a slot of junk --------------------------------------------------------------


@pytest.mark.parametrize("other", ["junk", "empty"])
def test_a_lost_slot_tells_more_than_one_that_is_junk_or_empty(world: World, other: str) -> None:
    write(world, "a", "b", "c")
    first = dies(world, "a", "b", "c")
    for lost, left in ((B, C), (C, B)):
        again = World()
        again.store._objects.update(world.store._objects)
        write(again, lost[-1], agent="bob")
        if other == "junk":
            spoil(again, left, 2)
        (judged,) = again.run(judge(again.client("emil"), [first]))
        assert judged is not None
        assert judged.aborted
        assert again.run(get_value(again.client("emil"), "a")).value == "of alice"


def test_the_end_of_junk_ends_the_transaction_that_wanted_its_slot(world: World) -> None:
    write(world, "a", "b")
    first = dies(world, "a", "b")
    spoil(world, B, 2)
    error = told(world, judge(world.client("emil"), [first]))
    assert isinstance(error, Damaged)
    assert (error.details["chain"], error.details["version"]) == (B, 2)
    end(world, B, 2)
    (judged,) = world.run(judge(world.client("emil"), [first]))
    assert judged is not None
    assert judged.aborted
    assert world.run(get_value(world.client("emil"), "a")).value == "of alice"


@pytest.mark.parametrize(("aborted", "follows"), [(True, "a"), (False, "a"), (False, "c")])
@pytest.mark.parametrize("ended", [False, True])
def test_who_went_on_after_a_transaction_knew_what_became_of_it(
    world: World, aborted: bool, follows: str, ended: bool
) -> None:
    """One of its slots became junk since; the version after another one tells."""
    write(world, "a", "b", "c")
    if aborted:
        first = dies(world, "a", "b", "c")
        world.clock.pass_s(60)
    else:
        both = Transaction(world["dora"])
        for key in "abc":
            both.memory_set(key, "of dora")
        world.run(both.protocol(None))
        found = world.store.get(slot_key(A, 2))
        assert found is not None
        first = decode_slot(world.client("reader"), A, 2, found)
    world.run(set_value(world.client("bob"), follows, "of bob"))
    spoil(world, B, 2)
    if ended:
        end(world, B, 2)
    (judged,) = world.run(judge(world.client("emil"), [first]))
    assert judged is not None
    assert judged.aborted == aborted
    shown = get_value(world.client("emil"), "a", version=2)
    if aborted:
        assert isinstance(told(world, shown), NotFound)
    else:
        assert world.run(shown).value == "of dora"


def test_who_went_on_in_a_chain_that_was_only_read_tells_nothing(world: World) -> None:
    """Its version in that chain changes nothing, whatever became of the transaction."""
    write(world, "a", "b", "c")
    both = Transaction(world["dora"])
    both.memory_set("a", "of dora")
    both.memory_set("b", "of dora")
    both.memory_get("c")
    world.run(both.protocol(None))
    first = world.run(read_version(world.client("reader"), A, 2))
    first = decode_slot(world.client("reader"), A, 2, Found(first.raw, stamp(0)))
    write(world, "c", agent="bob")
    spoil(world, B, 2)
    assert isinstance(told(world, judge(world.client("emil"), [first])), Damaged)


# -- what stands above junk ------------------------------------------------------------------------


def test_a_slot_that_others_went_on_from_is_not_ended_by_what_comes_later(world: World) -> None:
    """Version 2 was sound when version 3 was made; that version 5 ends slot 4 is another matter."""
    write(world, "a", "a", "a")
    spoil(world, A, 4)
    end(world, A, 4)
    spoil(world, A, 2)
    error = told(world, read_version(world.client("bob"), A, 2))
    assert isinstance(error, Damaged)
    assert (error.hint, error.details["version"]) == ("tclog fsck", 2)
    # Slot 3 follows slot 2 itself, and ends nothing.
    error = told(world, void(world.client("carol"), None, A, 2, "x"))
    assert error.code == "version-followed"


def test_of_several_slots_with_junk_the_first_is_named(world: World) -> None:
    write(world, "a", "a", "a", "a")
    spoil(world, A, 2, 3)
    error = told(world, read_range(world.client("bob"), A, 1, 4))
    assert isinstance(error, Damaged)
    assert (error.hint, error.details["version"]) == ("tclog fsck", 2)


@pytest.mark.parametrize("raw", [b"other junk", None])
def test_who_meets_a_slot_looks_whether_its_end_is_about_these_bytes(
    world: World, raw: bytes | None
) -> None:
    write(world, "a", "a")
    sound = world.store.get(slot_key(A, 2))
    assert sound is not None
    spoil(world, A, 2, 3)
    end(world, A, 2)
    spoil(world, A, 2, raw=raw or sound.data)
    why = "has changed since version 4" if raw else "version 2 is sound"
    for seq in (3, 4):
        error = told(world, read_version(world.client("bob"), A, seq))
        assert isinstance(error, Damaged), error
        assert why in error.message
    with pytest.raises(Damaged, match=why):
        world.run(get_value(world.client("emil"), "a"))


def test_no_version_that_was_read_is_ended_by_the_next(world: World) -> None:
    write(world, "a", "a")
    emil = world.client("emil")
    sound = world.run(read_version(emil, A, 2))
    spoil(world, A, 2)
    end(world, A, 2)
    with pytest.raises(Damaged, match="ends version 2 as junk, but version 2 is sound"):
        verify(A, sound, world.run(read_version(world.client("dan"), A, 3)))


@pytest.mark.parametrize("slot", ["junk", "other junk", "sound"])
def test_fsck_compares_what_was_ended_with_its_end(world: World, slot: str) -> None:
    run(create_project("demo", "0" * 32, world.clock.us), world.store)
    write(world, "a", "a")
    sound = world.store.get(slot_key(A, 2))
    assert sound is not None
    spoil(world, A, 2, 3)
    end(world, A, 2)
    spoil(world, A, 2, raw=sound.data if slot == "sound" else slot.encode())
    found: list[Damage] = []
    run(fsck("demo", found.append), world.store)
    shown = {one.where.version: (one.code, one.harmless) for one in found if one.where.chain == A}
    ended = ("slot-voided", True)
    assert shown == {3: ended, 2: ended if slot == "junk" else ("void-wrong", False)}


@pytest.mark.parametrize("junk", [VOIDS_MAX, VOIDS_MAX + 1])
def test_broadcasts_below_junk_are_taken_in_also_where_it_is_more_than_can_be_ended(
    world: World, junk: int
) -> None:
    for nth in range(2):
        world.run(send_message(world["alice"], "@all", f"all {nth}"))
    spoil(world, ALL, *range(3, 3 + junk))
    send = send_message(world.client("bob"), "carol", "direct")
    world.run(send)
    box = world.run(read_inbox(world.client("carol"), everything=True))
    assert [message.text for message in box.messages] == ["all 0", "all 1", "direct"]


@pytest.mark.parametrize("run", ["together", "alone"])
@pytest.mark.parametrize("begins", [0, 1, 2])
def test_who_reads_on_passes_over_slots_that_were_ended(
    world: World, begins: int, run: str
) -> None:
    """Version 5 ends slots 3 and 4; what was asked of these two beside it says nothing."""
    for nth in range(2):
        world.run(send_message(world["alice"], "carol", f"{nth}"))
    inbox = chain_id("inbox", "carol")
    spoil(world, inbox, 3, 4)
    end(world, inbox, 4)
    for nth in range(3):
        world.run(send_message(world["bob"], "carol", f"more {nth}"))
    emil = world.client("emil")
    known = world.run(read_version(emil, inbox, begins)) if begins else None
    seqs = [seq for seq in range(begins + 1, 9) if seq not in (3, 4)]
    if run == "alone":
        news, _ = world.run(read_next(emil, inbox, known))
        assert [version.seq for version in news] == seqs[: len(news)]
        assert news[-1].seq == begins + 5
        return
    race: Any = SimpleNamespace(client=emil, chain=inbox)
    mine: Any = SimpleNamespace(after=begins)
    seen = _Seen(emil, inbox, mine, known)
    replies = [world.store.get(slot_key(inbox, seq)) for seq in range(begins + 1, 9)]
    world.run(_take_in(race, seen, replies))
    assert [version.seq for version in seen.versions] == seqs
