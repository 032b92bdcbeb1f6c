"""Figures on the pages are those of the code: one line for each."""

from __future__ import annotations

import os
import re
import shutil
from pathlib import Path

import pytest

import tclog
from tclog.chain import append, client, heads, seal
from tclog.cli import child
from tclog.clock import AHEAD_TRUSTED_US, ARRIVES_US, SETTLED_US, TRIED_US, parse_us
from tclog.domain import barriers, steps
from tclog.event import TXN_CHAINS_MAX
from tclog.event.names import NAME_BYTES_MAX
from tclog.log import waiting
from tclog.store import probe
from tclog.store.s3 import KIND as S3
from tclog.sync import chains, sync

DOCS = Path(__file__).resolve().parents[2] / "docs"
MINUTE_US = 60_000_000
DECIDE_S = client.Client.__init__.__kwdefaults__["decide_timeout_s"]

# The page, the words with # in the place of each figure, and the figures by the code.
FIGURES: list[tuple[str, str, tuple[float, ...]]] = [
    ("guarantees", "The pause between two looks grows from # ms to # s, times a random factor",
     (waiting.POLL_MIN_S * 1000, waiting.POLL_MAX_S)),
    ("guarantees", "so it is between # ms and # s",
     (waiting.POLL_MIN_S * waiting.DRAWN[0] * 1000, waiting.POLL_MAX_S * waiting.DRAWN[1])),
    ("guarantees", "by reading back, for up to # seconds", (DECIDE_S,)),
    ("guarantees", "# writers race for one key, # times", (probe.RACERS, probe.ROUNDS)),
    ("guarantees", "to within # seconds. So a client", (AHEAD_TRUSTED_US / 1e6,)),
    ("guarantees", "The default lease is # minutes; the shortest is # ms, the longest # days",
     (steps.LEASE_MS_DEFAULT / 60_000, steps.LEASE_MS_MIN, steps.LEASE_MS_MAX / 86_400_000)),
    ("guarantees", "a sixth of the lease or # seconds", (child.KILL_AFTER_S,)),
    ("guarantees", "sent up to # minutes later, and on a bucket", (seal.EVENT_AGE_MAX_S / 60,)),
    ("guarantees", "for # minutes more. After that it is never committed",
     (ARRIVES_US / MINUTE_US,)),
    ("guarantees", "a T that is more than # minutes ago", (SETTLED_US / MINUTE_US,)),
    ("guarantees", "comes more than # minutes after its event", (chains.UNDECIDED_US / MINUTE_US,)),
    ("guarantees", "# chains and 100 operations are the most", (TXN_CHAINS_MAX,)),
    ("guarantees", "after # losses it gives up", (append.RACES_MAX,)),
    ("guarantees", "Names are 1 to # bytes", (NAME_BYTES_MAX,)),
    ("guarantees", "the id of the project is remembered for # minutes", (S3.mark_kept_s / 60,)),
    ("concepts", "no write can still join it. This takes # minutes", (SETTLED_US / MINUTE_US,)),
    ("architecture", "in a bucket at most once in # minutes", (S3.mark_kept_s / 60,)),
    ("architecture", "`marks/`: the id of a bucket's project, believed for # minutes",
     (S3.mark_kept_s / 60,)),
    ("sync", "arrives at most # minutes after it was sent", (ARRIVES_US / MINUTE_US,)),
    ("sync", "a stamped version may be sent | # |", (TRIED_US / MINUTE_US,)),
    ("sync", "an event may be tried in a slot | # |", (seal.EVENT_AGE_MAX_S / 60,)),
    ("sync", "a moment is settled (`SETTLED_US` in `tclog/clock.py`) | # |",
     (SETTLED_US / MINUTE_US,)),
    ("sync", "before its horizon (`WINDOW_US` in `tclog/sync/chains.py`) | # |",
     (chains.WINDOW_US / MINUTE_US,)),
    ("sync", "without a slot (`UNDECIDED_US` in `tclog/sync/chains.py`) | # |",
     (chains.UNDECIDED_US / MINUTE_US,)),
    ("sync", "A stamp more than # seconds ahead", (sync.CLOCK_OFF_US / 1e6,)),
]  # fmt: skip
ONCE_A_MINUTE = [
    ("guarantees", "| a bucket | once a minute"),
    ("architecture", "once a minute it"),
]


@pytest.mark.parametrize(("page", "words", "figures"), FIGURES, ids=[row[1] for row in FIGURES])
def test_a_figure_is_that_of_the_code(page: str, words: str, figures: tuple[float, ...]) -> None:
    text = " ".join((DOCS / f"{page}.md").read_text().split())
    pattern = re.escape(words).replace(re.escape("#"), r"([\d,]+)")
    found = re.search(pattern, text)
    assert found is not None, f"{page}.md does not say: {words}"
    assert [float(figure.replace(",", "")) for figure in found.groups()] == list(figures)


def test_once_a_minute_is_once_a_minute() -> None:
    assert heads.LOOK_EVERY_S == 60.0
    for page, words in ONCE_A_MINUTE:
        assert words in " ".join((DOCS / f"{page}.md").read_text().split())


def test_a_barrier_takes_as_many_as_its_error_says() -> None:
    assert barriers.PARTIES_MAX == 1000


# -- pages that say the same of one thing ---------------------------------------------------------


@pytest.mark.parametrize("page", ["guarantees", "failure-modes"])
def test_the_pages_agree_on_the_leases_of_a_copy(page: str) -> None:
    text = " ".join((DOCS / f"{page}.md").read_text().split())
    (row,) = re.findall(r"\| (?:the project is )?copied to another place \|([^|]*)\|", text)
    assert "with new stamps" in row
    assert "keeps the stamps" in row


@pytest.mark.parametrize(("copy", "kept"), [(shutil.copy2, True), (shutil.copy, False)])
def test_a_lease_in_a_copied_folder_runs_from_the_stamps_of_the_copy(
    tmp_path: Path, copy: object, kept: bool
) -> None:
    log = tclog.open(tmp_path / "store", agent="alice", create=True)
    log.steps.claim("design", lease_s=3600)
    (slot,) = (tmp_path / "store").glob("*/chains/step/design/*.json")
    then_s = slot.stat().st_mtime - 60
    os.utime(slot, (then_s, then_s))
    shutil.copytree(tmp_path / "store", tmp_path / "copy", copy_function=copy)  # type: ignore[arg-type]
    ends = [
        parse_us(tclog.open(tmp_path / name, agent="bob").steps.show("design").lease_until)
        for name in ("store", "copy")
    ]
    assert (ends[0] == ends[1]) == kept
    assert kept or ends[1] - ends[0] > 50_000_000
