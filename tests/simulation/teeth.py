"""Planted bugs: each breaks one rule of the protocol, and something here must notice each.

Most are caught by random schedules, seed after seed. A few need two clients to meet at one request,
or a store that was tampered with; those name the focused check that must catch them.
``PYTHONPATH=tests python -m simulation.teeth`` hunts them all and prints a line of JSON for each.
"""

import json
import random
import sys
import time
import types
from typing import NamedTuple

import pytest

from simulation.clocks import check_foreign_stamps
from simulation.crowds import check_many_that_died, check_repeated_announcements
from simulation.forged import check_forged_transactions
from simulation.gates import check_repeated_arrivals
from simulation.interleaving import check_keys, check_tampering
from simulation.junk import check_bytes_put_back, check_foreign_objects, check_late_writers
from simulation.restores import check_hidden_loss, check_set_back
from simulation.transfers import check_deaths
from simulation.unfit import check_turned
from tclog.chain import append as append_module
from tclog.chain import combine as combine_module
from tclog.chain import fit as fit_module
from tclog.chain import fold as fold_module
from tclog.chain import heads as heads_module
from tclog.chain import judge as judge_module
from tclog.chain import junk as junk_module
from tclog.chain import once as once_module
from tclog.chain import race as race_module
from tclog.chain import read as read_module
from tclog.chain import remembered as remembered_module
from tclog.chain import resolve as resolve_module
from tclog.chain import seal as seal_module
from tclog.chain import settle as settle_module
from tclog.chain import transact as transact_module
from tclog.chain import trust as trust_module
from tclog.chain.race import Sealed
from tclog.clock import HybridClock, stamp
from tclog.domain import inbox, misfit_body, steps
from tclog.domain.decision import Draft
from tclog.errors import OutcomeUnknown, Refused, StoreUnreachable
from tclog.event import (
    ALL,
    MARK,
    ChainId,
    digest,
    encode,
    event_key,
    seal_event,
    seal_version,
    slot_key,
    slot_seq,
)
from tclog.event import records as records_module
from tclog.log import barriers as barriers_log
from tclog.log import claims as claims_log
from tclog.log import inbox as inbox_log
from tclog.log import memory as memory_log
from tclog.log import transactions as transactions_log
from tclog.maintenance import void as voiding_module
from tclog.store.base import Create, Created, Delete, Found, Get, List, Outcome, Put, Stat
from tclog.testing import Faults, simulate
from tclog.testing import oracles as oracles_module
from tclog.testing.bucket import Bucket

SEEDS_MAX = 300
# What a planted bug raises that no longer fits the code.
MISFITS = ("TypeError(", "AttributeError(", "NameError(")
SHIPPED_DIFFERENCE = remembered_module.difference
SHIPPED_SETTLE = settle_module.settle
SHIPPED_MERGE_OF = seal_module.merge_of


# -- the answer to a create -----------------------------------------------------------------------


def settle_with(patch):
    """Make a decorator that puts a way to settle in the place of the shipped one.

    A loser learns what it lost to, and asks for the rest afterwards.
    """

    def plant(settle):
        for module in (append_module, combine_module, resolve_module):
            patch.setattr(
                module, "settle", lambda client, version, race=None: settle(client, version)
            )

    return plant


def own_success_taken_as_lost(patch):
    @settle_with(patch)
    def settle(client, version):
        created = yield Create(slot_key(version.chain, version.seq), version.raw)
        if created.outcome is Outcome.WON:
            return None
        found = yield Get(slot_key(version.chain, version.seq))
        if found is None:
            raise StoreUnreachable("not there")
        return found  # also where these are our own bytes


def no_answer_taken_as_won(patch):
    @settle_with(patch)
    def settle(client, version):
        created = yield Create(slot_key(version.chain, version.seq), version.raw)
        if created.outcome is not Outcome.EXISTS:
            return None
        found = yield Get(slot_key(version.chain, version.seq))
        return None if found.data == version.raw else found


def no_answer_taken_as_nothing_written(patch):
    @settle_with(patch)
    def settle(client, version):
        created = yield Create(slot_key(version.chain, version.seq), version.raw)
        if created.outcome is Outcome.WON:
            return None
        if created.outcome is Outcome.UNKNOWN:
            raise StoreUnreachable("surely nothing was written")
        found = yield Get(slot_key(version.chain, version.seq))
        return None if found.data == version.raw else found


def absence_after_no_answer_taken_as_final(patch):
    @settle_with(patch)
    def settle(client, version):
        created = yield Create(slot_key(version.chain, version.seq), version.raw)
        if created.outcome is Outcome.WON:
            return None
        found = yield Get(slot_key(version.chain, version.seq))
        if found is None:
            raise StoreUnreachable("it is not there, so it will never be")
        return None if found.data == version.raw else found


def denial_after_no_answer_taken_as_nothing_written(patch):
    @settle_with(patch)
    def settle(client, version):
        created = yield Create(slot_key(version.chain, version.seq), version.raw)
        if created.outcome is Outcome.WON:
            return None
        if created.outcome is Outcome.UNKNOWN:
            yield Get(slot_key(version.chain, version.seq))  # raises StoreDenied
        return (yield from SHIPPED_SETTLE(client, version))


