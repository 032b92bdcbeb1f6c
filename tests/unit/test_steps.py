"""Steps: one holder at a time, tokens that only grow, leases by the store's clock alone."""

import itertools
from typing import NamedTuple

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from tclog.clock import SECOND_US, hlc, stamp
from tclog.domain import steps
from tclog.domain.decision import Draft, Place, Unchanged
from tclog.domain.steps import (
    BLOCKED,
    CLAIMED,
    COMPLETE,
    EMPTY,
    FAILED,
    NEEDS_REVIEW,
    OUTCOMES,
    PENDING,
    Add,
    Claim,
    Complete,
    Note,
    Release,
    Renew,
    Reopen,
    State,
    Withdraw,
    find_cycle,
    lease_ends_us,
)
from tclog.errors import NotFound, Refused
from tclog.event import decode, encode

from .making import AGENTS, T0_US, Chain, Rules, make_event

RULES = Rules(EMPTY, steps.decide, steps.evolve, steps.pack, steps.unpack)
NOTE = {"type": "text", "value": "hi"}
LEASE_MS = 5000


def refused(decision, code):
    return isinstance(decision, Refused | NotFound) and decision.code == code


def held_by(agent="alice", lease_ms=LEASE_MS, session="session"):
    chain = Chain(RULES)
    chain.act(agent, Claim("s", agent, lease_ms), session)
    return chain


def ended(outcome, agent="alice", session="session"):
    chain = held_by(agent, session=session)
    chain.act(agent, Complete("s", agent, outcome), session)
    return chain


# -- the rules against a model --------------------------------------------------------------------


class Model(NamedTuple):
    """What the rules promise, without a chain: the holder's last store time instead of stamps."""

    state: str = PENDING
    agent: str | None = None
    fence: int | None = None
    lease_us: int = 0
    last_us: int = 0
    added_by: str | None = None
    session: str | None = None
    known: bool = False
    reopened: bool = False

    def same(self, actor, fence):
        """Whether an actor is whom the claim, or the end, stands for."""
        agent, session = actor
        if agent != self.agent:
            return False
        by_name = session.startswith("~") or (self.session or "~").startswith("~")
        return by_name or session == self.session or (fence is not None and fence == self.fence)

    def lapsed(self, now_us):
        return now_us >= self.last_us + self.lease_us + SECOND_US

    def allows(self, actor, op, body, fence, now_us):
        """Whether an event is allowed; ``now_us`` is None without the store's word for it."""
        agent, _ = actor
        if fence is not None and fence != self.fence:
            return False
        holds = self.state == CLAIMED and self.same(actor, fence)
        match op:
            case "step.add":
                return self.added_by is None
            case "step.withdraw":
                return self.added_by == agent and self.state == PENDING
            case "step.claim":
                return self.state == PENDING
            case "step.takeover":
                late = now_us is not None and self.lapsed(now_us)
                may = body.get("force", False) or late
                return self.state == CLAIMED and body["fence"] == self.fence and may
            case "step.move":
                return holds and fence is not None
            case "step.renew":
                return holds
            case "step.release":
                return holds or (self.state == CLAIMED and body.get("force", False))
            case "step.note":
                return self.known
            case "step.complete":
                may = holds or self.state == NEEDS_REVIEW or body.get("force", False)
                again = body["outcome"] == self.state and self.same(actor, fence)
                ends = self.state != COMPLETE and body["outcome"] in OUTCOMES
                return may and ends and not again
            case "step.reopen":
                return self.state not in (PENDING, CLAIMED)
        return False

    def after(self, actor, op, body, seq, stored_us, fence):
        """Apply an allowed event that the store stamped with ``stored_us``."""
        agent, session = actor
        new = self._replace(known=True)
        match op:
            case "step.add":
                new = new._replace(added_by=agent)
            case "step.withdraw":
                worked = self.fence is not None or self.reopened
                new = new._replace(added_by=None, known=worked)
            case "step.claim" | "step.takeover" | "step.move":
                new = new._replace(state=CLAIMED, agent=agent, fence=seq, session=session)
            case "step.release":
                new = new._replace(state=PENDING, agent=None, session=None)
            case "step.reopen":
                new = new._replace(
                    state=PENDING, agent=None, fence=None, session=None, reopened=True
                )
            case "step.complete":
                new = new._replace(state=body["outcome"], agent=agent, session=session)
        if "lease_ms" in body:
            new = new._replace(lease_us=body["lease_ms"] * 1000)
        if new.state == CLAIMED and new.same(actor, fence):
            return new._replace(last_us=stored_us)
        return new


