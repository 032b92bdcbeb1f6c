"""tclog revert: one more event that undoes another."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import click

from tclog.cli import options
from tclog.cli.app import operation
from tclog.cli.invocation import Invocation
from tclog.cli.output import one_line


@operation(
    "revert",
    example="""
    tclog revert 4d579556 --as alice
    """,
)
@click.argument("id_prefix", metavar="ID")
@click.option("--force", is_flag=True, help="Also undo what later events changed there.")
@options.id_key
def revert(call: Invocation, id_prefix: str, force: bool, id_key: str | None) -> None:
    """Restore what an event changed, by one more event.

    A value becomes what it was before, a tag goes back, an artifact gets its version before as a
    new one, an ended step is reopened, your own claim released. Nothing is taken out of the log.
    Of a transaction all is undone, in one transaction. Refused (exit 4) where a later event changed
    the same since, and where there is no way back, as for a message; then the hint says what helps
    instead.
    """
    from tclog.cli.descriptions import name_of

    call.log()  # whoever writes has a name
    done = call.history().revert(id_prefix, force=force, id=id_key)
    if not done.written:
        call.note("nothing was written: it is so already")
    what = f"Reverted {done.event.op} of {name_of(done.shown)} by {done.event.agent}"
    lines = [f"{what}: {_now(done.shown)}"]
    lines += [f"with it {name_of(shown)}: {_now(shown)}" for shown in done.others]
    call.emit(done.as_json(), "\n".join(lines))


def _now(shown: Mapping[str, Any]) -> str:
    from tclog.cli.descriptions import words_of

    now = "no value" if shown.get("deleted") else one_line(words_of(shown))
    return f"now {now} (version {shown['version']})"
