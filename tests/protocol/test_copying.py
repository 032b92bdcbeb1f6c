"""Copying a log into a list: what is handed on, in which order, what is told and counted."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any

import pytest

from tclog.chain.drive import Protocol
from tclog.clock import stamp
from tclog.errors import Damaged, Refused
from tclog.event import ALL, MARK, VersionId, chain_folder, chain_id, digest, encode, slot_key
from tclog.log.inbox import send_message
from tclog.log.memory import set_value
from tclog.log.project import create_project
from tclog.maintenance.copies.copy import _Copy, _is_small, _Keys, copy_log
from tclog.maintenance.copies.job import Copied, Job
from tclog.maintenance.copies.slots import Range, SlotCopy, _is_part
from tclog.store.base import Entry, Found

from .world import World

A, B = (chain_id("memory", name) for name in "ab")


class Kept:
    """A sink that keeps what it is given, in order."""

    def __init__(self) -> None:
        self.keys: list[str] = []
        self.objects: dict[str, bytes] = {}
        self.junk: list[str] = []
        self.ended = False

    def _take(self, key: str, raw: bytes) -> None:
        self.keys.append(key)
        self.objects[key] = raw

    def begin(self, mark: bytes) -> Protocol[None]:
        self._take(MARK, mark)
        yield from ()

    def listing(self, folder: str) -> None:
        del folder

    def put(self, objects: Sequence[tuple[str, bytes]]) -> Protocol[None]:
        for key, raw in objects:
            self._take(key, raw)
        yield from ()

    def put_large(self, entry: Entry, pieces: Iterator[bytes]) -> Protocol[None]:
        self._take(entry.key, b"".join(pieces))
        yield from ()

    def slot_id(self, key: str) -> Protocol[VersionId | None]:
        yield from ()
        raw = self.objects.get(key)
        return None if raw is None else VersionId(digest(raw))

    def put_slot(self, key: str, raw: bytes, *, junk: bool = False) -> Protocol[None]:
        self._take(key, raw)
        self.junk += [key] if junk else []
        yield from ()

    def end(self, mark: bytes) -> Protocol[None]:
        assert mark == self.objects[MARK]
        self.ended = True
        yield from ()


class Told:
    """A sink, and what is told while it is filled."""

    def __init__(self) -> None:
        self.sink = Kept()
        self.damaged: dict[str, str] = {}
        self.noted: list[str] = []
        self.progress: Counter[str] = Counter()
        self.job = Job(self.sink, self.tell, self.note, "", self.count)

    def tell(self, key: str, why: str) -> None:
        self.damaged[key] = why

    def note(self, key: str, why: str) -> None:
        assert why
        self.noted.append(key)

    def count(self, what: str, count: int) -> None:
        self.progress[what] += count


@pytest.fixture
def world() -> World:
    world = World()
    world.run(create_project("demo", "0" * 32, world.clock.us))
    for nth in range(3):
        for key in "ab":
            world.run(set_value(world["alice"], key, f"{nth}"))
    world.run(set_value(world["alice"], "large", "x" * 20_000))
    return world


def copied(world: World) -> tuple[Copied, Told]:
    told = Told()
    done = world.run(copy_log(told.sink, told.tell, progress=told.count, note=told.note))
    assert told.sink.ended
    return done, told


def test_all_is_handed_on_once_and_what_is_named_before_what_names_it(world: World) -> None:
    done, told = copied(world)
    objects, keys = told.sink.objects, told.sink.keys
    assert objects == {key: found.data for key, found in world.store._objects.items()}
    assert len(keys) == len(objects)
    kinds = Counter(key.partition("/")[0] for key in keys)
    assert (done.blobs, done.events, done.versions) == (1, 7, 7)
    assert (kinds["blobs"], kinds["events"], kinds["chains"]) == (1, 7, 7)
    assert done.bytes == sum(len(raw) for key, raw in objects.items() if key != MARK)
    assert +told.progress == {"blobs": 1, "events": 7, "versions": 7}
    order = [key.partition("/")[0] for key in keys]
    assert order == sorted(order, key=["tclog.json", "blobs", "events", "chains"].index)
    slots = [key for key in keys if key.startswith(f"{chain_folder(A)}/")]
    assert slots == [slot_key(A, seq) for seq in (1, 2, 3)]


def test_junk_is_handed_on_and_counted_apart(world: World) -> None:
    for seq in (2, 3):
        world.store.put(slot_key(A, seq), b"junk")
    done, told = copied(world)
    assert (done.junk, done.versions, done.damaged) == (2, 5, 0)
    assert told.noted == told.sink.junk == [slot_key(A, 2), slot_key(A, 3)]


@pytest.mark.parametrize("how", ["missing", "another"])
def test_a_chain_ends_before_what_is_missing_or_does_not_follow(world: World, how: str) -> None:
    """Also where others rest on later slots of it: these would stand above a gap."""
    if how == "missing":
        world.store.delete(slot_key(A, 2))
    else:
        other = World()
        for nth in range(3):
            other.run(set_value(other["bob"], "a", f"other {nth}"))
        found = other.store.get(slot_key(A, 2))
        assert found is not None
        world.store.put(slot_key(A, 2), found.data)
    done, told = copied(world)
    assert list(told.damaged) == [slot_key(A, 2)]
    assert done.damaged == 1
    assert [key for key in told.sink.keys if key.startswith(chain_folder(A))] == [slot_key(A, 1)]
    told = Told()
    copy = SlotCopy(told.job)
    copy.listed = {chain_folder(A): 2, chain_folder(B): 1}
    copy._owed = {chain_folder(A): 3, chain_folder(B): 3}
    world.run(copy.copy([Range(chain_folder(A), 1, 2), Range(chain_folder(B), 1, 1)]))
    world.run(copy.copy_owed())
    assert list(told.damaged) == [slot_key(A, 2)]
    expected = {slot_key(A, 1), *(slot_key(B, seq) for seq in (1, 2, 3))}
    assert set(told.sink.objects) == expected


def test_a_copy_that_goes_on_from_another_version_is_refused(world: World) -> None:
    told = Told()
    told.sink.objects[slot_key(A, 1)] = b"another"
    copy = SlotCopy(told.job)
    with pytest.raises(Refused) as refused:
        world.run(copy.copy([Range(chain_folder(A), 2, 3)]))
    assert (refused.value.code, refused.value.details["object"]) == (
        "object-differs",
        slot_key(A, 1),
    )


@pytest.mark.parametrize("missing", [1, 2])
def test_the_broadcasts_that_an_inbox_has_taken_in_are_owed(world: World, missing: int) -> None:
    for nth in range(2):
        world.run(send_message(world["alice"], "@all", f"all {nth}"))
    world.run(send_message(world["alice"], "bob", "direct"))
    told, inbox = Told(), chain_folder(chain_id("inbox", "bob"))
    copy = SlotCopy(told.job)
    copy.listed = {inbox: 1, chain_folder(ALL): 2 - missing}
    world.run(copy.copy([Range(chain_folder(ALL), 1, 2 - missing)] if missing == 1 else []))
    world.run(copy.copy([Range(inbox, 1, 1)]))
    world.run(copy.copy_owed())
    assert sorted(told.sink.keys) == sorted(
        [slot_key(chain_id("inbox", "bob"), 1), slot_key(ALL, 1), slot_key(ALL, 2)]
    )


def gone(world: World, *keys: str) -> dict[str, str]:
    """Return what is told of objects that were listed and then missing."""
    told = Told()
    with _Keys() as seen:
        copy = _Copy(told.job, seen)
        copy._gone = list(keys)
        world.run(copy.tell_missing(0))
    return told.damaged


def test_an_event_that_vanishes_is_missing_where_nothing_was_packed(world: World) -> None:
    key = "events/2026-01-05T08/080000.000000-0000-memory.a-x.json"
    assert gone(world, key) == {key: "is missing"}
    # A pack that no version names was replaced.
    assert gone(world, f"packs/00/{'0' * 64}.jsonl.zst") == {}


@pytest.mark.parametrize(
    ("folder", "size", "small"),
    [
        ("blobs", 1 << 20, True),
        ("blobs", (1 << 20) + 1, False),
        ("events", (1 << 20) + 1, False),
        ("packs", (1 << 20) + 1, True),
        ("packs", 64 << 20, True),
        ("packs", (64 << 20) + 1, False),
    ],
)
def test_what_is_over_a_mebibyte_is_read_in_pieces(folder: str, size: int, small: bool) -> None:
    assert _is_small(folder, Entry("key", size)) == small


def test_a_record_of_over_a_mebibyte_is_no_record(world: World) -> None:
    key = next(key for key in world.store._objects if key.startswith("events/"))
    world.store.put(key, b"x" * ((1 << 20) + 1))
    done, told = copied(world)
    assert told.damaged == {key: f"has {(1 << 20) + 1} bytes, more than any record"}
    assert done.events == 6


@pytest.mark.parametrize("sound", [True, False])
def test_a_large_blob_is_checked_at_its_end(world: World, sound: bool) -> None:
    data = b"x" * ((1 << 20) + 1)
    name = digest(data if sound else b"other")
    key = f"blobs/{name[:2]}/{name}"
    world.store.put(key, data)
    done, told = copied(world)
    assert done.blobs == 1 + sound
    assert list(told.damaged) == ([] if sound else [key])
    assert told.progress["blobs"] == 1 + sound


def test_a_project_that_is_none_is_not_copied() -> None:
    world, told = World(), Told()
    world.store.put(MARK, b"{}")
    with pytest.raises(Damaged):
        world.run(copy_log(told.sink, told.tell))
    assert told.sink.keys == []


@pytest.mark.parametrize("raw", [b"[]", b"null", b"junk", b"1"])
def test_what_is_no_record_is_not_called_another_part_of_a_transaction(raw: bytes) -> None:
    """It is told as what it is."""
    assert _is_part({"id": "t"}, Found(raw, stamp(0)))


@pytest.mark.parametrize(
    ("txn", "part"), [({"id": "t"}, True), ({"id": "u"}, False), (None, False)]
)
def test_a_slot_is_part_of_the_transaction_that_it_names(txn: Any, part: bool) -> None:
    record = {} if txn is None else {"txn": txn}
    assert _is_part({"id": "t"}, Found(encode(record), stamp(0))) == part
