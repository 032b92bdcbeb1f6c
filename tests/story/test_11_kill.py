"""SIGKILL at any moment: what was acknowledged is there, and nothing is half-written."""

from __future__ import annotations

import os
import random
import subprocess
from collections import Counter
from collections.abc import Mapping
from contextlib import suppress
from typing import NamedTuple

import pytest
from support.project import Project, Result, side_by_side

from tclog.chain.fold import verify
from tclog.event import (
    ChainId,
    EventId,
    Version,
    decode,
    decode_event,
    decode_version,
    encode,
    event_key,
    pending_key_parts,
    slot_seq,
)

WRITERS = 4
EACH = 50
# A process is killed within this time: within more if it did nothing, within less if it did much.
# So many are killed at their work on a quick machine, and on a slow one they come to it.
KILLED_WITHIN_S = 0.2
KILLED_WITHIN_MAX_S = 0.8
MUCH = 10
RESTARTS_MAX = 200


class Write(NamedTuple):
    """One write of a writer: the command, and what it was told if it was told anything."""

    words: tuple[str, ...]
    told: Result | None


def plan(writer: str, nth: int) -> tuple[str, ...]:
    """Return the nth command of a writer; every kind of chain that several write to is there."""
    mark = f"{writer} {nth:02}"
    return [
        ("memory", "incr", "count"),
        ("send", "hub", mark),
        ("memory", "append", "lines", mark),
        ("memory", "set", f"own/{writer}", mark),
        ("send", "@all", mark),
    ][nth % 5]


def write_all(
    project: Project, writer: str, *, retried: bool, random_: random.Random
) -> tuple[list[Write], int]:
    """Let a writer do all its commands, killing its process again and again.

    With ``retried`` each command has an idempotency key and is repeated until it is acknowledged;
    otherwise what was interrupted is left as it is.
    """
    commands = [plan(writer, nth) for nth in range(EACH)]
    if retried:
        commands = [(*words, "--id", f"{writer}-{nth}") for nth, words in enumerate(commands)]
    gate = project.folder / "gate"
    gate.touch()  # it stands open: the processes only say when they begin
    writes: list[Write] = []
    kills, within_s = 0, KILLED_WITHIN_S
    for _ in range(RESTARTS_MAX):
        if len(writes) == EACH:
            return writes, kills
        worker = project.worker(writer)
        worker.post([(*words, "--json") for words in commands[len(writes) :]], gate)
        worker.ready()
        with suppress(subprocess.TimeoutExpired):
            # One that has nothing left to do waits for more, until it is killed too.
            worker.process.wait(random_.random() * within_s)
        worker.process.kill()
        worker.process.wait()
        told = worker.acknowledged()
        writes += [Write(result.args, result) for result in told]
        if not told:
            within_s = min(within_s * 2, KILLED_WITHIN_MAX_S)
        elif len(told) >= MUCH:
            within_s /= 2
        if len(writes) < EACH:
            kills += 1
            if not retried:
                writes.append(Write(commands[len(writes)], None))
    raise AssertionError(f"{writer} had no luck in {RESTARTS_MAX} lives")


def read_log(project: Project) -> dict[ChainId, list[Version]]:
    """Read every chain past tclog, and check every object in it; return the versions."""
    keys = project.objects.keys()
    events: dict[str, bytes] = {}
    for key in keys:
        if key.startswith("pending/"):
            # It names an event, whose object its sender may have died before.
            assert pending_key_parts(key) is not None, key
            assert project.objects.read(key) == b"", key
        if key.startswith("events/"):
            events[key] = project.objects.read(key)
            decode_event(events[key], expect=EventId(key[-69:-5]), what=key)
    chains: dict[ChainId, list[Version]] = {}
    for folder in sorted({key.rpartition("/")[0] for key in keys if key.startswith("chains/")}):
        slots = {slot_seq(key): key for key in keys if key.rpartition("/")[0] == folder}
        assert sorted(slots) == list(range(1, len(slots) + 1)), f"{folder} has gaps"
        before: Version | None = None
        for seq in range(1, len(slots) + 1):
            raw = project.objects.read(slots[seq])
            chain = before.chain if before else chain_of(raw)
            version = decode_version(raw, chain=chain, seq=seq)
            verify(chain, before, version)
            for event in version.events:
                key = event_key(event.at, event.chains[0], event.id)
                assert events[key] == encode(event.record), f"{key} is another event"
            chains.setdefault(chain, []).append(version)
            before = version
    # What a killed sender had announced may be left: it was committed, or never will be.
    kinds = ("events", "chains", "once", "pending")
    others = [key for key in keys if key.split("/")[0] not in kinds]
    assert others == ["tclog.json"], others
    return chains