def unknown_taken_as_refused(patch):
    @settle_with(patch)
    def settle(client, version):
        try:
            return (yield from SHIPPED_SETTLE(client, version))
        except OutcomeUnknown as unknown:
            raise Refused(unknown.message) from None


def conflict_409_taken_as_exists(patch):
    @settle_with(patch)
    def settle(client, version):
        created = yield Create(slot_key(version.chain, version.seq), version.raw)
        if created.outcome is Outcome.WON:
            return None
        if created.cause == "409":
            raise Refused("somebody else was first", code="contended")
        return (yield from SHIPPED_SETTLE(client, version))


def no_read_back_after_a_conflict(patch):
    @settle_with(patch)
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


def next_slot_tried_while_one_is_undecided(patch):
    @settle_with(patch)
    def settle(client, version):
        created = yield Create(slot_key(version.chain, version.seq), version.raw)
        if created.outcome is Outcome.WON:
            return None
        found = yield Get(slot_key(version.chain, version.seq))
        if found is None:
            # Leave this slot alone and go on to the one after it.
            yield Create(slot_key(version.chain, version.seq + 1), version.raw)
            return None
        return None if found.data == version.raw else found


def retry_of_an_undecided_slot_with_a_new_nonce(patch):
    @settle_with(patch)
    def settle(client, version):
        """Send another event to the slot, which the first try is not recognised by."""
        created = yield Create(slot_key(version.chain, version.seq), version.raw)
        if created.outcome is Outcome.WON:
            return None
        found = yield Get(slot_key(version.chain, version.seq))
        if found is not None:
            return None if found.data == version.raw else found
        record = dict(version.events[-1].record, nonce=client.nonce()) if version.events else None
        if record is None:
            return (yield from SHIPPED_SETTLE(client, version))
        names = ("op", "chains", "agent", "session", "host", "client", "at", "nonce", "body")
        event, raw = seal_event(
            **{name: record[name] for name in names},
            expect=record.get("expect"),
            key=record.get("key"),
        )
        yield Put(f"events/{event.at[:13]}/again-{event.id}.json", raw)
        again = seal_version(
            chain=version.chain,
            seq=version.seq,
            prev=version.prev,
            prev_stored=version.prev_stored,
            at=version.at,
            by=version.by,
            events=(event,),
            state=version.state,
            now=version.now,
            merge=version.merge,
        )
        return (yield from SHIPPED_SETTLE(client, again))


def retry_by_an_unconditional_put(patch):
    @settle_with(patch)
    def settle(client, version):
        key = slot_key(version.chain, version.seq)
        created = yield Create(key, version.raw)
        if created.outcome is Outcome.WON:
            return None
        found = yield Get(key)
        if found is None:
            yield Put(key, version.raw)
            return None
        return None if found.data == version.raw else found


def slot_reused_after_a_release(patch):
    @settle_with(patch)
    def settle(client, version):
        lost_to = yield from SHIPPED_SETTLE(client, version)
        if lost_to is None and version.events and version.events[-1].op == "step.release":
            yield Delete((slot_key(version.chain, version.seq),))  # nobody holds it: tidy up
        return lost_to


def acknowledged_when_the_event_is_written(patch):
    @settle_with(patch)
    def settle(client, version):
        yield Create(slot_key(version.chain, version.seq), version.raw)
        return None


def version_written_before_its_event(patch):
    def put_event(race, key, raw):
        race.looked = True
        return stamp(race.client.clock.wall_us())
        yield

    patch.setattr(race_module, "_put_event", put_event)


# -- the chain ------------------------------------------------------------------------------------


def prev_unchecked(patch):
    """Check a version as if it named the one before it, whatever it names."""
    real = fold_module.verify

    def verify(chain, before, version):
        prev = None if before is None else before.id
        real(chain, before, version._replace(record=dict(version.record, prev=prev)))

    patch.setattr(read_module, "verify", verify)
    shipped = read_module.read_range

    def read_range(client, chain, first, last, *_):
        versions = []
        for seq in range(first, last + 1):
            versions += yield from shipped(client, chain, seq, seq)
        return versions

    for module in (read_module, memory_log, inbox_log, once_module):
        patch.setattr(module, "read_range", read_range)


def prev_neither_named_nor_checked(patch):
    prev_unchecked(patch)
    real = seal_module.seal_version

    def seal(*, prev, **rest):
        return real(prev=prev and digest(b"whatever came before"), **rest)

    patch.setattr(seal_module, "seal_version", seal)


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


def refusal_on_a_remembered_state(patch):
    real = append_module._propose

    def propose(race, head, fresh):
        return (yield from real(race, head, True))

    patch.setattr(append_module, "_propose", propose)


def head_cache_trusted_for_a_write_verdict(patch):
    real = append_module.read_head

    def read_head(client, chain):
        known = client.heads.get(chain)
        return known if known is not None else (yield from real(client, chain))

    patch.setattr(append_module, "read_head", read_head)


