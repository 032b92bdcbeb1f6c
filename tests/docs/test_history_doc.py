"""docs/history.md shows a run and how to look back on it: its commands are run here.

To write what commands print now into the page: PYTHONPATH=tests python -m docs.test_history_doc
"""

from __future__ import annotations

import re
import tempfile
from pathlib import Path

import pytest

from docs import reading
from docs.reading import ROOT, check, record

HISTORY = ROOT / "docs" / "history.md"
# The history commands show ids of 8 digits where these are enough.
VARYING = [(re.compile(r"\b[0-9a-f]{8,64}\b"), "<id>"), (re.compile(r"\b\d+ms\b"), "<span>")]


def test_the_commands_show_what_the_page_shows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        reading, "_VARYING", [*reading._VARYING[:-1], *VARYING, *reading._VARYING[-1:]]
    )
    check(HISTORY, tmp_path, "demo")


if __name__ == "__main__":
    reading._VARYING[-1:-1] = VARYING
    with tempfile.TemporaryDirectory() as temporary:
        print(record(HISTORY, Path(temporary).resolve(), "demo"))
