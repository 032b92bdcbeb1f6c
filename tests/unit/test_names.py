"""Names and object keys: reversible, short, and never the same for two things."""

import re

import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st

from tclog.clock import hlc
from tclog.errors import BadName, Damaged
from tclog.event import (
    ALL,
    EventId,
    blob_key,
    chain_folder,
    chain_id,
    chain_kind,
    chain_name,
    chain_of_slot,
    decode_name,
    encode_name,
    event_key,
    once_key,
    slot_key,
    slot_seq,
    validate_name,
)
from tclog.event.names import (
    ENCODED_MAX,
    KEY_BYTES_MAX,
    SEQ_MAX,
    event_key_parts,
    pending_key,
    pending_key_parts,
)

from .making import hex_ids

SEGMENT = re.compile(r"[A-Za-z0-9._%-]+(~[0-9a-f]{32})?")
KINDS = ("key", "step", "agent", "artifact", "barrier", "project")

_characters = st.characters(exclude_categories=["Cs", "Cc"], exclude_characters="\u2028\u2029")
_awkward = st.sampled_from("./~@%^\\: aA\u00e9\u00c9e\u0301\U0001f600")
_texts = st.text(_characters | _awkward, min_size=1, max_size=200)
names = _texts.map(lambda text: text.encode()[:200].decode(errors="ignore")).filter(bool)
stamps = st.builds(hlc, st.integers(0, 253_402_300_799_999_999), st.integers(0, 0xFFFF))
chains = st.builds(chain_id, st.sampled_from(["memory", "step", "inbox"]), names) | st.just(ALL)


@given(names)
@example(".")
@example("..")
@example("." * 200)
@example("\U0001f600" * 50)
@example("%41")
@example("a" * 200)
def test_an_encoded_name_is_a_short_plain_path_segment_that_decodes_to_the_name(name):
    segment = encode_name(validate_name("key", name))
    assert SEGMENT.fullmatch(segment)
    assert len(segment) <= 239
    assert segment.strip(".")
    assert decode_name(segment) == (None if "~" in segment else name)


@given(names, names)
@example("S1.A", "s1-a")
@example("a/b", "a%2Fb")
@example("A", "a")
@example("\u00e9", "e\u0301")
def test_two_names_never_share_an_object_key(one, other):
    assume(one != other)
    assert encode_name(one) != encode_name(other)
    assert slot_key(chain_id("memory", one), 1) != slot_key(chain_id("memory", other), 1)
    chain = chain_id("memory", "k")
    assert once_key("alice", one, chain) != once_key("alice", other, chain)
    assert once_key(one, "key", chain) != once_key(other, "key", chain)
    assert once_key("alice", "key", chain_id("memory", one)) != once_key(
        "alice", "key", chain_id("memory", other)
    )


@given(st.text("\u00e9\u4e2d", min_size=25, max_size=40), st.text("ab", max_size=3), st.data())
def test_names_that_differ_only_beyond_the_cut_do_not_share_an_object_key(common, tail, data):
    other = data.draw(st.text("ab", max_size=3).filter(lambda text: text != tail))
    one, two = (
        encode_name("\u00e9" * 34 + common + tail),
        encode_name("\u00e9" * 34 + common + other),
    )
    assert one[:200] == two[:200]
    assert one != two


def test_a_name_is_written_in_full_up_to_239_characters_and_cut_beyond():
    assert encode_name("/" * 79 + "ab") == "%2F" * 79 + "ab"
    assert re.fullmatch(r"(%2F){66}%2~[0-9a-f]{32}", encode_name("/" * 79 + "abc"))


def test_no_name_reaches_what_stands_for_everybody_or_for_a_cut_name():
    assert chain_folder(ALL) == "chains/inbox/@all"
    assert chain_folder(chain_id("memory", "@all")) == "chains/memory/%40all"
    assert encode_name("a~b") == "a%7Eb"


@pytest.mark.parametrize(
    "segment",
    ["", "%41", "%2f", "%2", "%+1", "% 1", "%FF", "a/b", "@all", "a b", "\u00e9", ".", ".."],
)
def test_a_segment_that_no_name_is_encoded_to_is_damage(segment):
    with pytest.raises(Damaged):
        decode_name(segment)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    "name",
    [
        "",
        "\x00",
        "\x1f",
        "a\nb",
        "\x1b[31m",
        "\x7f",
        "\x80",
        "\x9f",
        "a\u2028b",
        "a\u2029b",
        "\ud800",
        "a" * 201,
        "\u00e9" * 101,
    ],
)
def test_empty_long_control_and_broken_names_are_refused_for_every_kind(kind, name):
    with pytest.raises(BadName):
        validate_name(kind, name)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    "name", ["a" * 200, "\u00e9" * 100, ".", "S1.A", "a b/c~d%", "\xa0\U0001f600"]
)
def test_any_other_text_of_200_bytes_is_a_name(kind, name):
    assert validate_name(kind, name) == name


@pytest.mark.parametrize(
    ("kind", "name", "allowed"),
    [
        ("agent", "a,b", False),
        ("step", "a,b", False),
        ("key", "a,b", True),
        ("artifact", "a,b", True),
        ("agent", "@all", False),
        ("agent", "@bob", False),
        ("agent", "bob@home", True),
        ("key", "@all", True),
        ("step", "@all", True),
    ],
)
def test_commas_and_a_leading_at_are_refused_only_where_they_mean_something(kind, name, allowed):
    if allowed:
        assert validate_name(kind, name) == name
    else:
        with pytest.raises(BadName):
            validate_name(kind, name)


