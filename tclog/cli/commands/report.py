"""tclog report: a run as one self-contained web page."""

from __future__ import annotations

import click

from tclog.cli import options
from tclog.cli.app import operation
from tclog.cli.files import write_whole
from tclog.cli.invocation import Invocation
from tclog.cli.output import STDIN, size, write_bytes
from tclog.errors import UsageError


@operation(
    "report",
    example="""
    tclog report run.html
    tclog report last-two-hours.html --from 2h --title 'Release 1.2'
    """,
)
@click.argument("out", type=options.FILE_OUT, metavar="OUT.html")
@click.option("--from", "since", metavar="POINT", help="Only what came after this.")
@click.option("--to", "until", metavar="POINT", help="Only what came until this.")
@click.option(
    "--title",
    type=options.SAID,
    metavar="T",
    help="The page's heading (default: the project's name).",
)
@options.strict
def report(
    call: Invocation, out: str, since: str | None, until: str | None, title: str | None
) -> None:
    """Write a run as one web page, for people.

    A timeline with a lane for each agent (claims as bars, messages as arrows, memory writes and
    lost attempts as marks), the tables of steps, memory, messages and artifacts, and the details of
    each event on a click. The page is one file that loads nothing from anywhere; - prints it.
    """
    if call.json and out == STDIN:
        raise UsageError("- prints the page itself, which --json excludes")
    from tclog.history.report import Wanted, build_report, render_page
    from tclog.log.outfile import file_to_write

    target = None if out == STDIN else file_to_write(out, "report", "run.html")
    looking = call.history(since, until)
    history = looking.fresh()
    wanted = Wanted(
        call.log(reader=True).project.name,
        title or None,
        looking.boundary(since),
        looking.boundary(until),
    )

    def read() -> dict[str, object]:
        with history.index.reading():
            return build_report(history.index, wanted)

    found = history.asked(read)
    page = render_page(found)
    if target is None:
        write_bytes(page)
        return
    _write(target, page)
    counts = found["counts"]
    assert isinstance(counts, dict)  # noqa: S101 - as build_report makes it
    call.emit(
        {
            "type": "report",
            "path": target,
            "events": counts["events"],
            "attempts": counts["attempts"],
            "shown": counts["shown"],
            "claims": counts["claims"],
            "messages": counts["messages"],
            "agents": len(found["agents"]),  # type: ignore[arg-type]
            "from": found["from"],
            "to": found["to"],
            "size": len(page),
        },
        f"Wrote {target} ({counts['events']} events, {size(len(page))})",
    )
    if counts["shown"] < counts["events"] + counts["attempts"]:
        call.note(
            f"thinned out to {counts['shown']} events; a shorter range shows all:"
            " tclog report --from POINT --to POINT"
        )


def _write(target: str, page: bytes) -> None:
    """Write a file that appears whole or not at all."""
    try:
        write_whole(target, page)
    except OSError as error:
        from tclog.log.outfile import unwritable

        raise unwritable(target, error) from None
