"""Planted bugs: each breaks one rule of the protocol, and the schedules must notice each.

A tooth that stops biting means that the oracles have gone blind, not that the code got better.
"""

import random

import pytest

from tclog.chain import append as append_module
from tclog.chain import read as read_module
from tclog.chain.append import Sealed
from tclog.clock import HybridClock, stamp
from tclog.domain import inbox, steps
from tclog.domain.decision import Draft
from tclog.errors import StoreUnreachable
from tclog.event import slot_key
from tclog.log import inbox as inbox_log
from tclog.store.base import Create, Created, Get, Outcome
from tclog.store.memory import MemoryStore
from tclog.testing import simulate

SEEDS_MAX = 300


def own_success_taken_as_lost(patch):
    def settle(client, version):
        created = yield Create(slot_key(version.chain, version.seq), version.raw)
        if created.outcome is Outcome.WON:
            return None
        found = yield Get(slot_key(version.chain, version.seq))
        if found is None:
            raise StoreUnreachable("not there")
        return found  # also where these are our own bytes

    patch.setattr(append_module, "settle", settle)


def no_answer_taken_as_won(patch):
    def settle(client, version):
        created = yield Create(slot_key(version.chain, version.seq), version.raw)
        if created.outcome is not Outcome.EXISTS:
            return None
        found = yield Get(slot_key(version.chain, version.seq))
        return None if found.data == version.raw else found

    patch.setattr(append_module, "settle", settle)


def no_answer_taken_as_nothing_written(patch):
    def settle(client, version):
        created = yield Create(slot_key(version.chain, version.seq), version.raw)
        if created.outcome is Outcome.WON:
            return None
        if created.outcome is Outcome.UNKNOWN:
            raise StoreUnreachable("surely nothing was written")
        found = yield Get(slot_key(version.chain, version.seq))
        return None if found.data == version.raw else found

    patch.setattr(append_module, "settle", settle)


def next_slot_tried_while_one_is_undecided(patch):
    real = append_module.slot_key
    tried = {}

    def settle(client, version):
        created = yield Create(slot_key(version.chain, version.seq), version.raw)
        if created.outcome is Outcome.WON:
            return None
        found = yield Get(slot_key(version.chain, version.seq))
        if found is None:
            # Leave this slot alone and go on to the one after it.
            created = yield Create(slot_key(version.chain, version.seq + 1), version.raw)
            tried[version.id] = True
            return None
        return None if found.data == version.raw else found

    assert real is slot_key
    patch.setattr(append_module, "settle", settle)


def no_read_back_after_a_conflict(patch):
    def settle(client, version):
        created = yield Create(slot_key(version.chain, version.seq), version.raw)
        if created.outcome is Outcome.UNKNOWN:
            created = yield Create(slot_key(version.chain, version.seq), version.raw)
        if created.outcome is Outcome.WON:
            return None
        if created.outcome is Outcome.UNKNOWN:
            raise StoreUnreachable("no answer twice")
        found = yield Get(slot_key(version.chain, version.seq))
        if found is None or found.data == version.raw:
            raise StoreUnreachable("a conflict means that somebody else won")
        return found

    patch.setattr(append_module, "settle", settle)


def lease_judged_by_the_takers_clock(patch):
    real = append_module._seal

    def seal(race, draft):
        yield from real(race, draft)
        now = stamp(race.client.clock.wall_us())
        race.sealed = Sealed(race.sealed.draft, race.sealed.event, now)

    patch.setattr(append_module, "_seal", seal)


def lease_counted_from_the_claim_not_the_renewal(patch):
    real = steps.evolve

    def evolve(state, event, place):
        after = real(state, event, place)
        if after.state != steps.CLAIMED or after.fence != state.fence or not state.held_version:
            return after
        since = state.lease_from or place.prev_stored
        return after._replace(held_version=state.held_version, lease_from=since)

    patch_rules(patch, "step", evolve=evolve)


def lease_ends_early(patch):
    patch.setattr(steps, "LEASE_MARGIN_US", -3_000_000)


def token_starts_anew_at_every_claim(patch):
    real = steps._granted

    def granted(state, event, place):
        return real(state, event, place)._replace(fence=1)

    patch.setattr(steps, "_granted", granted)


def held_step_given_to_who_asks(patch):
    real = steps._claim

    def claim(state, command, place):
        if state.state == steps.CLAIMED and state.agent != command.agent:
            return Draft("step.claim", {"lease_ms": command.lease_ms})
        return real(state, command, place)

    patch.setattr(steps, "_claim", claim)


def fold_that_lets_a_claim_take_a_held_step(patch):
    held_step_given_to_who_asks(patch)
    real = steps._folded

    def folded(state, event, place):
        if event.op == "step.claim" and state.state == steps.CLAIMED:
            return steps._granted(state, event, place)
        return real(state, event, place)

    patch.setattr(steps, "_folded", folded)