@given(st.sampled_from(["memory", "step"]), names)
def test_a_chain_gives_back_its_kind_and_its_name(kind, name):
    chain = chain_id(kind, name)
    assert (chain_kind(chain), chain_name(chain)) == (kind, name)


@given(chains, st.integers(1, SEQ_MAX - 1), st.integers(1, SEQ_MAX - 1))
@example(ALL, 1, SEQ_MAX - 1)
@example(ALL, 9, 10)
def test_slot_keys_give_back_their_number_and_the_newest_sorts_first(chain, one, other):
    first, second = slot_key(chain, one), slot_key(chain, other)
    assert (slot_seq(first), slot_seq(second)) == (one, other)
    assert (first > second) == (one < other)
    assert first.startswith(chain_folder(chain) + "/")


def test_slot_keys_are_as_the_format_says():
    assert slot_key(chain_id("memory", "design.contract"), 1) == (
        "chains/memory/design.contract/9999999998.json"
    )
    assert slot_key(chain_id("memory", "design.contract"), 2).endswith("/9999999997.json")


@pytest.mark.parametrize(
    "file",
    [
        "x",
        "9999999999.json",
        "0000000000.json",
        "999999999.json",
        "9999999998.json.tmp",
        "9999999998",
        "-999999998.json",
        "+999999998.json",
        "\u0661999999998.json",
    ],
)
def test_what_is_no_slot_has_no_number(file):
    assert slot_seq(f"chains/memory/a/{file}") is None


@pytest.mark.parametrize("seq", [0, -1, SEQ_MAX])
def test_there_is_no_slot_for_a_number_that_is_no_version(seq):
    with pytest.raises(Damaged, match="can have no version"):
        slot_key(ALL, seq)


@given(stamps, chains, hex_ids)
@example(hlc(0, 0), chain_id("memory", "\U0001f600" * 50), "0" * 64)
def test_an_event_key_holds_its_hour_time_label_and_id(at, chain, event):
    key = event_key(at, chain, EventId(event))
    folder, hour, file = key.split("/")
    found = re.fullmatch(r"(\d{6}\.\d{6})-([0-9a-f]{4})-(.+)-([0-9a-f]{64})\.json", file)
    assert folder == "events"
    assert found
    clock, counter, label, held = found.groups()
    assert f"{hour}:{clock[2:4]}:{clock[4:]}Z-{counter}" == at
    assert hour[-2:] == clock[:2]
    assert held == event
    kind, _, segment = chain_folder(chain).removeprefix("chains/").partition("/")
    assert f"{kind}.{segment}".startswith(label)
    assert len(file) <= 255
    assert len(key) < 1024


def test_only_ascii_digits_are_digits_of_a_key():
    chain, event = chain_id("inbox", "bob"), EventId("ab" * 32)
    at = hlc(1_795_448_525_512_345, 0)
    for key, read in (
        (event_key(at, chain, event), event_key_parts),
        (pending_key(chain, at, 1, event), pending_key_parts),
    ):
        assert read(key) is not None
        assert read(key.replace("2026-", "202\u0666-")) is None


def test_an_event_key_reads_as_a_timeline():
    key = event_key(hlc(1_795_448_525_512_345, 0), chain_id("step", "design"), EventId("ab" * 32))
    assert key == f"events/2026-11-23T15/154205.512345-0000-step.design-{'ab' * 32}.json"


@given(stamps, stamps, chains, chains)
def test_event_keys_sort_by_time_whatever_the_chain(one, other, chain, another):
    assume(one < other)
    assert event_key(one, chain, EventId("f" * 64)) < event_key(other, another, EventId("0" * 64))


def test_no_key_is_longer_than_the_longest():
    name, at, event = "k" * 200 + "#" * 13, hlc(1_795_448_525_512_345, 0), EventId("ab" * 32)
    assert len(encode_name(name)) == ENCODED_MAX
    # A digest of the chain is added to the key.
    assert len(once_key(name, "k" * 202 + "#" * 6, chain_id("memory", name))) == KEY_BYTES_MAX
    for kind in ("artifact", "barrier", "memory", "inbox"):
        chain = chain_id(kind, name)
        assert len(slot_key(chain, 1)) < KEY_BYTES_MAX
        assert len(pending_key(chain, at, SEQ_MAX, event)) < KEY_BYTES_MAX
        assert len(event_key(at, chain, event)) < KEY_BYTES_MAX


def test_a_blob_is_named_by_its_hash():
    assert blob_key("5f" + "0" * 62) == f"blobs/5f/5f{'0' * 62}"


@pytest.mark.parametrize(
    "key",
    ["tclog.json", "chains", "chains/memory", "chains/memory/k", "events/a/b/c",
     "once/alice/k/9999999998.json", "chains/memory/k/x/9999999998.json"],
)  # fmt: skip
def test_what_is_no_slot_is_of_no_chain(key):
    with pytest.raises(Damaged):
        chain_of_slot(key)


def test_a_slot_is_of_the_chain_in_its_key():
    assert chain_of_slot(slot_key(chain_id("memory", "a/b"), 7)) == "memory/a/b"
    assert chain_of_slot(slot_key(ALL, 1)) == ALL
    assert chain_of_slot(slot_key(chain_id("memory", "x" * 200 + "é"), 1)) == chain_id(
        "memory", "x" * 200 + "é"
    )
    assert chain_of_slot(slot_key(chain_id("memory", "é" * 90), 1)) is None
