"""Events and versions: sealed once, checked whenever they are read."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tclog.clock import Stamp, hlc, stamp
from tclog.errors import Damaged, FormatNewer, TclogError
from tclog.event import (
    chain_id,
    decode,
    decode_event,
    decode_version,
    digest,
    encode,
    seal_event,
    seal_version,
)
from tclog.event.packs import Row, summarize_packed
from tclog.event.records import VOID, _without_sum

from .making import T0_US, json_text, names, record_scalars, record_values

CHAIN = chain_id("memory", "a")
INBOX = chain_id("inbox", "bob")
AT = hlc(T0_US, 7)
MERGE = {"after": 0, "chain": "inbox/@all", "count": 3, "taken": 3, "through": 2}


def sealed_event(**fields):
    given_fields = {
        "op": "memory.set",
        "chains": [CHAIN],
        "agent": "alice",
        "session": "s",
        "host": "h",
        "client": "tclog/1",
        "at": AT,
        "nonce": "n",
        "body": {"type": "text", "value": "1"},
    }
    return seal_event(**(given_fields | fields))


def sealed_version(**fields):
    given_fields = {
        "chain": CHAIN,
        "seq": 2,
        "prev": digest(b"1"),
        "prev_stored": stamp(T0_US),
        "at": AT,
        "by": "alice",
        "events": [sealed_event()[0], sealed_event(nonce="other")[0]],
        "state": {"in": 1},
    }
    return seal_version(**(given_fields | fields))


def txn(**fields):
    """Make what a version says of its transaction, sound by itself."""
    slots = {"memory/a": 2, "memory/b": 1}
    return {"agent": "alice", "at": AT, "events": [], "id": "t", "slots": slots} | fields


def changed(raw, **fields):
    """Change a record as somebody would who knows the format: the sum is right again."""
    record = decode(raw, "it") | fields
    if "sum" in record:
        record["sum"] = digest(encode({k: v for k, v in record.items() if k != "sum"}))
    return encode(record)


def without(raw, field):
    return encode({key: value for key, value in decode(raw, "it").items() if key != field})


bodies = st.dictionaries(json_text, record_values, max_size=3)
# Names that no schema has; Hypothesis draws words of the source as well.
later_names = json_text.map(lambda name: f"{name}~")


@given(
    bodies,
    st.none() | st.dictionaries(later_names, record_scalars, min_size=1, max_size=2),
    st.none() | names,
)
def test_an_event_is_read_as_it_was_sealed(body, expect, key):
    event, raw = sealed_event(body=body, expect=expect, key=key)
    again = decode_event(raw, expect=event.id)
    assert again == event
    assert encode(again.record) == raw
    assert event.id == digest(raw)
    assert (again.op, again.agent, again.session, again.at) == ("memory.set", "alice", "s", AT)
    assert (again.chains, again.body, again.expect) == ([CHAIN], body, expect or {})
    assert again.key == key
    assert again.record["format"] == 1


@given(st.data())
def test_a_version_is_read_as_it_was_sealed(data):
    now = data.draw(st.none() | st.just(stamp(T0_US + 1)))
    merge = data.draw(st.none() | st.just(MERGE))
    version = sealed_version(now=now, merge=merge, chain=INBOX)
    again = decode_version(version.raw, chain=INBOX, seq=2, stored=stamp(5))
    assert again == version._replace(stored=stamp(5))
    assert again.id == digest(version.raw)
    assert (again.chain, again.seq, again.prev, again.by) == (INBOX, 2, digest(b"1"), "alice")
    assert (again.at, again.state, again.prev_stored) == (AT, {"in": 1}, stamp(T0_US))
    assert (again.now, again.merge) == (now, merge)


def test_fields_that_say_nothing_are_not_written():
    event, _ = sealed_event(expect={})
    assert set(event.record) == {
        *("agent", "at", "body", "chains", "client", "format", "host", "nonce", "op", "session")
    }
    assert set(sealed_version().record) == {
        *("at", "by", "chain", "events", "format", "prev", "prev_stored", "seq", "state", "sum")
    }


@pytest.mark.parametrize("position", ["event", "version", "embedded"])
def test_fields_that_this_client_does_not_know_are_kept(position):
    _, raw = sealed_event()
    later = changed(raw, later={"x": [1, True, {"y": None}]})
    if position == "event":
        again = decode_event(later)
        assert encode(again.record) == later
        return
    if position == "version":
        again = decode_version(changed(sealed_version().raw, later=1), chain=CHAIN, seq=2)
        assert again.record["later"] == 1
        return
    slot = changed(sealed_version().raw, events=[decode(later, "it")])
    (embedded,) = decode_version(slot, chain=CHAIN, seq=2).events
    assert embedded == decode_event(later)


@given(st.dictionaries(later_names, record_values, max_size=3), record_values)
def test_the_sum_is_that_of_all_other_fields_wherever_it_stands(later, state):
    # Read, the sum is cut off the bytes where it stands last. A later client's fields may follow
    # it, or hold what looks like it; the verdict is that of encoding the record anew.
    record = decode(sealed_version(state={"x": state, "sum": "0"}).raw, "it")
    for fields in (later, {**later, "tail": [record["sum"]]}, {**later, "z": {"sum": "1"}}):
        raw = changed(encode(record), **{k: v for k, v in fields.items() if k not in record})
        whole = decode(raw, "it")
        rest = {name: value for name, value in whole.items() if name != "sum"}
        assert _without_sum(raw, whole) == encode(rest)
        assert decode_version(raw, chain=CHAIN, seq=2).record == whole
        other = encode(whole | {"sum": digest(b"")})
        assert _without_sum(other, whole | {"sum": digest(b"")}) == encode(rest)
        with pytest.raises(Damaged, match="what was written"):
            decode_version(other, chain=CHAIN, seq=2)


@given(bodies)
def test_an_event_inside_a_version_has_the_id_of_its_own_object(body):
    event, raw = sealed_event(body=body)
    version = sealed_version(events=[event])
    (embedded,) = decode_version(version.raw, chain=CHAIN, seq=2).events
    assert embedded.id == digest(raw) == event.id
    assert raw in version.raw


@given(st.data())
def test_any_changed_byte_of_a_version_is_noticed_without_its_neighbours(data):
    raw = bytearray(sealed_version().raw)
    place = data.draw(st.integers(0, len(raw) - 1))
    raw[place] ^= data.draw(st.integers(1, 255))
    with pytest.raises(TclogError):
        decode_version(bytes(raw), chain=CHAIN, seq=2)


@given(st.data())
def test_any_changed_byte_of_an_event_is_noticed(data):
    event, raw = sealed_event()
    place = data.draw(st.integers(0, len(raw) - 1))
    tampered = bytearray(raw)
    tampered[place] ^= data.draw(st.integers(1, 255))
    with pytest.raises(Damaged):
        decode_event(bytes(tampered), expect=event.id)


@given(st.data())
def test_any_changed_byte_of_a_version_changes_the_id_that_its_successor_names(data):
    version = sealed_version()
    place = data.draw(st.integers(0, len(version.raw) - 1))
    tampered = bytearray(version.raw)
    tampered[place] ^= data.draw(st.integers(1, 255))
    try:
        read = decode_version(bytes(tampered), chain=CHAIN, seq=2)
    except TclogError as error:
        assert isinstance(error, (Damaged, FormatNewer))
    else:
        assert read.id != version.id


def test_a_newer_format_is_refused_wherever_it_stands():
    _, raw = sealed_event()
    version = sealed_version()
    newer = changed(raw, format=2)
    for read in (
        lambda: decode_event(newer),
        lambda: decode_version(changed(version.raw, format=2), chain=CHAIN, seq=2),
        lambda: decode_version(
            changed(version.raw, events=[decode(newer, "")]), chain=CHAIN, seq=2
        ),
    ):
        with pytest.raises(FormatNewer) as caught:
            read()
        assert caught.value.exit == 1
        assert caught.value.hint


@pytest.mark.parametrize(
    "fields",
    [
        {"chain": "memory/b"},
        {"seq": 3},
        {"seq": 1},
        {"prev": None},
        {"prev": 5},
        {"at": "2026-11-23T15:42:05.512345Z"},
        {"at": "2026-W48-1T15:42:05.512345Z-0000"},
        {"at": "2026-11-23T15:42:05.512345Z-FFFF"},
        {"by": None},
        {"events": None},
        {"events": [1]},
        {"events": [{}]},
        {"state": []},
        {"format": None},
        {"format": True},
        {"format": 0},
        {"prev_stored": 5},
        {"now": 5},
        {"merge": []},
        {"merge": MERGE},
        {"at": "2019-12-31T23:59:59.999999Z-ffff"},
        {"at": "9000-01-01T00:00:00.000000Z-0000"},
        {"at": "2026-02-30T15:42:05.512345Z-0000"},
        {"at": "2026-11-23T24:00:00.000000Z-0000"},
        {"now": "2026-02-30T15:42:05.512345Z"},
        {"prev_stored": "9999-12-31T23:59:59.999999Z"},
        {"prev": "A" * 64},
        {"prev": "a" * 63},
        {"by": "a,b"},
        {"by": "@all"},
        {"by": "a" * 201},
        {"chain": "memory/"},
        {"chain": "memory"},
        {"chain": "../x"},
        {"stands": 2},
        {"stands": -1},
        {"stands": True},
        {"fills": {"chain": "memory/x", "seq": 0}},
        {"fills": {"chain": "step/a,b", "seq": 1}},
        {"otherwise": {}},
        {"state": {"in": 1.0}},
        {"events": [sealed_event()[0].record] * 1001},
        {"sig": "x"},
        {"auth": "1"},
        {"checkpoint": "1.0123456789abcde"},
        *(
            {"voids": voids}
            for voids in (
                [],
                [{"seq": 2, "hash": digest(b"1")}],
                [{"seq": 1, "hash": digest(b"2")}],
                [{"seq": 1, "hash": "x"}],
                [{"seq": 1, "hash": digest(b"1")}, {"seq": 0, "hash": digest(b"0")}],
            )
        ),
        *(
            {"txn": txn(**fields), "otherwise": {}}
            for fields in (
                {"slots": {"memory/a": 3, "memory/b": 1}},
                {"slots": {"memory/b": 1, "memory/c": 1}},
                {"slots": {"memory/a": 2, "memory/b": 0}},
                {"slots": {"memory/a": 2, "memory/b": True}},
                {"slots": {"memory/a": 2, "memory/b": 9_999_999_999}},
                {"slots": {"memory/a": 2, "step/a,b": 1}},
                {"slots": {"memory/a": 2, "b": 1}},
                {"slots": {"memory/a": 2, "Memory/b": 1}},
                {"slots": {"memory/a": 2, **{f"memory/{n}": 1 for n in range(64)}}},
                {"slots": {}},
                {"slots": []},
                {"agent": "a,b"},
                {"events": ["x"]},
                {"events": [1]},
                {"id": ""},
                {"key": 5},
            )
        ),
        {"txn": txn()},
    ],
    ids=str,
)
def test_a_version_that_is_not_what_its_slot_says_is_damage(fields):
    raw = changed(sealed_version().raw, **fields)
    with pytest.raises(Damaged):
        decode_version(raw, chain=CHAIN, seq=2)


@pytest.mark.parametrize("fields", [{"prev": digest(b"0")}, {"seq": True}], ids=str)
def test_a_first_version_has_nothing_before_it_and_the_number_one(fields):
    first = sealed_version(seq=1, prev=None, prev_stored=None)
    assert decode_version(first.raw, chain=CHAIN, seq=1) == first
    with pytest.raises(Damaged):
        decode_version(changed(first.raw, **fields), chain=CHAIN, seq=1)


@pytest.mark.parametrize("field", ["at", "by", "chain", "events", "format", "prev", "seq", "state"])
def test_a_version_without_a_required_field_is_damage(field):
    first = sealed_version(seq=1, prev=None, prev_stored=None)
    with pytest.raises(Damaged):
        decode_version(without(first.raw, field), chain=CHAIN, seq=1)


@pytest.mark.parametrize(
    "field", ["agent", "at", "body", "chains", "client", "format", "host", "nonce", "op", "session"]
)
def test_an_event_without_a_required_field_is_damage(field):
    _, raw = sealed_event()
    with pytest.raises(Damaged):
        decode_event(without(raw, field))
    with pytest.raises(Damaged):
        decode_event(changed(raw, **{field: None}))


def test_what_later_clients_may_say_is_read():
    """Fields that no client of this release writes, as a later one will write them."""
    fields = {
        "auth": "3.0123456789abcdef",
        "checkpoint": "12.0123456789abcdef",
        "sig": f"0123456789abcdef.{'A' * 86}",
    }
    raw = changed(sealed_version(seq=3).raw, **fields)
    assert decode_version(raw, chain=CHAIN, seq=3).record.items() >= fields.items()
    fields = {
        "reads": {"at": AT, "chains": {"step/x": 3}, "lists": ["step/"], "more": 2},
        "session": "~1000.77.123@laptop",
        "sig": f"0123456789abcdef.{'A' * 86}",
    }
    _, raw = sealed_event()
    assert decode_event(changed(raw, **fields)).record.items() >= fields.items()
    joined = changed(sealed_version().raw, txn=txn(), otherwise={})
    assert decode_version(joined, chain=CHAIN, seq=2).txn == txn()


EARLIER, LATER = hlc(T0_US - 1, 0xFFFF), hlc(T0_US, 8)


@pytest.mark.parametrize(
    ("chain", "fields", "sound"),
    [
        (CHAIN, {"last_txn": {"at": EARLIER, "seq": 1}}, True),
        (CHAIN, {"last_txn": {"at": EARLIER, "seq": 2}}, False),
        (CHAIN, {"last_txn": {"at": EARLIER, "seq": 3}}, False),
        (CHAIN, {"last_txn": {"at": AT, "seq": 1}}, False),
        (CHAIN, {"last_txn": {"at": LATER, "seq": 1}}, False),
        (CHAIN, {"stands": 1}, True),
        (CHAIN, {"stands": 2}, False),
        (CHAIN, {"txn": txn(), "otherwise": {}}, True),
        (CHAIN, {"txn": txn(at=EARLIER), "otherwise": {}}, True),
        (CHAIN, {"txn": txn(at=LATER), "otherwise": {}}, False),
        (CHAIN, {"txn": txn(slots={CHAIN: 2})}, True),
        (CHAIN, {"txn": txn(slots={CHAIN: 2}), "otherwise": {}}, False),
        (CHAIN, {"txn": txn(slots={CHAIN: 1})}, False),
        (CHAIN, {"otherwise": {}}, False),
        (INBOX, {"merge": MERGE}, True),
        (chain_id("inbox", "@all"), {"merge": MERGE}, False),
        (chain_id("read", "bob"), {"merge": MERGE}, False),
    ],
    ids=str,
)
def test_what_a_version_says_of_its_place_fits_the_place(chain, fields, sound):
    raw = changed(sealed_version(chain=chain).raw, **fields)
    if sound:
        assert decode_version(raw, chain=chain, seq=2).raw == raw
    else:
        with pytest.raises(Damaged, match=next(iter(fields))):
            decode_version(raw, chain=chain, seq=2)


VOIDS = [{"hash": digest(b"1"), "seq": 2}, {"hash": digest(b"0"), "seq": 1}]


def voiding(**fields):
    event, _ = sealed_event(op=VOID)
    given = {"seq": 3, "prev": digest(b"1"), "events": [event], **fields}
    return sealed_version(**given).raw


def test_a_version_that_ends_junk_does_nothing_else():
    version = decode_version(voiding(voids=VOIDS), chain=CHAIN, seq=3)
    assert (version.after, version.base, version.void) == (0, 0, True)
    several = [sealed_event(op=VOID)[0], sealed_event()[0]]
    for fields in (
        {"voids": VOIDS[1:]},
        {"voids": VOIDS[::-1]},
        {"voids": [VOIDS[0], VOIDS[1] | {"seq": 0}]},
        {"voids": VOIDS, "prev": digest(b"0")},
        {"voids": VOIDS, "events": []},
        {"voids": VOIDS, "events": [sealed_event()[0]]},
        {"voids": VOIDS, "events": several},
        {"voids": VOIDS, "fills": {"chain": "memory/b", "seq": 3}},
        {"voids": VOIDS, "txn": txn() | {"slots": {CHAIN: 3}}},
    ):
        with pytest.raises(Damaged, match="voids"):
            decode_version(voiding(**fields), chain=CHAIN, seq=3)


@pytest.mark.parametrize(
    "fields",
    [
        {"expect": [1]},
        {"expect": {"fence": "1"}},
        {"expect": {"version": -1}},
        {"key": 1},
        {"key": ""},
        {"body": []},
        {"agent": "a,b"},
        {"agent": "a\n"},
        {"chains": []},
        {"chains": ["inbox/@everybody"]},
        {"chains": ["inbox/bob", "inbox/bob"]},
        {"chains": [f"inbox/{n}" for n in range(101)]},
        {"nonce": ""},
        {"nonce": "../x"},
        {"op": ""},
        {"session": ""},
        {"session": "s" * 201},
        {"host": "h" * 256},
        {"txn": "../x"},
        {"reads": {"chains": {"x": 1}}},
        {"reads": {"at": "now"}},
        {"sig": 1},
        {"at": "1970-01-01T00:00:00.000000Z-0000"},
    ],
    ids=str,
)
def test_an_event_with_a_field_of_another_type_is_damage(fields):
    _, raw = sealed_event()
    with pytest.raises(Damaged):
        decode_event(changed(raw, **fields))


@pytest.mark.parametrize("where", ["body", "expect", "later", "deep"])
@pytest.mark.parametrize("number", [1.5, 3.2e17, -0.0, 1e-300])
def test_a_record_holds_no_float_anywhere(where, number):
    fields = {"later": {"x": [{"y": [number]}]}} if where == "deep" else {where: {"x": number}}
    _, raw = sealed_event()
    raw = changed(raw, **fields)
    with pytest.raises(Damaged, match="float"):
        decode_event(raw)
    with pytest.raises(Damaged, match="float"):
        slot = changed(sealed_version().raw, events=[decode(raw, "it")])
        decode_version(slot, chain=CHAIN, seq=2)
    with pytest.raises(Damaged, match="float"):
        slot = changed(sealed_version().raw, state={"in": number})
        decode_version(slot, chain=CHAIN, seq=2)


@pytest.mark.parametrize("raw", [b"[]", b"1", b"null", b'"a"'])
def test_a_record_that_is_no_object_is_damage(raw):
    with pytest.raises(Damaged):
        decode_event(raw)
    with pytest.raises(Damaged):
        decode_version(raw, chain=CHAIN, seq=1)


@pytest.mark.parametrize(
    "fields",
    [{"by": 5}, {"state": []}, {"prev_stored": "soon"}, {"now": 7}, {"events": [{"op": "x"}]}],
    ids=str,
)
def test_a_version_in_a_pack_fits_its_schema_too(fields):
    """A forged pack may hold what no slot could; an index would keep it and fail later."""
    raw = changed(sealed_version().raw, **fields)
    stored = Stamp("2026-11-23T19:01:28.826867Z")
    with pytest.raises(Damaged, match="a pack"):
        summarize_packed(CHAIN, 2, Row(raw, stored))
