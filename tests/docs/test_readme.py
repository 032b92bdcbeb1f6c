"""README.md, docs/tour.md and docs/python.md: their commands and the Python are run here."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

from docs.reading import ROOT, blocks, check, environment, run

README = ROOT / "README.md"
TOUR = ROOT / "docs" / "tour.md"
PYTHON = ROOT / "docs" / "python.md"
STORES = ROOT / "docs" / "stores.md"


def test_the_commands_show_what_the_tour_shows(tmp_path: Path) -> None:
    check(TOUR, tmp_path, "demo")


def test_the_commands_and_the_python_show_what_the_readme_shows(tmp_path: Path) -> None:
    """The Python goes on where the commands ended."""
    check(README, tmp_path, "demo")
    (text,) = [text for text, _ in blocks(README, "python")]
    check_python(text, tmp_path)


def test_the_python_shows_what_its_page_shows(tmp_path: Path) -> None:
    (tmp_path / "demo").mkdir()
    run("tclog init", tmp_path / "demo", tmp_path)
    for text, _ in blocks(PYTHON, "python"):
        check_python(text, tmp_path)


def check_python(text: str, home: Path) -> None:
    """Run a program in the project; it prints what its comments say."""
    said = re.findall(r"print\(.*\)  # (.*)$", text, re.MULTILINE)
    assert len(said) == text.count("print(")
    done = subprocess.run(
        [sys.executable, "-c", text],
        cwd=home / "demo",
        env=environment(home),
        capture_output=True,
        check=False,
        text=True,
    )
    assert done.returncode == 0, done.stderr
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
