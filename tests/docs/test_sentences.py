"""The documents are easy to read: short sentences, and subjects that come first."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from docs.reading import ROOT, prose

# For newcomers: no sentence here is longer.
SHORT = (ROOT / "README.md", ROOT / "docs" / "concepts.md")
WORDS_MAX = 30

_LINK = re.compile(r"!?\[([^\]]*)\]\([^)]*\)")
# A paragraph, a heading, a cell of a table, an item of a list: none goes on in the next one.
_BREAK = re.compile(r"\n\s*\n|\||^\s*(?:#+|[*-]|\d+\.) ", re.MULTILINE)
_END = re.compile(r"(?<=[.!?])\s+")


def sentences(text: str) -> Iterator[str]:
    """Yield the sentences of a document's prose."""
    for part in _BREAK.split(_LINK.sub(r"\1", text)):
        for sentence in _END.split(" ".join(part.split())):
            if sentence:
                yield sentence


def test_sentences_end_where_a_reader_sees_it() -> None:
    text = (
        "# Title\n\nOne two,\nthree. [Four](x.md) five!\n\n* six\n* seven: eight\n\n| a | b c |\n"
    )
    assert [*sentences(text)] == [
        *("Title", "One two, three.", "Four five!", "six", "seven: eight", "a", "b c"),
    ]


@pytest.mark.parametrize("path", SHORT, ids=lambda path: path.name)
def test_a_sentence_for_newcomers_is_short(path: Path) -> None:
    assert not [each for each in sentences(prose(path)) if len(each.split()) > WORDS_MAX]
