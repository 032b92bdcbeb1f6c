"""What a store holds, read past the code under test, and whether an index says the same."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from tclog.chain.fold import fold, place_of, rules_of, state_of, unknown_ops
from tclog.event import ChainId, Version, decode, decode_version, encode, slot_seq
from tclog.index import Index
from tclog.store.base import Store

EVERYTHING = 10**9


class Truth(NamedTuple):
    """Every version by chain, and the ids of all event objects."""

    chains: dict[ChainId, list[Version]]
    events: set[str]

    @property
    def committed(self) -> set[tuple[str, ChainId]]:
        """Each committed event with each chain that holds it."""
        return {
            (e.id, c)
            for c, versions in self.chains.items()
            for v in versions
            if self._stands(v)
            for e in v.events
        }

    def _stands(self, version: Version) -> bool:
        """Whether all slots of a version's transaction hold it; no transaction is as good."""
        slots = {} if version.txn is None else version.txn["slots"]
        return all(
            len(self.chains.get(chain, ())) >= seq
            and self.chains[chain][seq - 1].txn == version.txn
            for chain, seq in slots.items()
        )


def read_truth(store: Store) -> Truth:
    """Read everything."""
    chains: dict[ChainId, list[Version]] = {}
    for entry in store.list("chains", "", EVERYTHING, False):
        raw = store.get(entry.key)
        chain = decode(raw.data, entry.key)["chain"]
        version = decode_version(raw.data, chain=chain, seq=slot_seq(entry.key), stored=raw.stored)
        chains.setdefault(chain, []).insert(0, version)
    events = {entry.key[-69:-5] for entry in store.list("events", "", EVERYTHING, False)}
    return Truth(chains, events)


def assert_same(index: Index, truth: Truth) -> None:
    """Compare an index with a store, to the byte, and the fold of one with that of the other."""
    assert index.chains() == sorted(truth.chains, key=str.encode)
    for chain, versions in truth.chains.items():
        held = list(index.versions(chain))
        assert [v.raw for v in held] == [v.raw for v in versions], chain
        assert [v.id for v in held] == [v.id for v in versions]
        assert [v.stored for v in held] == [v.stored for v in versions]
        assert index.head(chain) == len(versions)
        assert index.head_id(chain) == versions[-1].id
        assert_fold(chain, held)
    commits = list(index.commits())
    assert [c.at for c in commits] == sorted((c.at for c in commits), reverse=True)
    found = [(c.event.id, c.chain) for c in commits]
    assert len(found) == len(set(found))
    assert set(found) == truth.committed
    attempts = {attempt.event.id for attempt in index.attempts()}
    assert attempts == truth.events - {event for event, _ in truth.committed}
    assert index.counts() == {
        "chains": len(truth.chains),
        "versions": sum(map(len, truth.chains.values())),
        "events": len({event for event, _ in truth.committed}),
        "attempts": len(attempts),
    }
    for commit in commits:
        assert commit.event == truth.chains[commit.chain][commit.seq - 1].events[commit.place]


def assert_fold(chain: ChainId, versions: Sequence[Version]) -> None:
    """Fold a chain from nothing and compare with the state that each version holds."""
    rules = rules_of(chain)
    state: Any = rules.empty
    for before, version in zip([None, *versions], versions, strict=False):
        assert not unknown_ops(chain, version)
        place = place_of(version, before)
        state = fold(chain, state, version.events, place, version.merge)
        assert encode(rules.pack(state, version.events)) == encode(version.state)
        assert state == state_of(chain, version)


def assert_numbers(index: Index) -> None:
    """All committed events have a number, each its own, and chains are in their order."""
    followed = list(index.followed(0))
    assert [n for n, _ in followed] == list(range(1, len(followed) + 1))
    assert len(followed) == len(list(index.commits()))
    last: dict[ChainId, tuple[int, int]] = {}
    for _, commit in followed:
        assert last.get(commit.chain, (0, 0)) < (commit.seq, commit.place), commit
        last[commit.chain] = commit.seq, commit.place
