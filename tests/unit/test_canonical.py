"""Canonical JSON: one value, one sequence of bytes."""

import json

import pytest
from hypothesis import example, given

from tclog.errors import Damaged
from tclog.event import decode, digest, encode
from tclog.event.canonical import decode_json

from .making import exactly, json_values


@given(json_values)
@example(-0.0)
@example(1e16)
@example(5e-324)
@example({"a": 1, "b": True, "c": 1.0})
@example({"\U0001f600": 1, "\uffff": 2})
def test_what_is_encoded_is_decoded_to_the_same_value_and_back_to_the_same_bytes(value):
    raw = encode(value)
    assert exactly(decode(raw, "it")) == exactly(value)
    assert encode(decode(raw, "it")) == raw


@given(json_values)
@example({"\U0001f600": 1, "\uffff": 2})
def test_any_json_reader_understands_the_bytes_and_finds_sorted_keys(value):
    def check(pairs):
        keys = [key.encode() for key, _ in pairs]
        assert keys == sorted(keys)
        return dict(pairs)

    assert exactly(json.loads(encode(value), object_pairs_hook=check)) == exactly(value)


@pytest.mark.parametrize(
    "raw",
    [
        b'{"a": 1}',
        b'{"a":1}\n',
        b' {"a":1}',
        b'{"b":1,"a":2}',
        b'{"a":1,"a":1}',
        b'{"a":1,"a":2}',
        b"1e5",
        b"1.00",
        b"-0",
        b"18446744073709551616",
        b"-9223372036854775809",
        b'"\\u0041"',
        b'"\\/"',
        b"[" * 300 + b"]" * 300,
    ],
)
def test_json_in_any_other_form_is_damage(raw):
    json.loads(raw)
    with pytest.raises(Damaged, match="not in canonical form"):
        decode(raw, "it")


@pytest.mark.parametrize(
    "raw",
    [b"", b"{", b"nul", b"NaN", b"Infinity", b"1 2", b'"\xff"', b'"\\ud800"', b"'a'", b"[" * 9999],
)
def test_what_is_not_json_is_damage_that_names_the_object(raw):
    with pytest.raises(Damaged, match="blob 5f is not JSON"):
        decode(raw, "blob 5f")


@pytest.mark.parametrize(
    ("opening", "closing", "levels"), [("[", "]", 1), ('{"a":', "}", 1), ('[{"a":', "}]", 2)]
)
def test_json_of_users_is_as_deep_as_it_can_be_written_and_no_deeper(opening, closing, levels):
    def nested(depth):
        return (opening * (depth // levels) + "1" + closing * (depth // levels)).encode()

    assert encode(decode_json(nested(250))) == nested(250)
    with pytest.raises(ValueError, match="Recursion"):
        decode_json(nested(300))


@pytest.mark.parametrize("value", [2**64, -(2**63) - 1, "\ud800", b"bytes", {1: "a"}, object()])
def test_what_json_cannot_hold_is_never_written(value):
    with pytest.raises(TypeError):
        encode(value)


def test_a_digest_is_blake3_in_lower_case_hex():
    # The test vector of the BLAKE3 paper for the empty input.
    empty = "af1349b9f5f9a1a6a0404dea36dcc9499bcb25c9adc112b7cc9a93cae41f3262"
    assert digest(b"") == empty
