"""The benchmarks run, in a form so small that it says nothing of speed, and the page is theirs."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]
PARTS = {"cli", "requests", "races", "senders", "rates", "history", "million"}


def bench(*words: Any) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "bench", *map(str, words)],
        cwd=ROOT, capture_output=True, text=True, check=False, timeout=600,
    )  # fmt: skip


@pytest.mark.slow
def test_every_part_runs_and_a_page_comes_of_it(tmp_path: Path):
    done = bench(
        "--quick", "--big", "--alone", "--python", sys.executable, "--out", tmp_path / "results"
    )
    assert done.returncode == 0, done.stderr
    found = {path.stem: path for path in (tmp_path / "results").iterdir()}
    assert set(found) == PARTS
    for path in found.values():
        rows = [json.loads(line) for line in path.read_text().splitlines()]
        assert rows[0]["part"] == rows[-1]["part"] == "machine"
        assert len(rows) >= 5
    look = (
        "import sys; from pathlib import Path; from bench import report;"
        " text, plots = report.page(Path(sys.argv[1])); print(text, *plots.values())"
    )
    page = subprocess.run(
        [sys.executable, "-c", look, tmp_path / "results"],
        cwd=ROOT, capture_output=True, text=True, check=True,
    ).stdout  # fmt: skip
    for heading in (
        "Aims", "One process", "Requests", "Claim races", "Senders", "A growing log", "A million",
    ):  # fmt: skip
        assert f"\n## {heading}" in page
    assert page.count("<svg") == page.count("</svg>") == 3


def test_the_page_is_what_the_kept_samples_say():
    done = bench("--check")
    assert done.returncode == 0, "run: scripts/bench --report"