def reads_answered_from_the_cache(patch):
    real = read_module.read_head

    def read_head(client, chain):
        known = client.heads.get(chain)
        if known is not None:
            return known
        return (yield from real(client, chain))

    patch.setattr(memory_log, "read_head", read_head)


def stamps_from_the_wall_clock(patch):
    def tick(self, after=None):
        self._last = (self.now_us(), 0)
        return self.last

    patch.setattr(HybridClock, "tick", tick)


# -- idempotency keys -----------------------------------------------------------------------------


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


def idempotency_key_looked_for_in_the_newest_version_only(patch):
    real = append_module.find_once

    def find_once(client, chain, bound, after, head):
        after = after if head is None else max(after, head.seq - 1)
        return (yield from real(client, chain, bound, after, head))

    patch.setattr(append_module, "find_once", find_once)


def idempotency_key_looked_for_in_another_head(patch):
    """As it was until November 2026: the search read a head for itself, the append read another."""
    bind, find = append_module.bind_once, append_module.find_once
    searches = {}

    def bind_once(client, chain, bound):
        after = yield from bind(client, chain, bound)
        head = yield from read_module.read_head(client, chain)
        searches[id(bound)] = bound, (yield from find(client, chain, bound, after, head))
        return after

    def find_once(client, chain, bound, after, head):
        if id(bound) in searches:
            return searches.pop(id(bound))[1]
        return (yield from find(client, chain, bound, after, head))

    patch.setattr(append_module, "bind_once", bind_once)
    patch.setattr(append_module, "find_once", find_once)


def resumed_key_looked_for_one_version_too_late(patch):
    real = append_module.bind_once

    def bind_once(client, chain, bound):
        after = yield from real(client, chain, bound)
        return after if once_module.resumed_id(bound.key) is None else after + 1

    patch.setattr(append_module, "bind_once", bind_once)


def resumed_message_looked_for_as_if_it_had_one_inbox(patch):
    patch.setattr(inbox_log, "_repeatable", lambda unknown, places, id_key: unknown)


def key_of_what_changes_nothing_not_bound(patch):
    """As it was until November 2026: what was so already wrote nothing, and could apply later."""
    patch.setattr(append_module.Race, "bind", lambda self, decision: decision)


def claim_found_by_its_key_taken_for_held(patch):
    """As it was until November 2026: who repeats a claim is told that it holds the step."""
    patch.setattr(claims_log, "still_held", lambda client, done: (done.version, done.state))


# -- leases and tokens ----------------------------------------------------------------------------


def lease_judged_by_the_takers_clock(patch):
    real = append_module.write_event

    def write_event(race, draft):
        yield from real(race, draft)
        now = stamp(race.client.clock.wall_us())
        race.sealed = Sealed(race.sealed.draft, race.sealed.event, now)

    patch.setattr(append_module, "write_event", write_event)


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


def early_stamp_of_the_version_before_believed(patch):
    """As it was until November 2026: a note that told an early stamp ended a live lease."""
    patch.setattr(steps, "_believed", lambda stored, at: stored)


def late_time_of_a_takeover_believed(patch):
    patch.setattr(steps, "_is_skewed", lambda place: False)


def token_starts_anew_at_every_claim(patch):
    real = steps._granted

    def granted(state, event, place):
        return real(state, event, place)._replace(fence=1)

    patch.setattr(steps, "_granted", granted)


def token_reset_after_a_release(patch):
    """Count claims instead of versions, and begin again where nobody holds the step."""
    granted, let_go = steps._granted, steps._let_go

    def count(state, event, place):
        return granted(state, event, place)._replace(fence=(state.fence or 0) + 1)

    patch.setattr(steps, "_granted", count)
    patch.setattr(steps, "_let_go", lambda state, to: let_go(state, to)._replace(fence=None))


def stale_token_let_in(patch):
    real = steps.decide

    def decide(state, command, place):
        if getattr(command, "fence", None) is not None:
            command = command._replace(fence=None)
        return real(state, command, place)

    patch.setattr(steps, "decide", decide)


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


def second_session_of_a_name_given_the_claim(patch):
    """As it was until November 2026: whoever has the holder's name renews by claiming."""
    patch.setattr(steps, "_is_own", lambda state, agent, session: state.agent == agent)


def weak_session_renews_by_claiming(patch):
    def is_own(state, agent, session):
        return state.agent == agent and state.session == session

    patch.setattr(steps, "_is_own", is_own)


def next_step_may_be_ones_own(patch):
    real = claims_log.claim_step

    def claim_step(client, step, **rest):
        return (yield from real(client, step, **{**rest, "renews": True}))

    patch.setattr(claims_log, "claim_step", claim_step)


def claim_of_another_session_ended_by_name(patch):
    def is_same(state, agent, session, fence=None):
        return state.agent == agent

    patch.setattr(steps, "is_same", is_same)


def claim_moves_and_keeps_its_token(patch):
    real = steps._granted

    def granted(state, event, place):
        after = real(state, event, place)
        return after._replace(fence=state.fence) if event.op == "step.move" else after

    patch.setattr(steps, "_granted", granted)


# -- inboxes --------------------------------------------------------------------------------------


