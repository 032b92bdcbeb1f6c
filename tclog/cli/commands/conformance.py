"""tclog conformance."""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import click

from tclog.cli import options
from tclog.cli.app import operation
from tclog.cli.invocation import Invocation
from tclog.cli.output import one_line, write_json, write_line
from tclog.errors import NotFound, TclogError, UsageError, to_run, unsupported

if TYPE_CHECKING:
    from tclog.testing.conformance import Check


@operation(
    "conformance",
    example="""
    tclog conformance --only alone -- tclog batch
    """,
)
@click.argument("command", nargs=-1, required=True, type=click.UNPROCESSED, metavar="-- CMD...")
@click.option("--seed", type=int, default=0, metavar="N", help="Draw another schedule.")
@click.option(
    "--rounds",
    type=click.IntRange(1, 10_000),
    default=3,
    metavar="N",
    help="Rounds of races and kills (3).",
)
@click.option(
    "--seconds",
    type=options.DURATION,
    default="5m",
    metavar="D",
    help="Begin no more rounds after this time (5m).",
)
@click.option(
    "--only",
    multiple=True,
    metavar="PART",
    help="Do one part: alone, races, killed, keys, lapsed, transactions, junk, clocks.",
)
def conformance(
    call: Invocation,
    command: tuple[str, ...],
    seed: int,
    rounds: int,
    seconds: float,
    only: tuple[str, ...],
) -> None:
    """Try another client of the format against tclog.

    CMD speaks the lines of `tclog batch` on its standard input and output. Several processes of it
    and of tclog work on a fresh project in a temporary folder: they race, some are killed, some
    have wrong clocks, and transactions run beside them. Then fsck checks the log, and every answer
    is compared with it. Prints one line for each check. Exit status 0 if all hold, else 1; the
    folder is kept then.
    """
    if not hasattr(os, "killpg"):
        raise unsupported("conformance", "process groups")
    from tclog.testing.conformance import PARTS, conform

    for part in only:
        if part not in PARTS:
            raise UsageError(f"unknown part {part!r}; the parts are {', '.join(PARTS)}")
    folder = Path(tempfile.mkdtemp(prefix="tclog-conformance-"))

    def tell(check: Check) -> None:
        if call.json:
            write_json({"type": "check", **check._asdict()})
        else:
            words = f"{'ok' if check.ok else 'failed'}\t{check.name}\t{one_line(check.detail)}"
            write_line(words.rstrip())

    try:
        held = conform(
            command,
            call.environ,
            folder,
            seed=seed,
            rounds=rounds,
            seconds=seconds,
            tell=tell,
            only=only,
        )
    except OSError as error:
        shutil.rmtree(folder, ignore_errors=True)
        raise _not_started(command[0], error) from None
    if not held:
        raise TclogError(
            f"{one_line(command[0])} does not keep the format; the store is kept in {folder}",
            code="client-differs",
            hint=to_run("tclog --store", str(folder / "store"), then="--project conformance fsck"),
        )
    shutil.rmtree(folder, ignore_errors=True)


def _not_started(name: str, error: OSError) -> TclogError:
    if isinstance(error, FileNotFoundError):
        return NotFound(
            f"there is no command {name}", code="command-not-found", hint=to_run("which", name)
        )
    return UsageError(f"{name} cannot be run: {error.strerror}", code="command-not-run")
