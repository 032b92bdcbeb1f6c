"""Floats: two clients whose JSON libraries write them differently agree on every byte."""

import json
import os
import subprocess
import sys
from types import SimpleNamespace

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tclog.chain.once import once
from tclog.domain.content import append_element, inline_value, make_content
from tclog.domain.decision import Draft
from tclog.domain.memory import Append, Set, pack
from tclog.event import canonical, encode

from .making import Chain, json_values
from .test_memory import RULES

# Orjson 3.10 writes 3.2e17 so, and 3.13 writes 3.2e+17; here every float is written differently.
DIFFERENT = 17


def other_dumps(value, default=None, option=None):
    """Write canonical JSON as orjson does, but floats in another form that reads back the same."""
    if isinstance(value, float):
        return f"{value:.{DIFFERENT}e}".encode()
    if isinstance(value, list | tuple):
        return b"[" + b",".join(other_dumps(one) for one in value) + b"]"
    if isinstance(value, dict):
        parts = (orjson.dumps(key) + b":" + other_dumps(value[key]) for key in sorted(value))
        return b"{" + b",".join(parts) + b"}"
    return orjson.dumps(value, default, option)


OTHER = SimpleNamespace(
    dumps=other_dumps, loads=orjson.loads, JSONDecodeError=orjson.JSONDecodeError
)


def with_other(work):
    """Run something as a client whose library writes floats differently."""
    canonical.orjson = OTHER
    try:
        assert encode(3.2e17) != orjson.dumps(3.2e17)
        return work()
    finally:
        canonical.orjson = orjson


def written(value, words):
    """Return all that two clients have to agree on when one sets a value and appends to it."""
    content, blobs = make_content("json", value)
    chain = Chain(RULES)
    chain.act("alice", Set(content))
    for word in words:
        chain.act("alice", Append(make_content("text", word)[0]))
    key = once("key", {"op": "memory.set", "body": content})
    return encode(pack(chain.state, ())), content, [blob.hash for blob in blobs], key


@given(json_values, st.lists(st.text(st.characters(exclude_categories=["Cs"]), max_size=5)))
def test_clients_that_write_floats_differently_write_the_same_bytes(value, words):
    assert with_other(lambda: written(value, words)) == written(value, words)


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_large_values_have_one_hash_too(number):
    value = [number, "x" * 20_000]
    assert with_other(lambda: written(value, [])) == written(value, [])


@pytest.mark.parametrize(
    ("text", "after"),
    [
        ("[1.50]", '[1.50,"x"]'),
        ("[ 3.2e17 , 1 ]", '[ 3.2e17 , 1,"x"]'),
        ("[]", '["x"]'),
        (" [ \n] ", ' ["x"]'),
        ('["]", 1E5] \n', '["]", 1E5,"x"]'),
    ],
)
def test_an_element_is_spliced_into_the_text_of_an_array(text, after):
    content = append_element({"type": "json", "text": text}, "x")
    assert content == {"type": "json", "text": after}
    assert inline_value(content) == [*json.loads(text), "x"]


def test_the_limit_of_an_array_is_that_of_its_text():
    def appended(spaces):
        chain = Chain(RULES)
        text = "[1.5" + " " * spaces + "2]".replace("2", ",2")
        chain.act("alice", Set({"type": "json", "text": text}))
        return chain.act("alice", Append(make_content("text", "x")[0])), len(text) + len(',"x"')

    done, size = appended(16_384 - len('[1.5,2,"x"]'))
    assert size == 16_384
    assert isinstance(done, Draft)
    done, size = appended(16_385 - len('[1.5,2,"x"]'))
    assert size == 16_385
    assert done.code == "value-too-large"


SCRIPT = """
import json, random, orjson
from tclog.domain.content import make_content
from tclog.event import encode
rng = random.Random(7)
values = [3.2e17, 1e16, 1e22, 1e-7, 123456789012345680.0, 5e-324, 1.7976931348623157e308, -0.0]
values += [rng.uniform(-1, 1) * 10.0 ** rng.randint(-300, 300) for _ in range(3000)]
print(orjson.__version__)
print(orjson.dumps(values).decode())
print(json.dumps([make_content("json", [one])[0]["text"] for one in values]))
"""


@pytest.mark.slow
def test_the_oldest_allowed_orjson_writes_the_same(tmp_path):
    """Both are installed: the newest here, the oldest in a folder of this test."""
    wanted = ["orjson==3.10.0", "--no-deps", "--quiet", "--target", str(tmp_path)]
    pip = [sys.executable, "-m", "pip", "install", "--disable-pip-version-check", *wanted]
    try:
        done = subprocess.run(pip, capture_output=True, timeout=60, check=False)
    except subprocess.TimeoutExpired:
        pytest.skip("orjson 3.10.0 CANNOT BE INSTALLED: the registry does not answer")
    if done.returncode:
        pytest.skip(f"orjson 3.10.0 CANNOT BE INSTALLED: {done.stderr.decode()[-200:]}")
    told = []
    for path in ("", str(tmp_path)):
        env = os.environ | {"PYTHONPATH": path}
        out = subprocess.check_output([sys.executable, "-c", SCRIPT], env=env, text=True)
        told.append(out.splitlines())
    assert told[0][0] != told[1][0] == "3.10.0"
    assert told[0][1] != told[1][1]  # or this test would show nothing
    assert told[0][2] == told[1][2]
