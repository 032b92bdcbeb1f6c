"""Memory: no update is lost that its author asked to have protected, and no operation at all."""

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from tclog.domain import memory
from tclog.domain.content import INLINE_BYTES_MAX, content_blobs, make_content
from tclog.domain.decision import Draft, Place, Unchanged
from tclog.domain.memory import (
    Append,
    Delete,
    Incr,
    Set,
    State,
    blobs_of,
    check_value,
)
from tclog.errors import BadValue, Refused
from tclog.event import encode

from .making import Chain, Rules, exactly, json_values, make_event
from .test_content import pieces, read, stored

RULES = Rules(memory.EMPTY, memory.decide, memory.evolve, memory.pack, memory.unpack)


def text(value):
    return make_content("text", value)[0]


def json(value):
    return make_content("json", value)[0]


def refused(decision, code):
    return isinstance(decision, Refused) and decision.code == code


class Key(Chain):
    """A key with the blobs that its writers stored, as a reader sees it."""

    def __init__(self, first=None):
        super().__init__(RULES)
        self.blobs = {}
        if first is not None:
            self.act("alice", Set(first))

    def commit(self, agent, op, body, **rest):
        self.blobs |= stored(blobs_of(self.state, make_event(op, body)))
        return super().commit(agent, op, body, **rest)

    @property
    def value(self):
        content = self.state.content
        return None if content is None else (content["type"], read(content, self.blobs))


# -- expectations ---------------------------------------------------------------------------------

expectations = st.none() | st.integers(0, 4)


@given(
    st.lists(
        st.tuples(st.sampled_from(["set", "delete", "incr"]), expectations, st.booleans()),
        max_size=8,
    )
)
def test_a_guarded_write_happens_only_where_its_expectation_holds(writes):
    key = Key()
    value = None
    for nth, (word, if_version, rogue) in enumerate(writes):
        expected = None if word == "incr" else if_version
        holds = expected is None or (value is None if expected == 0 else expected == key.seq)
        if word == "incr":
            command, op, body, after = Incr(1), "memory.incr", {"by": 1}, (value or 0) + 1
        elif word == "set":
            command = Set(json(nth), expected)
            op, body, after = "memory.set", json(nth), nth
        else:
            command, op, body, after = Delete(expected), "memory.delete", {}, None
        if rogue:
            expect = None if expected is None else {"version": expected}
            key.commit("mallory", op, body, expect=expect)
        else:
            decision = key.act("alice", command)
            if not holds:
                assert refused(decision, "version-conflict")
            elif word == "delete" and value is None:
                assert isinstance(decision, Unchanged)
            else:
                # The event says what it was made under, so that every fold can check it.
                assert decision.expect == (None if expected is None else {"version": expected})
        value = after if holds else value
        assert key.value == (None if value is None else ("json", value))


def test_version_zero_means_no_value_also_after_a_delete():
    key = Key(text("a"))
    assert refused(key.act("bob", Set(text("b"), 0)), "version-conflict")
    key.act("alice", Delete())
    assert isinstance(key.act("bob", Set(text("b"), 0)), Draft)
    assert key.value == ("text", "b")
    assert refused(key.act("bob", Set(text("c"), 0)), "version-conflict")


def test_an_expectation_is_about_the_version_before_and_not_about_events_beside_it():
    event = make_event("memory.set", text("b"), expect={"version": 4})
    assert memory.evolve(State(text("a")), event, Place(5)).content == text("b")
    assert memory.evolve(State(text("a")), event, Place(5, index=1)).content == text("a")


def test_deleting_what_is_not_there_writes_nothing():
    assert isinstance(Key().act("alice", Delete()), Unchanged)
    assert isinstance(Key().act("alice", Delete(0)), Unchanged)
    assert refused(Key().act("alice", Delete(1)), "version-conflict")


# -- increments -----------------------------------------------------------------------------------


INTEGER_MAX = 2**63 - 1