def broadcasts_merged_only_by_readers(patch):
    shipped = append_module.take_in
    names = dict(shipped.__globals__, merge_of=SHIPPED_MERGE_OF)
    take_in = types.FunctionType(shipped.__code__, names, closure=shipped.__closure__)
    for module in (append_module, combine_module):
        patch.setattr(module, "merge_of", lambda state, broadcasts: None)
    patch.setattr(inbox_log, "take_in", take_in)


def broadcasts_never_merged(patch):
    def take_in(client, chain, head, broadcasts):
        return head
        yield

    patch.setattr(inbox_log, "take_in", take_in)


def broadcasts_merged_from_the_beginning_each_time(patch):
    real = inbox.merge

    def merge(state, all_version, all_count):
        return real(state._replace(all_count=0), all_version, all_count)

    patch_rules(patch, "inbox", merge=merge)


def duplicate_broadcast_not_removed(patch):
    """Read each merged range from its first version's predecessor on, which an earlier one had."""
    real = read_module.read_range

    def read_range(client, chain, first, last, *head):
        return (yield from real(client, chain, max(1, first - (chain == ALL)), last, *head))

    patch.setattr(inbox_log, "read_range", read_range)


def inbox_in_the_order_of_the_senders_clocks(patch):
    real = inbox_log._numbered

    def numbered(client, chain, first, last, *head):
        found = yield from real(client, chain, first, last, *head)
        numbers = [number for number, _ in found]
        events = sorted((event for _, event in found), key=lambda event: event.at)
        return list(zip(numbers, events, strict=True))

    patch.setattr(inbox_log, "_numbered", numbered)


# -- the store ------------------------------------------------------------------------------------


def store_that_lets_a_second_creator_win(patch):
    def create(self, key, data):
        self.put(key, data)
        return Created(Outcome.WON)

    patch.setattr(Bucket, "create", create)


def store_that_lets_a_rare_racer_win(patch):
    real, rng = Bucket.create, random.Random(1)

    def create(self, key, data):
        if rng.random() < 0.05:
            self.put(key, data)
            return Created(Outcome.WON)
        return real(self, key, data)

    patch.setattr(Bucket, "create", create)


def store_that_remembers_an_absence(patch):
    """Answer a read, for a second, as before the write."""
    real = Bucket.get

    def get(self, key):
        found = real(self, key)
        late = found is not None and found.stored > stamp(self._now_us() - 1_000_000)
        return None if late else found

    patch.setattr(Bucket, "get", get)


def patch_rules(patch, kind, **changes):
    """Change one of the rules that the fold looks up by kind of chain."""
    rules = fold_module.rules_of(ChainId(f"{kind}/x"))
    known = fold_module.kind_of
    changed = rules._replace(**changes)
    patch.setattr(fold_module, "kind_of", lambda name: changed if name == kind else known(name))


# -- combining ------------------------------------------------------------------------------------


def announcements_included_without_looking_back(patch):
    patch.setattr(combine_module._Seen, "holds", lambda self, announced: False)


def combined_without_reading_what_came_since(patch):
    def look_back(race, seen, batch):
        return [one for one in batch if not seen.holds(one)], []
        yield

    patch.setattr(combine_module, "_look_back", look_back)


def keys_not_compared_when_combining(patch):
    patch.setattr(combine_module, "is_same", lambda one, other: one.id == other.id)


def announcements_listed_from_the_oldest(patch):
    patch.setattr(combine_module, "pending_begin", lambda chain, at: "")


def announced_and_then_called_refused(patch):
    def unknown(race, event, after, cause):
        return StoreUnreachable(f"surely nobody commits it: {cause}")

    patch.setattr(combine_module, "_unknown", unknown)


def broadcasts_looked_at_before_the_announcements(patch):
    shipped = combine_module._read_pending

    def read_pending(race, seen, entries):
        known = race.client.heads.get(ALL)
        waiting, _ = yield from shipped(race, seen, entries)
        return waiting, known

    patch.setattr(combine_module, "_read_pending", read_pending)


def any_new_version_taken_for_ones_own(patch):
    """Take the event for committed once a version has come, whatever that holds."""

    def find(event, versions):
        return combine_module.Joined(versions[-1], event) if versions else None

    patch.setattr(combine_module, "_find", find)


def announced_before_the_object_is_there(patch):
    """Announce with the event itself, so that others commit what has no object yet."""
    named, shipped = combine_module._named, combine_module._announce

    def read_name(race, entry):
        name = named(race, entry)
        return name and name._replace(source=entry.key)

    patch.setattr(combine_module, "_named", read_name)

    def announce(race, event, after, unput):
        mine = yield from shipped(race, event, after, None)
        yield Put(mine.key, encode(event.record))
        if unput is not None:
            yield Put(event_key(event.at, race.chain, event.id), unput)
        return mine

    patch.setattr(combine_module, "_announce", announce)


# -- transactions ---------------------------------------------------------------------------------


def resolve_with(patch, resolve):
    for module in (resolve_module, combine_module, transact_module):
        patch.setattr(module, "resolve", resolve)