# Two strong sessions of one name, and two commands of it that share a weak one.
agents = st.sampled_from(
    [
        ("alice", "s1"),
        ("alice", "s1"),
        ("alice", "s2"),
        ("alice", "~1.2.3@h"),
        *((agent, "s1") for agent in AGENTS[1:]),
    ]
)
leases_ms = st.sampled_from([100, 1000, LEASE_MS])
waits_s = st.sampled_from([0, 0, 0.1, 1, 1.1, 1.099999, 1.999999, 2, 5.999999, 6, 10])
# Which token is the true one depends on what came before; most of the others are stale.
CURRENT = "current"
fences = st.sampled_from([None, None, CURRENT, CURRENT, 1, 2, 3])

rogue_bodies = {
    "step.add": st.just({"after": ["a"], "priority": 0}),
    "step.withdraw": st.just({}),
    "step.claim": st.fixed_dictionaries({"lease_ms": leases_ms}),
    "step.takeover": st.fixed_dictionaries(
        {"lease_ms": leases_ms, "fence": fences}, optional={"force": st.booleans()}
    ),
    "step.move": st.fixed_dictionaries({"lease_ms": leases_ms}),
    "step.renew": st.fixed_dictionaries({"lease_ms": leases_ms}),
    "step.note": st.just({"note": NOTE}),
    "step.release": st.fixed_dictionaries({}, optional={"force": st.booleans()}),
    "step.complete": st.fixed_dictionaries(
        {"outcome": st.sampled_from([*OUTCOMES, PENDING, CLAIMED])},
        optional={"force": st.booleans(), "handoff": st.just({"to": "bob"})},
    ),
    "step.reopen": st.just({}),
    "step.later": st.just({"lease_ms": 1}),
}
rogues = st.one_of(
    *(st.tuples(st.just(op), body) for op, body in rogue_bodies.items()),
)
commands = st.one_of(
    st.tuples(st.just(Add), st.just(("title", 3, ("a",)))),
    st.tuples(st.just(Withdraw), st.just(())),
    st.tuples(st.just(Claim), st.tuples(leases_ms)),
    st.tuples(st.just(Claim), st.tuples(leases_ms)),
    st.tuples(st.just(Claim), st.tuples(leases_ms, fences, st.sampled_from([None, None, "why"]))),
    st.tuples(st.just(Renew), st.tuples(st.none() | leases_ms, fences)),
    st.tuples(st.just(Note), st.tuples(fences)),
    st.tuples(st.just(Release), st.tuples(fences, st.booleans())),
    st.tuples(st.just(Complete), st.tuples(st.sampled_from(OUTCOMES), fences, st.booleans())),
    st.tuples(st.just(Reopen), st.just(())),
)
histories = st.lists(
    st.tuples(agents, waits_s, waits_s, commands, st.none())
    | st.tuples(agents, waits_s, waits_s, rogues, st.tuples(st.booleans(), fences)),
    max_size=15,
)


def resolved(value, model):
    return model.fence if value == CURRENT else value


def made(kind, actor, arguments):
    agent, session = actor
    if kind is Note:
        return Note("s", NOTE, *arguments)
    if kind is Reopen:
        return Reopen("s")
    if kind in (Add, Withdraw):
        return kind("s", agent, *arguments)
    if kind is Claim and len(arguments) > 1:
        lease_ms, fence, why = arguments
        return Claim("s", agent, lease_ms, session=session, fence=fence, steal=why)
    if kind is Release:
        fence, force = arguments
        return Release("s", agent, fence, session, force, "why" if force else None)
    return kind("s", agent, *arguments)._replace(session=session)


