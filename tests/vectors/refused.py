"""Records that no reader takes: canonical, with a sum that is right, and damaged all the same."""

from __future__ import annotations

import copy
from typing import Any

from tclog.event import digest, encode
from vectors.making import Line

_GONE = object()
_TXN = {
    "agent": "alice",
    "at": "2026-11-23T19:00:01.990000Z-0000",
    "events": [None],
    "id": "t",
    "slots": {"memory/k": 2, "memory/other": 1},
}
# What is changed in a sound event, by the path to it, and why no reader takes the result.
EVENTS: list[tuple[list[Any], Any, str]] = [
    (["agent"], _GONE, "a field is missing"),
    (["agent"], 1, "a field has another type"),
    (["agent"], "@all", "no name of an agent"),
    (["agent"], "a\nb", "a name has a control character"),
    (["agent"], "a" * 201, "a name has over 200 bytes"),
    (["at"], "2026-11-23T19:00:00.000000Z", "a stamp without a counter"),
    (["at"], "2026-02-30T19:00:00.000000Z-0000", "no day of the calendar"),
    (["at"], "2026-11-23t19:00:00.000000Z-0000", "the stamp has another form"),
    (["at"], "2019-12-31T23:59:59.999999Z-0000", "before 2020"),
    (["at"], "9000-01-01T00:00:00.000000Z-0000", "after 8999"),
    (["body"], [], "the body is no object"),
    (["body", "value"], 0.5, "a float in the body"),
    (["chains"], [], "no chain"),
    (["chains"], ["memory/k", "memory/k"], "a chain stands twice"),
    (["chains"], ["memory"], "no name of a chain"),
    (["chains"], [f"memory/{nth}" for nth in range(101)], "over 100 chains"),
    (["format"], 0, "no format number"),
    (["format"], True, "no format number"),
    (["format"], 2, "a greater format number, which a reader refuses in other words"),
    (["nonce"], "", "an empty nonce"),
    (["nonce"], "a b", "a character that is in no nonce"),
    (["session"], "s" * 201, "a session has over 200 bytes"),
]
VERSIONS: list[tuple[list[Any], Any, str]] = [
    (["at"], "2019-12-31T23:59:59.999999Z-0000", "before 2020"),
    (["by"], "", "an empty name"),
    (["chain"], "memory/other", "another chain than the slot's"),
    (["events"], {}, "events is no array"),
    (["events", 0, "agent"], 1, "an event in it is damaged"),
    (["events", 0, "body", "value"], 0.5, "a float in it"),
    (["merge"], {"after": 0, "chain": "inbox/@all", "count": 1, "taken": 1, "through": 1},
     "a merge outside of an inbox"),
    (["now"], "soon", "no stamp"),
    (["otherwise"], {}, "otherwise without a transaction"),
    (["prev"], None, "prev is null in version 2"),
    (["prev"], "0" * 63, "no id"),
    (["prev_stored"], 1, "no stamp"),
    (["seq"], 3, "another number than the slot's"),
    (["seq"], 0, "no version number"),
    (["stands"], 2, "stands is not less than seq"),
    (["state"], None, "the state is no object"),
    (["sum"], "0" * 64, "the sum is wrong"),
    (["txn"], _TXN, "a transaction of two slots without otherwise"),
    (["txn"], {**_TXN, "slots": {"memory/other": 1}}, "its own slot is not among the slots"),
    (["txn"], {**_TXN, "slots": {}}, "no slots"),
]  # fmt: skip


def refused() -> dict[str, Any]:
    """Return sound records, and what is made of them."""
    line = Line("memory/k")
    event = line.event("memory.set", {"type": "text", "value": "x"}).event
    line.one("memory.set", {"type": "text", "value": "one"})
    line.one("memory.set", {"type": "text", "value": "two"})
    version = line.versions[1].record
    return {
        "slot": {"chain": "memory/k", "version": 2},
        "sound": {"event": event.record, "version": version},
        "events": [{"record": _changed(event.record, *row[:2]), "why": row[2]} for row in EVENTS],
        "versions": [
            {"record": _summed(_changed(version, path, value), path), "why": why}
            for path, value, why in VERSIONS
        ],
    }


def _changed(record: Any, path: list[Any], value: Any) -> Any:
    changed = copy.deepcopy(record)
    inside = changed
    for name in path[:-1]:
        inside = inside[name]
    if value is _GONE:
        del inside[path[-1]]
    else:
        inside[path[-1]] = value
    return changed


def _summed(record: Any, path: list[Any]) -> Any:
    if path == ["sum"]:
        return record
    whole = {name: value for name, value in record.items() if name != "sum"}
    return {**whole, "sum": digest(encode(whole))}