def chain_of(raw: bytes) -> ChainId:
    """Return the chain that a version says it belongs to."""
    return ChainId(decode(raw, "a version")["chain"])


@pytest.mark.slow
def test_sigkill_at_random_moments_loses_nothing_acknowledged(
    project: Project, capsys: pytest.CaptureFixture[str]
) -> None:
    seed = int.from_bytes(os.urandom(4))
    print(f"seed {seed}")
    names = [f"writer-{n}" for n in range(WRITERS)]
    retried = {name: n % 2 == 0 for n, name in enumerate(names)}
    rows = side_by_side(
        *[
            lambda name=name, n=n: write_all(
                project, name, retried=retried[name], random_=random.Random(seed + n)
            )
            for n, name in enumerate(names)
        ]
    )
    writes = {name: row[0] for name, row in zip(names, rows, strict=True)}
    kills = sum(row[1] for row in rows)
    with capsys.disabled():
        print(f"\n  {WRITERS * EACH} writes, {kills} kills")
    assert kills >= WRITERS, "hardly anything was killed"
    chains = read_log(project)
    committed = Counter(
        event.id for versions in chains.values() for version in versions for event in version.events
    )
    for name, mine in writes.items():
        for write in mine:
            if write.told is not None:
                event = write.told.one()["id"]
                assert committed[event] == 1, f"{name} was told of {write}, which is not there"
    check_exactly_once(chains, writes, retried)
    check_usable(project, chains)


def check_exactly_once(
    chains: Mapping[ChainId, list[Version]],
    writes: Mapping[str, list[Write]],
    retried: Mapping[str, bool],
) -> None:
    """Check that no command was applied twice, and a repeated one exactly once."""
    for name, mine in writes.items():
        applied = Counter(
            event.key
            for versions in chains.values()
            for version in versions
            for event in version.events
            if event.agent == name
        )
        if retried[name]:
            assert applied == {f"{name}-{nth}": 1 for nth in range(EACH)}
        else:
            told = sum(write.told is not None for write in mine)
            assert told <= applied[None] <= EACH


def sent(chains: Mapping[ChainId, list[Version]]) -> set[EventId]:
    """Return what stands in the inbox of hub, or was sent to all."""
    both = (*chains[ChainId("inbox/@all")], *chains[ChainId("inbox/hub")])
    return {event.id for version in both for event in version.events}


def check_usable(project: Project, chains: Mapping[ChainId, list[Version]]) -> None:
    """Check that the log goes on as if nothing had happened, with the caches of the killed."""
    for machine in (project, project.machine()):
        for words, chain in (
            (("memory", "incr", "count"), "memory/count"),
            (("memory", "append", "lines", "after"), "memory/lines"),
        ):
            (done,) = machine.json(*words, agent="survivor")
            assert done["version"] > len(chains[ChainId(chain)])
        before = sent(read_log(project))
        seen = machine.json("inbox", "--all", agent="hub")
        after = sent(read_log(project))
        assert [message["n"] for message in seen] == list(range(1, len(seen) + 1))
        # What a killed process had asked of a bucket may be carried out as late as now.
        assert before <= {message["id"] for message in seen} <= after
        assert len(before) <= len(seen) <= len(after)
    assert project.run("doctor", agent="survivor").code == 0
