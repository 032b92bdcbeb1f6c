"""A body that no client of ours writes is shown without words, and stops nothing."""

import pytest

from tclog.clock import Hlc
from tclog.event import ChainId, seal_event
from tclog.history.rendering import words

AT = Hlc("2026-11-23T15:42:05.512345Z-0000")


@pytest.mark.parametrize(
    ("op", "body"),
    [
        ("step.claim", {"lease_ms": "x"}),
        ("memory.set", {"type": "json", "text": "not json"}),
        ("memory.append", {"added": 5}),
        ("message.send", {"to": 7, "text": []}),
        ("message.ack", {"ranges": [[1]]}),
        ("step.add", {"after": 1}),
        ("step.complete", {"handoff": {"note": None}}),
        ("tag.set", {}),
    ],
)
def test_no_body_stops_the_words(op, body):
    event, _ = seal_event(
        op=op, chains=[ChainId("memory/k")], agent="a", session="s", host="h", client="c",
        at=AT, nonce="0", body=body,
    )  # fmt: skip
    assert isinstance(words(event), str)