def undecided_transaction_skipped(patch):
    """Write past it, as if that were the end of it."""

    def resolve(client, version):
        (judged,) = yield from judge_module.judge(client, [version])
        return version.judged(aborted=True) if judged is None else judged

    resolve_with(patch, resolve)


def undecided_transaction_built_upon(patch):
    def resolve(client, version):
        (judged,) = yield from judge_module.judge(client, [version])
        return version.judged(aborted=False) if judged is None else judged

    resolve_with(patch, resolve)


def slot_taken_for_filled_without_looking(patch):
    """Once it has tried to fill a slot, the transaction is taken to be over."""
    fill = resolve_module._fill

    def resolve(client, version):
        (judged,) = yield from judge_module.judge(client, [version])
        if judged is None:
            yield from fill(client, version)
            judged = version.judged(aborted=True)
        return judged

    resolve_with(patch, resolve)


def judge_with(patch, change):
    real = judge_module.judge

    def judge(client, versions):
        judged = yield from real(client, versions)
        return [change(*pair) for pair in zip(versions, judged, strict=True)]

    for module in (judge_module, resolve_module):
        patch.setattr(module, "judge", judge)


def half_a_transaction_shown(patch):
    judge_with(patch, lambda version, found: found or version.judged(aborted=False))


def state_of_an_aborted_transaction_read(patch):
    def change(version, found):
        return version.judged(aborted=False) if found is not None and found.txn else found

    judge_with(patch, change)


def undecided_remembered_as_aborted(patch):
    judge_with(patch, lambda version, found: found or version.judged(aborted=True))


def one_slot_taken_for_all(patch):
    """Do not ask for the slots of others: the first that is there decides."""

    def others(version):
        return [slot for slot in version.txn["slots"].items() if slot[0] != version.chain][:1]

    for module in (judge_module, resolve_module):
        patch.setattr(module, "other_slots", others)


def slots_of_a_transaction_not_read_back(patch):
    def tried(client, version):
        created = yield Create(slot_key(version.chain, version.seq), version.raw)
        if created.outcome is Outcome.EXISTS:
            return (yield Get(slot_key(version.chain, version.seq)))
        return None

    patch.setattr(transact_module, "_settled", tried)


def undecided_slots_of_ones_own_tried_elsewhere(patch):
    real = transact_module._Transaction._raise

    def give_up(self, versions, outcomes):
        if any(isinstance(outcome, OutcomeUnknown) for outcome in outcomes):
            raise transact_module._Again
        real(self, versions, outcomes)

    patch.setattr(transact_module._Transaction, "_raise", give_up)


def most_slots_are_enough(patch):
    real = transact_module._Transaction._create

    def create(self, versions, *, ordered):
        outcomes = yield from real(self, versions, ordered=ordered)
        return [None] * len(versions) if None in outcomes[:-1] else outcomes

    patch.setattr(transact_module._Transaction, "_create", create)


def what_was_read_takes_no_slot(patch):
    real = transact_module._Transaction._seal

    def seal(self, view):
        whole = view.chains
        view.chains = {chain: found for chain, found in whole.items() if found.events}
        versions = yield from real(self, view)
        view.chains = whole
        return versions

    patch.setattr(transact_module._Transaction, "_seal", seal)


def what_only_reads_looks_once(patch):
    def unchanged(self, view):
        return transact_module.Transacted({c: f.head for c, f in view.chains.items()}, view.events)
        yield

    patch.setattr(transact_module._Transaction, "_unchanged", unchanged)


def key_of_a_transaction_never_looked_for(patch):
    def find(self):
        return None
        yield

    patch.setattr(transact_module._Transaction, "_find", find)


def each_operation_for_itself(patch):
    """Carry out the operations of a transaction one after the other."""

    def transact(client, acts, *, once=None):
        versions, events = {}, []
        for act in acts:
            done = yield from transact_module._Transaction(client, [act], once).run()
            versions |= done.versions
            events += done.events
        return transact_module.Transacted(versions, events)

    patch.setattr(transactions_log, "transact", transact)


def dead_transaction_waited_for_too_long(patch):
    patch.setattr(resolve_module, "GRACE_S", 2 * resolve_module.GRACE_S)


# -- barriers -------------------------------------------------------------------------------------


def withdrawn_arrival_passes_with_the_others(patch):
    """As it was until November 2026: whoever sees that its generation is over has passed."""

    def judge(self, head):
        self.version, self.state = head, fold_module.state_of(head.chain, head)
        return head.seq if self.state.generation > self.mine else None
        yield

    patch.setattr(barriers_log._Waits, "judge", judge)


# -- what is remembered, and what is said to be absent --------------------------------------------


def heads_trusted_by_number(patch):
    """As it was until November 2026: a remembered version is there if its slot is."""

    def difference(known, found):
        return None if found is not None else SHIPPED_DIFFERENCE(known, found)

    for module in (remembered_module, trust_module):
        patch.setattr(module, "is_same", lambda known, entry: entry is not None)
        patch.setattr(module, "difference", difference)
    patch.setattr(heads_module.MemoryHeads, "get", heads_module.MemoryHeads._known)


