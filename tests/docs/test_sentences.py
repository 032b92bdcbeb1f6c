"""The documents are easy to read: short sentences, and subjects that come first."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from docs.reading import ROOT, documents, prose

# For newcomers: no sentence here is longer.
SHORT = (ROOT / "README.md", ROOT / "docs" / "concepts.md")
WORDS_MAX = 30
# In all documents together: sentences such as "Who has lost may try again."
RELATIVE_MAX = 5

_LINK = re.compile(r"!?\[([^\]]*)\]\([^)]*\)")
# A paragraph, a heading, a cell of a table, an item of a list: none goes on in the next one.
_BREAK = re.compile(r"\n\s*\n|\||^\s*(?:#+|[*-]|\d+\.) ", re.MULTILINE)
_END = re.compile(r"(?<=[.!?])\s+")
_RELATIVE = re.compile(
    r"(?:^|[;:(] )(?:And |But |So )?who [a-z].*\.$|\b(?:whoever|whatever|that which) [a-z]",
    re.IGNORECASE,
)


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


@pytest.mark.parametrize(
    ("sentence", "found"),
    [
        ("Who has lost may try again.", True),
        ("A slot decides; who creates it has won.", True),
        ("Whoever appends looks first.", True),
        ("It is committed, whatever became of the first.", True),
        ("An agent that lost may try again.", False),
        ("The error says who holds the step.", False),
        ("Who holds it?", False),
        ("who made it", False),
    ],
)
def test_a_relative_clause_as_a_subject_is_found(sentence: str, *, found: bool) -> None:
    assert bool(_RELATIVE.search(sentence)) == found


def test_a_sentence_seldom_begins_with_a_relative_clause() -> None:
    found = [
        f"{path.name}: {each}"
        for path in documents()
        for each in sentences(prose(path))
        if _RELATIVE.search(each)
    ]
    assert len(found) <= RELATIVE_MAX, found