def wanted(command, model, actor):
    """Return the event that a command stands for in the model's state, and its fence."""
    match command:
        case Claim(_, _, lease_ms, fence=int(fence)):
            return "step.move", {"lease_ms": lease_ms}, fence
        case Add(_, _, title, priority, after):
            return "step.add", {"title": title, "priority": priority, "after": list(after)}, None
        case Withdraw():
            return "step.withdraw", {}, None
        case Claim(_, _, lease_ms):
            if model.state != CLAIMED:
                return "step.claim", {"lease_ms": lease_ms}, None
            if (model.agent, model.session) == actor and not actor[1].startswith("~"):
                return "step.renew", {"lease_ms": lease_ms}, None
            force = {"force": True, "reason": "why"} if command.steal else {}
            return "step.takeover", {"lease_ms": lease_ms, "fence": model.fence, **force}, None
        case Renew(_, _, lease_ms, fence):
            return "step.renew", {"lease_ms": lease_ms or model.lease_us // 1000}, fence
        case Note(_, _, fence):
            return "step.note", {"note": NOTE}, fence
        case Release(_, _, fence, _, force):
            return "step.release", {"force": True, "reason": "why"} if force else {}, fence
        case Complete(_, _, outcome, fence, force):
            return "step.complete", {"outcome": outcome, "force": force}, fence
    return "step.reopen", {}, None


@settings(max_examples=200)
@given(histories)
def test_any_history_folds_to_what_the_rules_promise(history):
    chain, model = Chain(RULES), Model()
    for actor, before_s, between_s, what, rogue in history:
        agent, session = actor
        chain.wait(before_s)
        if rogue is None:
            command = made(what[0], actor, [resolved(value, model) for value in what[1]])
            decision = decided(chain, model, actor, command)
            if decision is None:
                continue
            op, body, judged = decision.op, decision.body, decision.judged
            fence = None if decision.expect is None else decision.expect["fence"]
        else:
            (op, body), (judged, fence) = what, rogue
            body = {name: resolved(value, model) for name, value in body.items()}
            fence = resolved(fence, model)
        allowed = model.allows(actor, op, body, fence, chain.us if judged else None)
        before, was = chain.state, model
        # The writer learns the time of its event's object; the slot is created later.
        place = chain.place(judged=judged)
        chain.wait(between_s)
        expect = None if fence is None else {"fence": fence}
        chain.commit(agent, op, body, expect=expect, place=place, session=session)
        if allowed:
            model = model.after(actor, op, body, chain.seq, chain.us, fence)
        else:
            # It may only have put on record when the version before it was stored.
            assert chain.state._replace(lease_from=before.lease_from) == before
        check(chain, model, was, op)


def decided(chain, model, actor, command):
    """Return the draft of an allowed command; decide says yes exactly where evolve would."""
    op, body, fence = wanted(command, model, actor)
    allowed = model.allows(actor, op, body, fence, chain.us)
    if isinstance(command, Complete | Renew | Release):
        allowed = allowed and model.known
    decision = chain.decide(command)
    if isinstance(command, Complete) and fence in (None, model.fence) and model.known:
        same = model.state == command.outcome and model.same(actor, fence)
        assert isinstance(decision, Unchanged) == same
        allowed = allowed and not same
        if same:
            draft = decision.draft
            binds = make_event(
                draft.op, draft.body, agent=actor[0], session=actor[1], expect=draft.expect
            )
            after = RULES.evolve(chain.state, binds, chain.place())
            assert after == chain.state, "what binds a key is ignored"
    assert isinstance(decision, Draft) == allowed
    if not allowed:
        return None
    assert (decision.op, decision.judged) == (op, op == "step.takeover" and "force" not in body)
    assert {**body, **decision.body} == {**decision.body, **body}
    assert decision.expect == (None if fence is None else {"fence": fence})
    return decision


def check(chain, model, was, op):
    state = chain.state
    assert (state.state, state.agent, state.fence) == (model.state, model.agent, model.fence)
    assert (state.added, state.added_by) == (model.added_by is not None, model.added_by)
    if op == "step.reopen" and was.state != state.state:
        assert state.fence is None
    elif state.fence != was.fence:
        # Tokens only grow, and a token is the number of the version that granted it.
        assert op in ("step.claim", "step.takeover", "step.move")
        assert state.fence == chain.seq > (was.fence or 0)
    assert (state.session, steps.is_known(state)) == (model.session, model.known)
    if state.state != CLAIMED:
        # What nobody holds has no lease that anybody could mistake for one.
        assert (state.lease_ms, state.held_version, state.lease_from) == (0, 0, None)
    else:
        assert state.lease_ms * 1000 == model.lease_us
        ends_us = lease_ends_us(state, chain.seq, chain.stored, "")
        assert ends_us == model.last_us + model.lease_us
        # A holder changes only by a token that proves it, through a takeover, or by way of a
        # state that nobody holds.
        moved = (was.agent, was.session) != (state.agent, state.session)
        assert was.state != CLAIMED or not moved or op in ("step.takeover", "step.move")


# -- leases ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("writes", [[], ["note"], ["note", "note"]])
def test_a_lease_can_be_taken_over_one_second_after_its_end_and_not_a_microsecond_sooner(writes):
    chain = held_by("alice")
    for _ in writes:
        chain.wait(0.3)
        chain.act("carol", Note("s", NOTE))  # another's note does not renew the lease
    chain.us = T0_US + LEASE_MS * 1000 + SECOND_US - 1
    decision = chain.act("bob", Claim("s", "bob", 100))
    assert refused(decision, "step-held")
    assert (decision.details["holder"], decision.details["session"]) == ("alice", "session")
    assert "fence" not in decision.details
    assert decision.details["lease_until"] == stamp(T0_US + LEASE_MS * 1000)
    assert decision.details["lease_left_s"] == 0.000001
    chain.wait(0.000001)
    assert isinstance(chain.act("bob", Claim("s", "bob", 100)), Draft)
    assert (chain.state.agent, chain.state.fence, chain.state.lease_ms) == ("bob", chain.seq, 100)


@given(st.integers(0, 3 * SECOND_US), st.integers(0, 3000), st.integers(0, 9 * SECOND_US))
@example(SECOND_US - 1, 100, SECOND_US)
def test_no_takeover_is_early_even_if_the_store_stamps_in_whole_seconds(held, lease_ms, later):
    def coarse(us):
        return stamp((T0_US + us) // SECOND_US * SECOND_US)

    state = held_by("alice", lease_ms).state
    place = Place(2, prev_stored=coarse(held), now=coarse(held + later))
    if isinstance(RULES.decide(state, Claim("s", "bob", 100), place), Draft):
        assert later >= lease_ms * 1000


@pytest.mark.parametrize("word", ["renew", "note", "claim", "add"])
def test_whatever_the_holder_writes_about_its_step_renews_the_lease(word):
    chain = held_by("alice")
    chain.wait(4)
    chain.act(
        "alice",
        {
            "renew": Renew("s", "alice"),
            "note": Note("s", NOTE),
            "claim": Claim("s", "alice", LEASE_MS, session="session"),
            "add": Add("s", "alice"),
        }[word],
    )
    assert chain.state.fence == 1
    chain.wait(5.999999)
    assert refused(chain.act("bob", Claim("s", "bob", 100)), "step-held")
    chain.wait(0.000001)
    assert isinstance(chain.act("bob", Claim("s", "bob", 100)), Draft)


def takeover(fence=1, agent="bob"):
    return make_event(
        "step.takeover", {"fence": fence, "from": "alice", "lease_ms": 1}, agent=agent
    )


@pytest.mark.parametrize(
    ("event", "changes", "granted"),
    [
        (takeover(), {}, True),
        (takeover(), {"now": None}, False),
        (takeover(), {"prev_stored": None}, False),
        (takeover(), {"now": stamp(T0_US + LEASE_MS * 1000 + SECOND_US - 1)}, False),
        (takeover(fence=2), {}, False),
        # Also from another session of the holder's name, or the same one.
        (takeover(agent="alice"), {}, True),
    ],
)
def test_a_takeover_counts_only_with_both_stamps_the_right_token_and_enough_time(
    event, changes, granted
):
    chain = held_by("alice")
    now = stamp(T0_US + LEASE_MS * 1000 + SECOND_US)
    place = Place(2, prev_stored=chain.stored, now=now)._replace(**changes)
    after = RULES.evolve(chain.state, event, place)
    assert after.agent == (event.agent if granted else "alice")
    assert after.fence == (2 if granted else 1)


def test_nobody_takes_over_while_the_time_of_the_holders_last_version_is_not_known():
    chain = held_by("alice")
    place = Place(2, prev_stored=None, now=stamp(T0_US + 10**12))
    assert refused(RULES.decide(chain.state, Claim("s", "bob", 100), place), "step-held")
    assert lease_ends_us(chain.state, 1, None, "") is None
    assert lease_ends_us(chain.state, 2, stamp(T0_US), "") is None


def test_a_lease_begins_with_its_own_version_and_not_with_the_one_before():
    at = Place(5, prev_stored=stamp(T0_US - 10**12), now=stamp(T0_US))
    claimed = RULES.evolve(EMPTY, make_event("step.claim", {"lease_ms": 100}), at)
    for event in (make_event("step.note", {"note": NOTE}, agent="bob"), takeover(fence=5)):
        state = RULES.evolve(claimed, event, at._replace(index=1))
        assert (state.agent, state.lease_from) == ("alice", None)


def test_a_claim_that_may_not_take_over_is_refused_without_asking_for_the_time():
    chain = held_by("alice")
    claim = Claim("s", "bob", 100, takeover=False)
    decision = RULES.decide(chain.state, claim, chain.place())
    assert refused(decision, "step-held")
    assert decision.details["lease_until"] is None


AT = hlc(T0_US, 0)
MINUTES_US = 120 * SECOND_US


@pytest.mark.parametrize(
    ("early_us", "counts"), [(0, True), (MINUTES_US, True), (MINUTES_US + 1, False)]
)
def test_a_takeover_whose_time_is_far_after_its_versions_own_is_void(early_us, counts):
    chain = held_by("alice")
    now_us = T0_US + LEASE_MS * 1000 + SECOND_US
    place = Place(2, prev_stored=chain.stored, now=stamp(now_us), at=hlc(now_us - early_us, 0))
    assert (RULES.evolve(chain.state, takeover(), place).agent == "bob") == counts
    decision = RULES.decide(chain.state, Claim("s", "bob", 100), place)
    assert isinstance(decision, Draft) if counts else refused(decision, "clock-skewed")
    # By force no clock takes part.
    forced = make_event(
        "step.takeover", {"fence": 1, "from": "alice", "lease_ms": 1, "force": True}, agent="bob"
    )
    assert RULES.evolve(chain.state, forced, place).agent == "bob"


@pytest.mark.parametrize("early_us", [0, MINUTES_US, MINUTES_US + 1, 3600 * SECOND_US])
def test_a_stamp_long_before_the_time_of_its_version_is_not_believed(early_us):
    """A note with a stamp that is an hour early ended a live lease."""
    state = held_by("alice").state
    early = stamp(T0_US - early_us)
    since_us = T0_US - min(early_us, MINUTES_US)
    ends_us = since_us + LEASE_MS * 1000
    assert lease_ends_us(state, 1, early, AT) == ends_us
    note = make_event("step.note", {"note": NOTE}, agent="mallory")
    after = RULES.evolve(state, note, Place(2, prev_stored=early, before_at=AT))
    assert after.lease_from == stamp(since_us)
    for now_us, counts in ((ends_us + SECOND_US - 1, False), (ends_us + SECOND_US, True)):
        place = Place(2, prev_stored=early, now=stamp(now_us), before_at=AT, at=hlc(now_us, 0))
        assert (RULES.evolve(state, takeover(), place).agent == "bob") == counts
        assert isinstance(RULES.decide(state, Claim("s", "bob", 9), place), Draft) == counts


# -- who may do what ------------------------------------------------------------------------------


def test_who_lost_a_claim_can_do_nothing_with_its_old_token():
    chain = held_by("alice")
    chain.wait(6)
    chain.act("bob", Claim("s", "bob", LEASE_MS))
    lost = chain.state
    for command, op, body in (
        (Complete("s", "alice", fence=1), "step.complete", {"outcome": COMPLETE}),
        (Complete("s", "alice", fence=1, force=True), "step.complete", {"outcome": COMPLETE}),
        (Renew("s", "alice", fence=1), "step.renew", {"lease_ms": 1}),
        (Release("s", "alice", fence=1), "step.release", {}),
    ):
        decision = chain.act("alice", command)
        assert refused(decision, "stale-fence")
        assert decision.details == {"holder": "bob", "session": "session"}
        assert "2" not in decision.message
        chain.commit("alice", op, {**body, "force": True}, expect={"fence": 1})
    for command in (Complete("s", "alice"), Renew("s", "alice"), Release("s", "alice")):
        assert refused(chain.act("alice", command), "not-yours")
    assert chain.state._replace(lease_from=None) == lost


def test_an_event_says_under_which_token_it_was_made():
    chain = held_by("alice")
    for command in (Renew("s", "alice", fence=1), Release("s", "alice", fence=1)):
        assert chain.decide(command).expect == {"fence": 1}
    assert chain.decide(Complete("s", "alice", fence=1)).expect == {"fence": 1}
    assert chain.decide(Complete("s", "alice")).expect is None


def test_a_step_of_somebody_else_is_completed_only_by_force():
    chain = held_by("alice")
    assert refused(chain.act("bob", Complete("s", "bob")), "not-yours")
    decision = chain.act("bob", Complete("s", "bob", force=True, reason="alice is gone"))
    assert decision.body == {"outcome": COMPLETE, "force": True, "reason": "alice is gone"}
    assert (chain.state.state, chain.state.agent) == (COMPLETE, "bob")


@pytest.mark.parametrize("outcome", OUTCOMES)
def test_only_what_waits_for_review_is_completed_by_somebody_who_does_not_hold_it(outcome):
    chain = ended(outcome)
    decision = chain.act("bob", Complete("s", "bob"))
    if outcome == NEEDS_REVIEW:
        assert (chain.state.state, chain.state.agent) == (COMPLETE, "bob")
    else:
        assert refused(decision, "step-complete" if outcome == COMPLETE else "step-not-claimed")


@pytest.mark.parametrize("outcome", OUTCOMES)
def test_an_ended_step_is_claimed_again_only_after_it_was_reopened(outcome):
    chain = ended(outcome)
    code = "step-complete" if outcome == COMPLETE else "step-blocked"
    assert refused(chain.act("bob", Claim("s", "bob", LEASE_MS)), code)
    assert isinstance(chain.act("bob", Reopen("s")), Draft)
    assert isinstance(chain.act("bob", Reopen("s")), Unchanged)
    chain.act("bob", Claim("s", "bob", LEASE_MS))
    assert (chain.state.agent, chain.state.fence) == ("bob", 4)
    assert refused(chain.act("alice", Reopen("s")), "step-held")


def test_completing_twice_changes_nothing():
    assert isinstance(ended(FAILED).act("alice", Complete("s", "alice", FAILED)), Unchanged)
    assert isinstance(ended(COMPLETE).act("alice", Complete("s", "alice", fence=1)), Unchanged)


@pytest.mark.parametrize("outcome", ["done", CLAIMED, PENDING, ""])
def test_an_unknown_outcome_folds_to_nothing(outcome):
    chain = held_by("alice")
    before = chain.state
    for agent in ("alice", "bob"):
        chain.commit(agent, "step.complete", {"outcome": outcome, "force": True})
    assert chain.state._replace(lease_from=None) == before


@pytest.mark.parametrize("command", [Renew("s", "alice"), Release("s", "alice")])
def test_what_nobody_holds_is_neither_renewed_nor_released(command):
    assert refused(Chain(RULES).act("alice", command), "step-missing")
    added = Chain(RULES)
    added.act("alice", Add("s", "alice"))
    for chain in (added, ended(BLOCKED)):
        assert refused(chain.act("alice", command), "step-not-claimed")


def test_a_step_that_waits_is_not_claimed_and_the_hint_names_what_it_waits_for():
    claim = Claim("s", "bob", 100, waiting=("a b (claimed by carol)", "c (pending)"))
    decision = Chain(RULES).act("bob", claim)
    assert refused(decision, "step-waiting")
    assert decision.hint == "tclog wait-for 'a b' c"


def test_a_claim_tells_what_its_verdict_on_the_dependencies_rests_on():
    chain = Chain(RULES)
    assert chain.act("bob", Claim("s", "bob", 100, seen={"a": 3})).body == {
        "lease_ms": 100,
        "seen": {"a": 3},
    }


def test_an_event_holds_only_what_was_said():
    chain = Chain(RULES)
    assert chain.act("bob", Add("s", "bob")).body == {"after": [], "priority": 0}
    assert chain.act("bob", Claim("s", "bob", 100)).body == {"lease_ms": 100}
    assert chain.act("bob", Complete("s", "bob")).body == {"outcome": COMPLETE}


# -- sessions ------------------------------------------------------------------------------------

WEAK_SESSIONS = ["~1.2.3@host", "pid-7", "ppid-7"]


def claim_by(session, **more):
    return Claim("s", "alice", 100, session=session, **more)


def test_a_second_session_of_a_name_is_refused_and_told_which_one_holds_the_step():
    chain = held_by(session="s1")
    chain.wait(2)
    decision = chain.act("alice", claim_by("s2"), "s2")
    assert refused(decision, "step-held")
    assert decision.hint == "tclog claim s --wait"
    assert "claimed by alice in session s1 until" in decision.message
    assert decision.message.endswith("; that session last wrote 2 s ago")
    assert decision.details["session"] == "s1"
    assert decision.details["age_s"] == 2
    chain.wait(-9)  # the store's clock is set back
    decision = chain.act("alice", claim_by("s2"), "s2")
    assert decision.details["age_s"] == 0
    chain.wait(9 + 4)
    # After the end of its lease it is anybody's, also another session's of the same name.
    assert chain.act("alice", claim_by("s2"), "s2").op == "step.takeover"
    assert (chain.state.session, chain.state.fence) == ("s2", 2)


def test_a_strong_session_that_claims_what_it_holds_renews_it():
    chain = held_by(session="s1")
    assert chain.act("alice", claim_by("s1"), "s1").op == "step.renew"
    assert (chain.state.fence, chain.state.lease_ms) == (1, 100)
    # But not where it asks for any step.
    assert refused(chain.decide(claim_by("s1", renews=False)), "step-held")


@pytest.mark.parametrize("holder", [*WEAK_SESSIONS, "s1"])
@pytest.mark.parametrize("session", [*WEAK_SESSIONS, None])
def test_a_weak_session_never_renews_by_claiming_but_by_name(holder, session):
    chain = held_by(session=holder)
    decision = chain.decide(claim_by(session))
    assert refused(decision, "step-held")
    assert decision.hint == "tclog renew s"
    assert isinstance(chain.decide(Renew("s", "alice", session=session)), Draft)
    assert isinstance(chain.decide(Complete("s", "alice", session=session)), Draft)
    assert isinstance(chain.decide(Release("s", "alice", session=session)), Draft)


def by_session(session, fence=None):
    return (
        (Renew("s", "alice", None, fence, session), "step.renew", {"lease_ms": 1}),
        (Release("s", "alice", fence, session), "step.release", {}),
        (
            Complete("s", "alice", fence=fence, session=session),
            "step.complete",
            {"outcome": COMPLETE},
        ),
    )


def test_what_one_strong_session_holds_another_one_neither_renews_nor_ends():
    for command, op, body in by_session("s2"):
        chain = held_by(session="s1")
        before = chain.state
        decision = chain.act("alice", command, "s2")
        assert refused(decision, "not-yours")
        assert "in session s1" in decision.message
        chain.commit("alice", op, body, session="s2")
        assert chain.state._replace(lease_from=None) == before


def test_the_token_proves_the_claim_from_any_session_of_the_name_and_does_not_move_it():
    for command, op, _ in (*by_session("s2", 1), (Note("s", NOTE, 1), "step.note", {})):
        chain = held_by(session="s1")
        chain.wait(1)
        assert chain.act("alice", command, "s2").op == op
        if chain.state.state == CLAIMED:
            assert (chain.state.session, chain.state.fence) == ("s1", 1)
            assert chain.state.held_version == 2
        other = held_by(session="s1")
        assert other.decide(command._replace(fence=2)).code == "stale-fence"


def test_a_note_of_another_strong_session_does_not_renew_the_lease():
    for session, renews in (("s1", True), ("s2", False), ("~1.2.3@h", True)):
        chain = held_by(session="s1")
        chain.act("alice", Note("s", NOTE), session)
        assert (chain.state.held_version == 2) == renews
        assert chain.state.note_version == 2


def test_a_claim_moves_by_its_token_which_is_stale_then():
    chain = held_by(session="s1")
    move = claim_by("s2", fence=1)
    assert refused(chain.decide(move._replace(agent="bob")), "not-yours")
    assert refused(chain.decide(move._replace(fence=2)), "stale-fence")
    decision = chain.act("alice", move, "s2")
    assert (decision.op, decision.expect) == ("step.move", {"fence": 1})
    assert (chain.state.session, chain.state.fence, chain.state.lease_ms) == ("s2", 2, 100)
    for command, _, _ in by_session("s1", 1):
        assert refused(chain.decide(command), "stale-fence")
    for command, _, _ in by_session("s1"):
        assert refused(chain.decide(command), "not-yours")
    # Without a token in the event it is none.
    chain.commit("alice", "step.move", {"lease_ms": 1}, session="s2")
    assert chain.state.fence == 2


def test_what_a_session_holds_moves_to_one_below_it_once():
    chain = held_by(session="s1")
    first, second = (claim_by(f"s1/x-{n}", renews=False, parent="s1") for n in "12")
    assert chain.act("alice", first, "s1/x-1").op == "step.move"
    assert refused(chain.decide(second), "step-held")
    assert refused(
        held_by(session="~1.2.3@h").decide(second._replace(parent="~1.2.3@h")), "step-held"
    )


def test_a_claim_is_stolen_or_given_back_by_force_with_a_reason_in_the_log():
    chain = held_by(session="s1")
    steal = Claim("s", "bob", 100, session="b", steal="gone")
    decision = chain.act("bob", steal, "b")
    assert decision.op == "step.takeover"
    assert decision.body["force"] is True
    assert decision.body["reason"] == "gone"
    assert (chain.state.agent, chain.state.fence) == ("bob", 2)
    release = Release("s", "alice", session="s1", force=True, reason="wrong one")
    assert chain.act("alice", release, "s1").body == {"force": True, "reason": "wrong one"}
    assert chain.state.state == PENDING
    assert refused(chain.decide(release), "step-not-claimed")


def test_the_end_of_one_strong_session_is_not_taken_for_that_of_another():
    chain = ended(COMPLETE, session="s1")
    complete = Complete("s", "alice", session="s2")
    assert refused(chain.decide(complete), "step-complete")
    assert isinstance(chain.decide(complete._replace(session="s1")), Unchanged)
    assert isinstance(chain.decide(complete._replace(fence=1)), Unchanged)


def test_what_is_in_review_is_not_ended_so_again_by_who_ended_it_so():
    chain = held_by(session="s1")
    chain.act("alice", Complete("s", "alice", NEEDS_REVIEW, handoff={"to": "bob"}), "s1")
    body = {"outcome": NEEDS_REVIEW}
    chain.commit("alice", "step.complete", body, session="s1")
    assert chain.state.handoff_version == 2


def test_a_step_that_nobody_added_stays_one_when_it_is_opened_again():
    chain = ended(FAILED)
    chain.act("bob", Reopen("s"))
    assert chain.state == State(reopened_version=3)
    assert steps.is_known(chain.state)
    assert isinstance(chain.decide(Note("s", NOTE)), Draft)


def test_a_note_on_a_step_that_nobody_knows_is_refused_and_ignored():
    chain = Chain(RULES)
    assert refused(chain.act("alice", Note("s", NOTE)), "step-missing")
    chain.commit("alice", "step.note", {"note": NOTE})
    assert chain.state == EMPTY


# -- definitions, notes, hand-offs ----------------------------------------------------------------


def test_a_step_is_defined_once_and_only_by_its_first_author_withdrawn():
    chain = Chain(RULES)
    add = Add("s", "alice", "title", 5, ("a", "b"))
    chain.act("alice", add)
    assert isinstance(chain.act("bob", add._replace(agent="bob")), Unchanged)
    for other in (add._replace(title="x"), add._replace(priority=1), add._replace(after=("a",))):
        assert refused(chain.act("bob", other), "step-exists")
    chain.commit("bob", "step.add", {"after": [], "priority": 9})
    assert isinstance(chain.act("bob", Withdraw("s", "bob")), Unchanged)
    state = chain.state
    assert (state.title, state.priority, state.after) == ("title", 5, ("a", "b"))
    assert state.added_at == "2026-11-23T15:42:05.512345Z-0000"
    chain.act("alice", Withdraw("s", "alice"))
    assert chain.state == EMPTY


def test_the_state_says_where_the_last_note_and_hand_off_are():
    chain = held_by("alice")
    chain.act("bob", Note("s", NOTE))
    chain.act("alice", Complete("s", "alice", handoff={"to": "bob"}))
    assert (chain.state.note_version, chain.state.handoff_version) == (2, 3)
    chain.act("bob", Reopen("s"))
    chain.act("bob", Note("s", NOTE))
    chain.act("bob", Complete("s", "bob", force=True))
    assert (chain.state.note_version, chain.state.handoff_version) == (5, 0)


def test_the_packed_state_holds_only_what_differs_from_an_empty_step():
    assert RULES.pack(EMPTY, ()) == {}
    assert RULES.unpack({}, ()) == (
        *(PENDING, None, None, None, 0, 0, None),
        *(False, None, None, None, 0, (), 0, 0, 0),
    )
    assert decode(encode(RULES.pack(held_by("alice").state, ())), "state") == {
        "agent": "alice",
        "fence": 1,
        "held_version": 1,
        "lease_ms": LEASE_MS,
        "session": "session",
        "state": CLAIMED,
    }
    assert RULES.unpack({"state": CLAIMED, "later": 1}, ()) == State(state=CLAIMED)


# -- dependencies ---------------------------------------------------------------------------------

graphs = st.dictionaries(st.sampled_from("abcde"), st.lists(st.sampled_from("abcdef"), max_size=3))


@given(graphs)
@example({"a": ["a"]})
@example({"a": ["b"], "b": ["b"]})
def test_a_cycle_is_found_exactly_if_a_step_comes_after_itself(graph):
    reached = set(graph.get("a", ()))
    for _ in range(len("abcdef")):
        reached |= {name for at in reached for name in graph.get(at, ())}
    cycle = find_cycle("a", graph)
    assert (cycle is not None) == ("a" in reached)
    if cycle is not None:
        assert cycle[0] == cycle[-1] == "a"
        assert len(cycle) > 1
        assert all(later in graph[at] for at, later in itertools.pairwise(cycle))
        assert "a" not in cycle[1:-1]