def set_back_never_looked_for(patch):
    patch.setattr(heads_module.MemoryHeads, "due", lambda self, now_s: ())
    patch.setattr(heads_module.MemoryHeads, "get", heads_module.MemoryHeads._known)


def store_never_tried_again(patch):
    """As it was until November 2026: a store is probed by `init` and never again."""
    patch.setattr(heads_module.MemoryHeads, "fitness", lambda self, now_s: "")


def trial_that_was_won_not_remembered(patch):
    """The first writer of each day is told, and the next ones go on."""
    shipped = heads_module.MemoryHeads.keep_fitness

    def keep_fitness(self, now_s, unfit):
        shipped(self, now_s, "")

    patch.setattr(heads_module.MemoryHeads, "keep_fitness", keep_fitness)


def store_tried_with_bytes_of_ones_own(patch):
    """A store that lets it happen has another project's mark from then on."""

    def put_other(request):
        return request._replace(data=b"{}") if request.key == MARK else request

    def try_store(client):
        trial = shipped(client)
        reply = None
        while True:
            try:
                step = trial.send(reply)
            except StopIteration as end:
                return end.value
            reply = yield put_other(step) if type(step) is Create else step

    shipped = fit_module._try_store
    patch.setattr(fit_module, "_try_store", try_store)


def witness_moved_on_by_what_others_wrote(patch):
    """As it was until November 2026: only the newest version that is remembered is looked at."""
    shipped = heads_module.MemoryHeads.due
    patch.setattr(heads_module.MemoryHeads, "due", lambda self, now_s: shipped(self, now_s)[:1])


def _believe_absences(patch):
    def stamp_of_put(key):
        entry = yield Stat(key)
        return None if entry is None else entry.stored

    def look(known):
        return Found(known.raw, None)
        yield

    patch.setattr(race_module, "stamp_of_put", stamp_of_put)
    patch.setattr(seal_module, "look", look)
    patch.setattr(seal_module, "check_stamped", lambda head, place: None)
    judged_at = lambda sealed, place: place._replace(now=sealed.now)  # noqa: E731
    patch.setattr(append_module, "_judged_at", judged_at)


def absent_stamp_taken_as_none(patch):
    _believe_absences(patch)


def win_not_checked_against_the_fold(patch):
    """A takeover without the store's time is ignored by all readers, and told as a claim."""
    _believe_absences(patch)
    patch.setattr(append_module, "check_effect", lambda chain, state, event, place: None)
    patch.setattr(oracles_module, "check_stamps", lambda chains, created_us: iter(()))


# -- the hunt -------------------------------------------------------------------------------------

TRANSACTIONS = (
    undecided_transaction_skipped,
    undecided_transaction_built_upon,
    slot_taken_for_filled_without_looking,
    half_a_transaction_shown,
    state_of_an_aborted_transaction_read,
    undecided_remembered_as_aborted,
    one_slot_taken_for_all,
    slots_of_a_transaction_not_read_back,
    undecided_slots_of_ones_own_tried_elsewhere,
    most_slots_are_enough,
    what_was_read_takes_no_slot,
    what_only_reads_looks_once,
    key_of_a_transaction_never_looked_for,
)
BY_SCHEDULES = (
    own_success_taken_as_lost,
    no_answer_taken_as_won,
    no_answer_taken_as_nothing_written,
    denial_after_no_answer_taken_as_nothing_written,
    absence_after_no_answer_taken_as_final,
    unknown_taken_as_refused,
    conflict_409_taken_as_exists,
    no_read_back_after_a_conflict,
    next_slot_tried_while_one_is_undecided,
    retry_of_an_undecided_slot_with_a_new_nonce,
    retry_by_an_unconditional_put,
    slot_reused_after_a_release,
    acknowledged_when_the_event_is_written,
    version_written_before_its_event,
    prev_neither_named_nor_checked,
    decision_not_made_again_after_a_lost_race,
    refusal_on_a_remembered_state,
    head_cache_trusted_for_a_write_verdict,
    reads_answered_from_the_cache,
    stamps_from_the_wall_clock,
    idempotency_key_never_looked_for,
    idempotency_key_bound_anew_at_each_use,
    idempotency_key_looked_for_in_the_newest_version_only,
    resumed_key_looked_for_one_version_too_late,
    resumed_message_looked_for_as_if_it_had_one_inbox,
    key_of_what_changes_nothing_not_bound,
    claim_found_by_its_key_taken_for_held,
    lease_judged_by_the_takers_clock,
    lease_counted_from_the_claim_not_the_renewal,
    lease_ends_early,
    token_starts_anew_at_every_claim,
    token_reset_after_a_release,
    stale_token_let_in,
    held_step_given_to_who_asks,
    fold_that_lets_a_claim_take_a_held_step,
    second_session_of_a_name_given_the_claim,
    weak_session_renews_by_claiming,
    next_step_may_be_ones_own,
    claim_of_another_session_ended_by_name,
    claim_moves_and_keeps_its_token,
    broadcasts_merged_only_by_readers,
    broadcasts_never_merged,
    broadcasts_merged_from_the_beginning_each_time,
    duplicate_broadcast_not_removed,
    inbox_in_the_order_of_the_senders_clocks,
    announcements_included_without_looking_back,
    combined_without_reading_what_came_since,
    announced_and_then_called_refused,
    broadcasts_looked_at_before_the_announcements,
    any_new_version_taken_for_ones_own,
    announced_before_the_object_is_there,
    *TRANSACTIONS,
    store_that_lets_a_second_creator_win,
    store_that_lets_a_rare_racer_win,
    store_that_remembers_an_absence,
    absent_stamp_taken_as_none,
    win_not_checked_against_the_fold,
)
# -- junk in slots --------------------------------------------------------------------------------


