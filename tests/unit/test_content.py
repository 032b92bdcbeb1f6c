"""Contents: small ones inline, large ones by their hash, and texts that grow."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tclog.domain.content import (
    append_text,
    content_blobs,
    content_size,
    inline_value,
    make_content,
)
from tclog.event import digest, encode
from tclog.event.canonical import decode_json

from .making import exactly, json_values

INLINE_BYTES_MAX = 16_384

# Texts on both sides of the limit, of characters that are one, two and four bytes long.
pieces = st.builds(
    lambda character, count: character * count,
    st.sampled_from(["a", "\u00e9", "\U0001f600", '"\n']),
    st.sampled_from([0, 1, 5, 4096, 4097, 8192, 16_383, 16_384, 16_385, 20_000]),
)


def read(content, blobs):
    """Read a content as a reader does: the blobs in order, then what is inline."""
    raw = b"".join(blobs[name] for name, _ in content_blobs(content))
    if content["type"] == "json":
        return decode_json(raw) if raw else inline_value(content)
    return raw.decode() + content.get("value", "")


def stored(blobs):
    assert all(blob.hash == digest(blob.data) for blob in blobs)
    return {blob.hash: blob.data for blob in blobs}


@pytest.mark.parametrize(
    ("kind", "value", "inline"),
    [
        ("text", "a" * INLINE_BYTES_MAX, True),
        ("text", "a" * (INLINE_BYTES_MAX + 1), False),
        ("text", "\u00e9" * (INLINE_BYTES_MAX // 2), True),
        ("text", "\u00e9" * (INLINE_BYTES_MAX // 2) + "a", False),
        ("json", "a" * (INLINE_BYTES_MAX - 2), True),
        ("json", "a" * (INLINE_BYTES_MAX - 1), False),
        ("json", None, True),
        ("text", "", True),
    ],
    ids=range(8),
)
def test_a_value_is_inline_up_to_16_kib_and_a_blob_beyond(kind, value, inline):
    content, blobs = make_content(kind, value)
    assert content["type"] == kind
    assert ("value" in content) == inline
    assert len(blobs) == (0 if inline else 1)
    assert read(content, stored(blobs)) == value


@given(st.sampled_from(["text", "json"]), pieces, json_values)
def test_a_value_is_read_exactly_and_its_size_is_known_without_reading(kind, text, value):
    value = text if kind == "text" else [text, value]
    content, blobs = make_content(kind, value)
    assert exactly(read(content, stored(blobs))) == exactly(value)
    size = len(value.encode() if kind == "text" else encode(value))
    if "text" in content:
        size = len(content["text"].encode())  # with a float in it, it is what it is written as
    assert content_size(content) == (sum(len(blob.data) for blob in blobs) or size)


@given(st.none() | pieces, st.lists(st.tuples(pieces, st.sampled_from(["", "\n", "\u00e9"]))))
def test_a_text_that_grows_is_kept_exactly_and_little_of_it_inline(first, appended):
    content, blobs, expected = None, {}, ""
    if first is not None:
        content, new = make_content("text", first)
        blobs, expected = stored(new), first
    for text, separator in appended:
        added, its_own = make_content("text", text)
        content, new = append_text(content, added, separator)
        blobs |= stored(its_own) | stored(new)
        expected = expected + separator + text if expected else text
        assert content["type"] == "text"
        assert len(content.get("value", "").encode()) <= INLINE_BYTES_MAX
        assert all(size > 0 for _, size in content_blobs(content))
    if content is not None:
        assert read(content, blobs) == expected
        assert content_size(content) == len(expected.encode())


def test_a_short_text_carries_nothing_but_itself():
    assert append_text(None, make_content("text", "a")[0], "\n") == (
        {"type": "text", "value": "a"},
        [],
    )


def test_an_appended_text_stays_inline_up_to_16_kib():
    content, _ = make_content("text", "a" * (INLINE_BYTES_MAX - 1))
    added, _ = make_content("text", "b")
    assert append_text(content, added, "") == ({"type": "text", "value": "a" * 16_383 + "b"}, [])


def test_a_large_text_appended_to_nothing_is_that_text():
    added, _ = make_content("text", "a" * 20_000)
    for nothing in (None, {"type": "text", "value": ""}):
        assert append_text(nothing, added, "\n") == (added, [])


def test_every_writer_derives_the_same_blobs_from_the_same_append():
    content, _ = make_content("text", "a" * 16_000)
    for size in (1000, 20_000):
        added, _ = make_content("text", "b" * size)
        first, second = (append_text(c, added, "\n") for c in (content, dict(content)))
        assert first == second
        assert first[1], "the tail has become a blob"


def floats_in(value):
    if isinstance(value, dict | list):
        inner = value.values() if isinstance(value, dict) else value
        return any(floats_in(child) for child in inner)
    return isinstance(value, float)


@given(json_values)
def test_only_a_value_with_a_float_in_it_stands_as_text(value):
    content, _ = make_content("json", value)
    assert not floats_in(content)
    assert ("text" in content) == floats_in(value)


def test_no_record_holds_a_float_because_encoders_differ_in_how_they_write_them():
    for value in (1e16, [1.5], {"a": {"b": [0.1]}}):
        content, _ = make_content("json", value)
        assert content == {"type": "json", "text": encode(value).decode()}
        assert read(content, {}) == value
    assert make_content("json", [1, "1.5"])[0] == {"type": "json", "value": [1, "1.5"]}
