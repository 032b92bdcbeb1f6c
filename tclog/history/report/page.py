"""The page: one HTML file with its style, its script and its data inside, and no network at all.

What agents wrote is in the file as JSON only, in a script element that nothing executes, with every
character escaped that could end it; the script puts it on the page as text, never as markup. The
policy in the page's head admits this style and this script by their hashes and nothing else, so the
browser would refuse both a request and a script that came in by some hole in this.
"""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Iterable, Iterator, Mapping
from hashlib import sha256
from html import escape
from importlib.resources import files
from io import BytesIO
from typing import Any

import orjson

STYLES = ("page.css", "timeline.css")
# In the order in which they build on each other; together they are one function.
SCRIPTS = (
    "text.js",
    "model.js",
    "lanes.js",
    "draw.js",
    "marks.js",
    "timeline.js",
    "tables.js",
    "details.js",
    "main.js",
)
# In JSON these stand in strings only. The line separators end a line in old scripts.
_ESCAPES = {c.encode(): f"\\u{ord(c):04x}".encode() for c in "<>&\u2028\u2029"}


def render_page(report: Mapping[str, Any]) -> bytes:
    """Return the file, as UTF-8; the same report gives the same bytes."""
    style = "".join(map(_asset, STYLES))
    script = '(() => {\n"use strict";\n' + "".join(map(_asset, SCRIPTS)) + "})();\n"
    policy = (
        f"default-src 'none'; style-src {_hash(style)}; script-src {_hash(script)};"
        " base-uri 'none'; form-action 'none'"
    )
    parts: dict[str, Iterable[bytes]] = {
        "@@POLICY@@": [policy.encode()],
        "@@TITLE@@": [escape(str(report["title"])).encode()],
        "@@STYLE@@": [style.encode()],
        "@@DATA@@": _data(report),
        "@@SCRIPT@@": [script.encode()],
    }
    page, rest = BytesIO(), _asset("page.html")
    # One pass, so that nothing in a title or in the data can be taken for a place to fill.
    for name, part in parts.items():
        before, _, rest = rest.partition(name)
        page.write(before.encode())
        page.writelines(part)
    page.write(rest.encode())
    return page.getvalue()


def _data(report: Mapping[str, Any]) -> Iterator[bytes]:
    """Yield the report's JSON, escaped, table by table: the whole of a long log is not small.

    Bytes throughout: as a text it would take four bytes a character for one emoji in it.
    """
    for nth, (name, table) in enumerate(report.items()):
        data = orjson.dumps(table)
        for character, escaped in _ESCAPES.items():
            data = data.replace(character, escaped)
        yield (b"," if nth else b"{") + orjson.dumps(name) + b":"
        yield data
    yield b"}"


def _asset(name: str) -> str:
    return files(__package__).joinpath("assets", name).read_text("utf-8")


def _hash(text: str) -> str:
    return f"'sha256-{b64encode(sha256(text.encode()).digest()).decode()}'"