def nothing_asked(*_):
    return
    yield


def end_of_a_sound_version_counted(patch):
    patch.setattr(junk_module, "confirm", nothing_asked)
    patch.setattr(junk_module, "check_ended", lambda *_: None)
    patch.setattr(fold_module, "verify", lambda *_: None)
    patch.setattr(read_module, "verify", lambda *_: None)


def hash_of_junk_not_compared(patch):
    def digest(raw):
        return JUNK_SAID.get("hash", "")

    def confirm(client, version):
        JUNK_SAID["hash"] = version.voids[0]["hash"]
        return (yield from shipped(client, version))

    shipped = junk_module.confirm
    patch.setattr(junk_module, "digest", digest)
    patch.setattr(junk_module, "confirm", confirm)
    patch.setattr(junk_module, "check_ended", lambda *_: None)


JUNK_SAID = {}


def state_not_taken_from_the_newest_sound_version(patch):
    def sealed(client, chain, head, place, *more, **fields):
        older = None
        return voiding_seal(client, chain, older, place, *more, **fields)

    voiding_seal = voiding_module.seal_next
    patch.setattr(voiding_module, "seal_next", sealed)


def link_of_an_end_not_over_the_junk(patch):
    def sealed(client, chain, head, place, events, merge, *, voids):
        version = shipped(client, chain, head, place, events, merge, voids=voids)
        record = dict(version.record) | {"prev": None if head is None else head.id}
        del record["sum"]
        record["sum"] = digest(encode(record))
        return version._replace(raw=encode(record), record=record)

    shipped = voiding_module.seal_next
    patch.setattr(voiding_module, "seal_next", sealed)
    patch.setitem(records_module._PLACES, "voids", lambda record: True)


def readers_stop_at_junk(patch):
    def read_voiding(client, junk):
        raise junk
        yield

    patch.setattr(junk_module, "read_voiding", read_voiding)


def broadcasts_end_every_inbox(patch):
    def read_broadcasts(client, read=None):
        return (yield from read or read_module.read_young(client, ALL))

    for module in (append_module, combine_module, inbox_log):
        patch.setattr(module, "read_broadcasts", read_broadcasts)


def event_of_another_chain_taken(patch):
    """As it was until November 2026: whatever chains an event names, the fold takes it."""

    def misfit(event, chain):
        why = misfit_body(event.record["op"], event.record["body"])
        return None if why is None else f" has a body that is not valid: {why}"

    patch.setattr(fold_module, "misfit", misfit)


def stray_that_sorts_first_ends_a_listing(patch):
    """As it was until November 2026: the first name in a chain's folder is its newest slot."""

    def newest_slot(folder, mount=""):
        entries = yield List(f"{mount}{folder}", "", 1)
        return (slot_seq(entries[0].key) or 0) if entries else 0

    patch.setattr(read_module, "newest_slot", newest_slot)


def end_of_a_chase_told_by_counting_versions(patch):
    """As it was until November 2026: who has read few versions past junk has read all."""
    shipped = read_module.read_next

    def read_next(client, chain, known):
        news, _ = yield from shipped(client, chain, known)
        return news, len(news) > read_module.CHASE_MAX

    patch.setattr(read_module, "read_next", read_next)
    patch.setattr(combine_module, "read_next", read_next)


# The planted bugs that foreign objects bring to light in schedules, where these are frequent.
ISOLATION = (
    event_of_another_chain_taken,
    stray_that_sorts_first_ends_a_listing,
    readers_stop_at_junk,
    broadcasts_end_every_inbox,
)


def slots_that_nobody_has_read_filled(patch):
    """As it was until November 2026: each empty slot of a transaction is filled, however far."""

    def fill(client, version):
        for chain, seq in judge_module.other_slots(version):
            head = yield from read_module.read_head(client, chain)
            if head is None or head.seq < seq:
                yield from resolve_module._put_filler(client, version, chain, head)

    patch.setattr(resolve_module, "_fill", fill)


def forged_transaction_stays_open(patch):
    """As it was until November 2026: who cannot fill a slot gives up."""
    shipped = resolve_module._fill

    def fill(client, version):
        yield from shipped(client, version)
        client.verdicts.pop(judge_module.mark_of(version), None)

    patch.setattr(resolve_module, "_fill", fill)