@given(st.integers(-INTEGER_MAX, INTEGER_MAX), st.lists(st.integers(-INTEGER_MAX, INTEGER_MAX)))
@example(INTEGER_MAX, [1, -1])
@example(0, [INTEGER_MAX, -INTEGER_MAX, -INTEGER_MAX, -1])
@example(-INTEGER_MAX, [-1, INTEGER_MAX, INTEGER_MAX, 1])
def test_increments_add_up_and_never_pass_64_bits(first, steps):
    key, total = Key(json(first)), first
    for by in steps:
        decision = key.act("alice", Incr(by))
        if abs(total + by) > INTEGER_MAX:
            assert refused(decision, "integer-overflow")
            key.commit("mallory", "memory.incr", {"by": by})
        else:
            total += by
        assert key.value == ("json", total)


@pytest.mark.parametrize(
    ("content", "total"),
    [
        (None, 1),
        (text("41"), 42),
        (text("-41"), -40),
        (text("+41"), 42),
        (text(" 41\n"), 42),
        (text("\t\v\f\r41"), 42),
        (text("0041"), 42),
        (json(41), 42),
        (text("9223372036854775806"), 9_223_372_036_854_775_807),
    ],
)
def test_an_absent_key_and_an_integer_as_text_count_too(content, total):
    key = Key(content)
    assert isinstance(key.act("alice", Incr(1)), Draft)
    assert key.value == ("json", total)


@pytest.mark.parametrize(
    "content",
    [
        text(""),
        text("a"),
        text("1.0"),
        text("1 2"),
        text("--1"),
        text("\u0661"),
        # What Unicode, or only Python, calls white space is none here.
        text("\u00a01"),
        text("1\u2003"),
        text("\u00851"),
        text("\x1c1"),
        text("1" * 20),
        json(1.0),
        json(True),
        json("1"),
        json([1]),
        json(None),
        text("1" * 20_000),
        {"type": "text", "parts": [{"blob": "0" * 64, "size": 16_385}], "value": "1"},
    ],
    ids=lambda content: str(content)[:60],
)
def test_what_is_no_integer_is_not_incremented_by_anybody(content):
    key = Key(content)
    assert refused(key.act("alice", Incr(1)), "not-an-integer")
    key.commit("mallory", "memory.incr", {"by": 1})
    assert exactly(key.state.content) == exactly(content)


# -- appends --------------------------------------------------------------------------------------


@given(
    st.none() | pieces,
    st.lists(st.tuples(pieces, st.sampled_from(["", "\n"])), max_size=8),
    st.booleans(),
)
@example("a" * INLINE_BYTES_MAX, [("b", "\n"), ("c", "\n")], True)
def test_appended_text_is_exact_at_any_length_and_the_state_stays_small(
    first, appended, interleave
):
    key, expected = Key(), ""
    if first is not None:
        content, blobs = make_content("text", first)
        key.blobs |= stored(blobs)
        key.act("alice", Set(content))
        expected = first
    for piece, separator in appended:
        added, blobs = make_content("text", piece)
        key.blobs |= stored(blobs)
        # No second separator, where the end of the value does not stand in a blob.
        tail = "" if key.state.content is None else key.state.content.get("value", "")
        between = "" if piece and tail.endswith(separator) else separator
        assert isinstance(key.act("bob", Append(added, separator)), Draft)
        if interleave:
            key.commit("mallory", "memory.incr", {"by": 1}, expect={"version": 0})
        expected = expected + between + piece if expected else piece
        assert key.value == ("text", expected)
        state = memory.pack(key.state, ())["content"]
        parts = content_blobs(state)
        assert len(state.get("value", "").encode()) <= INLINE_BYTES_MAX
        assert len(encode(state | {"value": ""})) < 100 + 100 * len(parts)


def test_a_text_is_not_appended_to_for_ever():
    full = {"type": "text", "blob": "0" * 64, "size": 64 * 1024 * 1024}
    key = Key(full)
    assert isinstance(key.act("alice", Append(text("a"), "")), Draft)
    grown = key.state
    assert refused(key.act("alice", Append(text("b"), "")), "value-too-large")
    key.commit("mallory", "memory.append", {"separator": "", "added": text("b")})
    assert key.state == grown