def broadcasts_merged_only_by_readers(patch):
    patch.setattr(append_module, "merge_of", lambda state, broadcasts: None)
    patch.setattr(append_module, "take_in", real_take_in())
    patch.setattr(inbox_log, "take_in", real_take_in())


def real_take_in():
    """The shipped take_in, with a merge_of of its own that the planted bug does not reach."""
    import types

    shipped = append_module.take_in
    names = dict(shipped.__globals__)
    names["merge_of"] = append_module.__dict__["__shipped_merge_of"]
    return types.FunctionType(shipped.__code__, names, closure=shipped.__closure__)


append_module.__dict__["__shipped_merge_of"] = append_module.merge_of


def broadcasts_never_merged(patch):
    def take_in(client, chain, head, broadcasts):
        return head
        yield

    patch.setattr(inbox_log, "take_in", take_in)


def broadcasts_merged_from_the_beginning_each_time(patch):
    real = inbox.merge

    def merge(state, all_version, all_count):
        return real(state._replace(all_count=0), all_version, all_count)

    patch.setattr(inbox, "merge", merge)


def reads_answered_from_the_cache(patch):
    real = read_module.read_head

    def read_head(client, chain):
        known = client.heads.get(chain)
        if known is not None:
            return known
        return (yield from real(client, chain))

    from tclog.log import memory as memory_log

    patch.setattr(memory_log, "read_head", read_head)


def decision_not_made_again_after_a_lost_race(patch):
    real = append_module._propose

    def propose(race, head, fresh):
        shipped = race.decide

        def once_only(state, place):
            if not hasattr(race, "first"):
                decision = shipped(state, place)
                if not fresh and not isinstance(decision, Draft):
                    return decision
                race.first = decision
            return race.first

        race.decide = shipped if getattr(race, "wrapped", False) else once_only
        race.wrapped = True
        return (yield from real(race, head, fresh))

    patch.setattr(append_module, "_propose", propose)


def idempotency_key_never_looked_for(patch):
    def find_once(client, chain, bound, after, head):
        return None
        yield

    patch.setattr(append_module, "find_once", find_once)


def idempotency_key_bound_anew_at_each_use(patch):
    def bind(client, chain, bound):
        head = yield from read_module.read_newest(client, chain)
        return 0 if head is None else head.seq

    patch.setattr(append_module, "bind_once", bind)


def version_written_before_its_event(patch):
    def put_event(race, key, raw):
        race.looked = True
        return None
        yield

    patch.setattr(append_module, "_put_event", put_event)


def stamps_from_the_wall_clock(patch):
    def tick(self, after=None):
        self._last = (self.now_us(), 0)
        return self.last

    patch.setattr(HybridClock, "tick", tick)


def store_that_lets_a_second_creator_win(patch):
    def create(self, key, data):
        self.put(key, data)
        return Created(Outcome.WON)

    patch.setattr(MemoryStore, "create", create)


def store_that_lets_a_rare_racer_win(patch):
    real, rng = MemoryStore.create, random.Random(1)

    def create(self, key, data):
        if rng.random() < 0.05:
            self.put(key, data)
            return Created(Outcome.WON)
        return real(self, key, data)

    patch.setattr(MemoryStore, "create", create)


def patch_rules(patch, kind, **changes):
    """Change one of the rules that the fold looks up by kind of chain."""
    from tclog.chain import fold
    from tclog.event import ChainId

    rules = fold.rules_of(ChainId(f"{kind}/x"))
    patch.setitem(fold._RULES, kind, rules._replace(**changes))


TEETH = [
    own_success_taken_as_lost,
    no_answer_taken_as_won,
    no_answer_taken_as_nothing_written,
    next_slot_tried_while_one_is_undecided,
    no_read_back_after_a_conflict,
    lease_judged_by_the_takers_clock,
    lease_counted_from_the_claim_not_the_renewal,
    lease_ends_early,
    token_starts_anew_at_every_claim,
    held_step_given_to_who_asks,
    fold_that_lets_a_claim_take_a_held_step,
    broadcasts_merged_only_by_readers,
    broadcasts_never_merged,
    broadcasts_merged_from_the_beginning_each_time,
    reads_answered_from_the_cache,
    decision_not_made_again_after_a_lost_race,
    idempotency_key_never_looked_for,
    idempotency_key_bound_anew_at_each_use,
    version_written_before_its_event,
    stamps_from_the_wall_clock,
    store_that_lets_a_second_creator_win,
    store_that_lets_a_rare_racer_win,
]


@pytest.mark.parametrize("plant", TEETH, ids=lambda plant: plant.__name__)
def test_every_planted_bug_is_caught(plant, monkeypatch):
    plant(monkeypatch)
    for seed in range(SEEDS_MAX):
        violations = simulate(seed).violations
        if violations:
            print(f"{plant.__name__}: caught by seed {seed}: {violations[0][:160]}")
            return
    pytest.fail(f"{plant.__name__} was not noticed in {SEEDS_MAX} schedules")
