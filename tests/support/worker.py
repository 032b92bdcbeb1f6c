"""One process that runs many tclog commands: ``tests/support/project.py`` starts and drives it.

Reads jobs from stdin, one JSON object a line, ``{"commands": [[word, ...], ...], "gate": PATH}``,
and answers each command with one JSON line. With a gate it first says that it is ready, then
waits for a share of the lock on that file.
"""

import fcntl
import io
import json
import os
import sys
import time

from tclog.cli.app import run_command


def main() -> None:
    """Run jobs until stdin ends."""
    jobs = os.fdopen(os.dup(0), "rb")
    answers = os.fdopen(os.dup(1), "wb")
    nothing = os.open(os.devnull, os.O_RDWR)
    os.dup2(nothing, 0)
    os.dup2(nothing, 1)

    def say(record: dict[str, object]) -> None:
        answers.write(json.dumps(record).encode() + b"\n")
        answers.flush()

    for line in jobs:
        job = json.loads(line)
        if job["gate"] is not None:
            say({"ready": True})
            with open(job["gate"], "rb") as gate:
                fcntl.flock(gate, fcntl.LOCK_SH)
        for words in job["commands"]:
            say(one(words))


def one(words: list[str]) -> dict[str, object]:
    """Run one command and return its status and what it printed."""
    out, err = io.BytesIO(), io.BytesIO()
    sys.stdout = io.TextIOWrapper(out, "utf-8", write_through=True)
    sys.stderr = io.TextIOWrapper(err, "utf-8", write_through=True)
    begun = time.monotonic()
    try:
        code = run_command(words)
    except SystemExit as leave:
        code = leave.code if isinstance(leave.code, int) else 1
    ended = time.monotonic()
    return {
        "code": code,
        "out": out.getvalue().decode(),
        "err": err.getvalue().decode(),
        "begun": begun,
        "ended": ended,
    }


if __name__ == "__main__":
    main()
