"""Let real processes loose on a store, hurt them and it, and check every promise afterwards.

Prints a line of JSON for each store, and each broken promise with the seed and the place of the
recorded history. The exit status is 1 if a promise was broken. A seed fixes what is asked and which
faults are drawn, not how the processes meet; the history tells how they met.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import sys
import tempfile
from pathlib import Path

from chaos.run import Plan, run

STORES = ("file", "ceph")


def main() -> int:
    """Run on each store that is asked for."""
    parser = argparse.ArgumentParser(prog="scripts/chaos", description=__doc__)
    parser.add_argument("--store", default=",".join(STORES), help="file, ceph, or both (default)")
    parser.add_argument("--seconds", type=float, default=600, help="for each store (default 600)")
    parser.add_argument("--seed", type=int, default=int.from_bytes(os.urandom(4)))
    parser.add_argument("--operations", type=int, default=1_000_000, help="end after so many")
    parser.add_argument("--commands", type=int, default=6, help="agents on the command line")
    parser.add_argument("--members", type=int, default=2, help="agents on the Python API")
    parser.add_argument("--bug", default="", help="plant this bug in the members")
    parser.add_argument("--keep", action="store_true", help="keep the history of a good run too")
    options = parser.parse_args()
    broken = 0
    for store in options.store.split(","):
        if store not in STORES:
            parser.error(f"{store!r} is no store; there are {', '.join(STORES)}")
        folder = Path(tempfile.mkdtemp(prefix="tclog-chaos-run-"))
        print(f"{store}: seed {options.seed}, {options.seconds:g} s, in {folder}", file=sys.stderr)
        plan = Plan(
            store,
            options.seed,
            options.seconds,
            options.operations,
            options.commands,
            options.members,
            bug=options.bug,
        )
        outcome = run(plan, folder)
        for sentence in outcome.broken:
            print(f"BROKEN {sentence}")
        if outcome.broken:
            print(f"seed {options.seed}; the history is {outcome.history}")
        elif not options.keep:
            shutil.rmtree(folder)
        print(json.dumps(outcome.record), flush=True)
        broken += len(outcome.broken)
    return 1 if broken else 0


if __name__ == "__main__":
    sys.exit(main())
