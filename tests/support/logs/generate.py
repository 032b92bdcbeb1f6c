"""Big logs for tests and measurements, in the store's own format and valid throughout.

    PYTHONPATH=tests python -m support.logs.generate /tmp/big --events 100000
    PYTHONPATH=tests python -m support.logs.generate /tmp/old --events 1000000 --days 10 --packed
    TCLOG_STORE=/tmp/big tclog log -n 5

A run of some agents over a virtual day: steps with dependencies, claims, renewals, notes, lost
leases and hand-offs; values, counters and journals; direct messages and broadcasts with their
merges and acknowledgements; barriers, artifacts, tags; and attempts that lost their race. Every
event was decided and every state folded by the rules that ship; only the protocol's requests are
left out, since nobody else writes. Invariant: the same arguments give the same bytes.

A packed log is what ``tclog pack`` and ``tclog gc --delete`` leave of the same log, and is made so
from the beginning: see ``archive``.
"""

from __future__ import annotations

import argparse
import random
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from support.logs.archive import Archive
from support.logs.growing import BEGIN_US, PROJECT, SPAN_S, Generated, Growing, Work, Writer
from tclog.chain.drive import run
from tclog.log.project import create_project
from tclog.store import Location, open_store
from tclog.store.base import Store


def generate(
    store: Store,
    *,
    events: int,
    agents: int = 8,
    seed: int = 0,
    begin_us: int = BEGIN_US,
    span_s: float = SPAN_S,
    packed: bool = False,
) -> Generated:
    """Write a log of as many events as asked for, into a store that holds none.

    In a folder the objects have stamps of the virtual time too; another store stamps them itself.

    Args:
        store: where to.
        events: how many, attempts included; packing adds two.
        agents: how many.
        seed: another log.
        begin_us: when the work begins.
        span_s: about how long it goes on.
        packed: leave what pack and gc leave; the store has to be a folder.
    """
    rng = random.Random(seed)
    if not packed:
        log = Growing(Writer(store), events, rng, begin_us, span_s)
        Work(log, events, agents, rng).run()
        return log.done()
    archive = Archive(store)
    log = Growing(archive, events, rng, begin_us, span_s)
    Work(log, events, agents, rng).run()
    archive.finish(log)
    return log.done()


def generate_project(
    folder: Path,
    *,
    events: int,
    agents: int = 8,
    seed: int = 0,
    project: str = PROJECT,
    span_s: float = SPAN_S,
    packed: bool = False,
) -> Generated:
    """Make a project with a big log in a folder, for the command line to open."""
    store = open_store(Location(str(folder), project, {"fsync": False}), create=True)
    run(create_project(project, f"{seed:032x}", BEGIN_US), store)
    return generate(store, events=events, agents=agents, seed=seed, span_s=span_s, packed=packed)


def main(words: Sequence[str] | None = None) -> int:
    """Make a project from the command line."""
    parser = argparse.ArgumentParser(
        prog="python -m support.logs.generate",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("folder", type=Path, help="the store: a folder")
    parser.add_argument("--events", type=int, default=10_000, help="how many")
    parser.add_argument("--agents", type=int, default=8, help="how many")
    parser.add_argument("--seed", type=int, default=0, help="another log")
    parser.add_argument("--days", type=float, default=1.0, help="about how long they work")
    parser.add_argument("--packed", action="store_true", help="packed, and gc has been at work")
    parser.add_argument("--project", default=PROJECT, help="its name")
    options = parser.parse_args(words)
    begun_s = time.monotonic()
    done = generate_project(
        options.folder,
        events=options.events,
        agents=options.agents,
        seed=options.seed,
        project=options.project,
        span_s=options.days * SPAN_S,
        packed=options.packed,
    )
    print(
        f"{done.events} events ({done.attempts} attempts), {done.versions} versions,"
        f" {done.chains} chains in {time.monotonic() - begun_s:.1f} s"
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