# What random schedules seldom or never meet, and the check that must catch it.
FOCUSED = {
    idempotency_key_looked_for_in_another_head: check_keys,
    prev_unchecked: check_tampering,
    keys_not_compared_when_combining: check_repeated_announcements,
    announcements_listed_from_the_oldest: check_many_that_died,
    each_operation_for_itself: check_deaths,
    dead_transaction_waited_for_too_long: check_deaths,
    withdrawn_arrival_passes_with_the_others: check_repeated_arrivals,
    heads_trusted_by_number: check_set_back,
    set_back_never_looked_for: check_set_back,
    witness_moved_on_by_what_others_wrote: check_hidden_loss,
    store_never_tried_again: check_turned,
    trial_that_was_won_not_remembered: check_turned,
    store_tried_with_bytes_of_ones_own: check_turned,
    end_of_a_sound_version_counted: check_bytes_put_back,
    hash_of_junk_not_compared: check_bytes_put_back,
    state_not_taken_from_the_newest_sound_version: check_foreign_objects,
    link_of_an_end_not_over_the_junk: check_foreign_objects,
    end_of_a_chase_told_by_counting_versions: check_late_writers,
    slots_that_nobody_has_read_filled: check_forged_transactions,
    forged_transaction_stays_open: check_forged_transactions,
    early_stamp_of_the_version_before_believed: check_foreign_stamps,
    late_time_of_a_takeover_believed: check_foreign_stamps,
}
# Some bugs are met sooner with other work or in harder times; all clients of a schedule have those.
# A request that is silent for longer than a write is pursued leaves its outcome unknown.
DENYING = Faults(lost_after=0.2, denied=0.02)
ABSENT = Faults(absent=0.05)
SILENT = Faults(lost_before=0.1, timeout_s=12)
HARSH = Faults(lost_before=0.15, lost_after=0.2, throttled=0.1)
CROWD = {"faults": Faults(pause_s=0.02), "work": ("message",), "clients": 12, "operations": 8}
HARSH_CROWD = CROWD | {"faults": HARSH._replace(pause_s=0.02)}
TRADE = {"faults": Faults(pause_s=0.3), "work": ("txn",), "clients": 8}
MEDDLED = {"faults": Faults(foreign=0.01), "operations": 20}
OPTIONS = dict.fromkeys(TRANSACTIONS, TRADE) | dict.fromkeys(ISOLATION, MEDDLED)
OPTIONS |= {
    announcements_included_without_looking_back: CROWD,
    combined_without_reading_what_came_since: CROWD,
    announced_and_then_called_refused: HARSH_CROWD,
    broadcasts_looked_at_before_the_announcements: CROWD,
    any_new_version_taken_for_ones_own: CROWD,
    announced_before_the_object_is_there: HARSH_CROWD,
    denial_after_no_answer_taken_as_nothing_written: {"faults": DENYING},
    unknown_taken_as_refused: {"faults": SILENT},
    resumed_key_looked_for_one_version_too_late: {"faults": SILENT, "work": ("memory", "message")},
    resumed_message_looked_for_as_if_it_had_one_inbox: {"faults": SILENT, "work": ("message",)},
    claim_found_by_its_key_taken_for_held: {"work": ("step",), "faults": HARSH},
    stale_token_let_in: {"work": ("step",)},
    weak_session_renews_by_claiming: {"work": ("step",)},
    next_step_may_be_ones_own: {"work": ("step",), "faults": Faults(pause_s=0.3)},
    undecided_slots_of_ones_own_tried_elsewhere: TRADE | {"faults": SILENT},
    absent_stamp_taken_as_none: {"faults": ABSENT, "work": ("step",)},
    win_not_checked_against_the_fold: {"faults": ABSENT, "work": ("step",)},
}
TEETH = (*BY_SCHEDULES, *ISOLATION, *FOCUSED)


class Caught(NamedTuple):
    """A planted bug, by what it was caught (None: by nothing), and after how many schedules."""

    bug: str
    by: str | None
    schedules: int
    seconds: float
    violation: str


def hunt(plant, seeds_max=SEEDS_MAX):
    """Plant a bug, and run what should notice it until something does."""
    begun_s = time.perf_counter()
    with pytest.MonkeyPatch.context() as patch:
        plant(patch)
        by, schedules, violation = _noticed(plant, seeds_max)
    seconds = round(time.perf_counter() - begun_s, 2)
    return Caught(plant.__name__, by, schedules, seconds, violation)


def _noticed(plant, seeds_max):
    focused = FOCUSED.get(plant)
    if focused is not None:
        for violation in focused():
            return focused.__name__, 0, violation
        return None, 0, ""
    for seed in range(seeds_max):
        for violation in simulate(seed, **OPTIONS.get(plant, {})).violations:
            # Else the bug was not planted but another made: its own words no longer fit the code.
            assert not any(word in violation for word in MISFITS), violation
            return "schedules", seed + 1, violation
    return None, seeds_max, ""


def main():
    """Print a line of JSON for each planted bug; 1 if one was not caught."""
    missed = 0
    for plant in [plant for plant in TEETH if plant.__name__ in sys.argv] or TEETH:
        caught = hunt(plant)
        missed += caught.by is None
        print(json.dumps(caught._asdict()), flush=True)
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
