"""The page docs/benchmarks.md and its plots, made from the samples and from nothing else."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path

from bench import chapters
from bench.measuring import Record, read_results
from bench.places import ROOT

RESULTS = ROOT / "bench" / "results"
PAGE = ROOT / "docs" / "benchmarks.md"
PLOTS = "benchmarks"

HEAD = """\
# Benchmarks

How fast tclog is beside other tools, and what its speed depends on. `scripts/bench` writes this
page and its plots from the samples in `bench/results/`, and every sample is kept. These commands
measure again:

```sh
scripts/bench                  # everything but the part million
scripts/bench --big            # also the part million
scripts/bench cli races        # some parts
scripts/bench --report         # only write this page again from the kept samples
```

`scripts/bench` sets up what it needs: tclog from a wheel in an environment of its own, Tracecraft
0.2.5 from its package, one node of Ceph with its S3 gateway, and one node of etcd. etcd shows what
a server gives. All of this runs on one machine, beside the measured processes.

**Read ratios, not seconds.** The machine is small, shared and noisy, and its seconds say nothing
about yours. Compared tools are measured in turns, in one run, so both sides have the same luck. The
figures are medians. None of them is a promise.
"""


def is_current(results: Path) -> bool:
    """Whether the page and its plots are what the samples say."""
    text, plots = page(results)
    drawn = {path.stem: path.read_text() for path in (PAGE.parent / PLOTS).glob("*.svg")}
    return PAGE.read_text() == text and drawn == plots


def write(results: Path) -> None:
    """Write the page and its plots."""
    text, plots = page(results)
    PAGE.write_text(text)
    folder = PAGE.parent / PLOTS
    folder.mkdir(exist_ok=True)
    for name, svg in plots.items():
        (folder / f"{name}.svg").write_text(svg)


def page(results: Path) -> tuple[str, Mapping[str, str]]:
    """Return the page and its plots, by name; a part that was not measured is left out."""
    samples = {path.stem: read_results(path) for path in sorted(results.glob("*.jsonl"))}
    aims: list[chapters.Aim] = []
    plots: dict[str, str] = {}
    told: list[str] = []
    write_chapters: Mapping[str, Callable[[Sequence[Record]], chapters.Chapter]] = {
        "cli": chapters.cli,
        "requests": chapters.requests,
        "races": chapters.races,
        "senders": chapters.senders,
        "rates": chapters.rates,
        "history": chapters.history,
        "million": chapters.million,
    }
    for name, chapter in write_chapters.items():
        if name in samples:
            done = chapter([row for row in samples[name] if row["part"] != "machine"])
            aims += done.aims
            plots |= done.plots
            told.append(done.text)
    text = "\n".join([HEAD, _machine(samples), _aims(aims), *told])
    return wrapped(text), plots


def wrapped(text: str) -> str:
    """Wrap the prose at 100 columns; tables, headings, pictures and code stay."""
    blocks = [
        block
        if block.startswith(("|", "#", "!", "`"))
        else textwrap.fill(block, 100, break_long_words=False, break_on_hyphens=False)
        for block in re.split(r"\n\n+", text.strip())
    ]
    return "\n\n".join(blocks) + "\n"


def _machine(samples: Mapping[str, Sequence[Record]]) -> str:
    rows = [row for part in samples.values() for row in part if row["part"] == "machine"]
    first = rows[0]
    loads = [row["load"][0] for row in rows]
    days = sorted({row["at"][:10] for row in rows})
    return (
        f"Measured on {' to '.join(dict.fromkeys((days[0], days[-1])))}: {first['cores']} cores,"
        f" {first['memory_bytes'] / 2**30:.0f} GiB of memory, {first['system']}"
        f" {first['machine']}, Python {first['python']}. Other work ran on the machine meanwhile:"
        f" its load average was {min(loads):g} to {max(loads):g}. If that is above the number of"
        " cores, a wall time is mostly a wait for one of them. So the page also gives CPU time.\n"
    )


def _aims(aims: Iterable[chapters.Aim]) -> str:
    rows = [[aim.what, aim.aim, aim.found, "yes" if aim.met else "**no**"] for aim in aims]
    return "## Aims\n\n" + chapters.table(["What", "Aim", "Found", "Met"], rows)
