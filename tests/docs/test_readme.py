"""README.md and docs/tour.md show what happens: their commands and the Python are run here."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

from docs.reading import ROOT, blocks, check, environment

README = ROOT / "README.md"
TOUR = ROOT / "docs" / "tour.md"
STORES = ROOT / "docs" / "stores.md"


def test_the_commands_show_what_the_tour_shows(tmp_path: Path) -> None:
    check(TOUR, tmp_path, "demo")


def test_the_commands_and_the_python_show_what_the_readme_shows(tmp_path: Path) -> None:
    """The Python goes on where the commands ended."""
    check(README, tmp_path, "demo")
    (text,) = [text for text, _ in blocks(README, "python")]
    said = re.findall(r"print\(.*\)  # (.*)$", text, re.MULTILINE)
    assert len(said) == text.count("print(")
    done = subprocess.run(
        [sys.executable, "-c", text],
        cwd=tmp_path / "demo",
        env=environment(tmp_path),
        capture_output=True,
        check=True,
        text=True,
    )
    assert done.stdout.splitlines() == said


def test_the_commands_for_buckets_are_understood(tmp_path: Path) -> None:
    # There is no bucket here: what is held against the command line is the words.
    lines = [
        line
        for text, _ in blocks(STORES, "sh")
        for line in text.splitlines()
        if line.startswith("tclog init s3://")
    ]
    assert len(lines) == 3
    for line in lines:
        done = subprocess.run(
            ["bash", "-c", f"{line} --help"],
            cwd=tmp_path,
            env=environment(tmp_path),
            capture_output=True,
            check=False,
        )
        assert done.returncode == 0, done