def test_an_element_is_appended_to_a_json_array_while_that_is_small():
    key = Key(json([1, True]))
    key.act("alice", Append(text("x")))
    assert exactly(key.value) == exactly(("json", [1, True, "x"]))
    nearly = ["a" * (INLINE_BYTES_MAX - 8)]
    key.act("alice", Set(json(nearly)))
    assert isinstance(key.act("alice", Append(text("b"))), Draft)
    assert refused(key.act("alice", Append(text("c"))), "value-too-large")
    key.commit("mallory", "memory.append", {"separator": "", "added": text("c")})
    assert key.value == ("json", [*nearly, "b"])
    assert key.blobs == {}


@pytest.mark.parametrize(
    "content", [json(1), json("a"), json({}), json(None), json(["a" * 20_000])]
)
def test_what_is_neither_text_nor_a_small_array_is_not_appended_to_by_anybody(content):
    key = Key(content)
    assert refused(key.act("alice", Append(text("a"))), "not-appendable")
    key.commit("mallory", "memory.append", {"separator": "", "added": text("a")})
    assert key.state.content == content


# -- values ---------------------------------------------------------------------------------------


@given(json_values, st.lists(json_values, max_size=3))
@example(1, [True, 1.0, 1])
@example(0, [False, -0.0, 0.0])
def test_a_value_is_kept_with_its_exact_types_whatever_was_there_before(first, more):
    key = Key(json(first))
    for value in [first, *more]:
        key.act("alice", Set(json(value)))
        assert exactly(key.value[1]) == exactly(value)
        # The next version no longer holds the event: the state then holds the value itself.
        key.commit("mallory", "memory.delete", {}, expect={"version": 10**6})
        assert exactly(key.value[1]) == exactly(value)


def test_a_version_points_at_its_own_event_instead_of_repeating_the_value():
    content = text("a" * 1000)
    events = (make_event("memory.set", content), make_event("memory.set", dict(content)))
    for index, event in enumerate(events):
        state = memory.evolve(memory.EMPTY, event, Place(1, index=index))
        assert memory.pack(state, events) == {"in": index}
        assert memory.unpack({"in": index}, events) == state
    assert memory.pack(memory.EMPTY, ()) == {}


def test_an_operation_of_a_later_client_changes_nothing():
    key = Key(text("a"))
    key.commit("alice", "memory.rotate", {"value": "b"})
    assert key.value == ("text", "a")


@given(json_values)
def test_every_value_that_is_accepted_is_kept_exactly(value):
    check_value("json", value)
    assert exactly(Key(json(value)).value[1]) == exactly(value)


def nested(depth):
    return [nested(depth - 1)] if depth else 0


@pytest.mark.parametrize(
    ("kind", "value"),
    [
        ("text", "\ud800"),
        ("json", "\ud800"),
        ("json", {"\ud800": 1}),
        ("json", [2**64]),
        ("json", -(2**63) - 1),
        ("json", float("nan")),
        ("json", [float("inf")]),
        ("json", {1: "a"}),
        ("json", {"a": {1, 2}}),
        ("json", b"ab"),
        ("json", Place(1)),
        ("json", Ellipsis),
        ("json", nested(101)),
    ],
    ids=str,
)
def test_what_json_cannot_keep_exactly_is_refused(kind, value):
    with pytest.raises(BadValue):
        check_value(kind, value)


def test_text_json_limits_and_100_levels_are_accepted():
    for kind, value in [("text", "\u00e9"), ("json", 2**64 - 1), ("json", -(2**63))]:
        check_value(kind, value)
    check_value("json", nested(100))


def test_a_large_text_is_no_element_of_a_json_array_for_anybody():
    """Its text is in a blob, which no state may need to be folded."""
    key = Key(json(["a"]))
    large = text("x" * (INLINE_BYTES_MAX + 1))
    assert "blob" in large
    assert refused(key.act("alice", Append(large)), "value-too-large")
    key.commit("mallory", "memory.append", {"separator": "", "added": large})
    assert key.value == ("json", ["a"])
