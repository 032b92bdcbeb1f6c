"""The pictures in the README: a run that is played now, its report, and a real browser.

scripts/picture        writes docs/pictures/report-light.png and report-dark.png
"""

from __future__ import annotations

import base64
import subprocess
import sys
import tempfile
from pathlib import Path

from history.chromium import Page, run_chromium
from history.scenario import play

REPOSITORY = Path(__file__).resolve().parents[2]
PICTURES = REPOSITORY / "docs" / "pictures"
WIDTH, HEIGHT = 1240, 905
# With this beat the run takes about a minute, and looks like work.
PACE_S = 1.0
BYTES_MAX = 200_000
_SELECT = "report.select(report.claims.find((claim) => claim.outcome === 'taken_over').begin)"


def take(page: Page, report: Path, scheme: str) -> bytes:
    """Return a picture of a report's upper part."""
    page.scheme(scheme)
    page.open(report)
    page.value(f"{_SELECT}, 0")
    page.frame()
    clip = {"x": 0, "y": 0, "width": WIDTH, "height": HEIGHT, "scale": 1}
    found = page.call("Page.captureScreenshot", format="png", clip=clip)
    return base64.b64decode(found["data"])


def main() -> None:
    """Record a run and write the pictures."""
    with tempfile.TemporaryDirectory() as name, run_chromium() as browser:
        folder = Path(name)
        (folder / "files").mkdir()
        play(folder / "store", folder / "files", PACE_S)
        report = folder / "run.html"
        words = ["--store", str(folder / "store"), "--project", "demo", "report", str(report)]
        command = [sys.executable, "-m", "tclog", *words, "--title", "Release 1.2"]
        subprocess.run(command, check=True, cwd=REPOSITORY)
        page = browser.page(WIDTH, HEIGHT)
        PICTURES.mkdir(parents=True, exist_ok=True)
        for scheme in ("light", "dark"):
            picture = take(page, report, scheme)
            assert len(picture) < BYTES_MAX, len(picture)
            (PICTURES / f"report-{scheme}.png").write_bytes(picture)
        assert page.mistakes() == []


if __name__ == "__main__":
    main()
