"""tclog batch."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from tclog.cli.app import operation
from tclog.cli.files import reading
from tclog.cli.invocation import Invocation
from tclog.cli.output import STDIN, error_record, write_json
from tclog.errors import EXIT_DONE, TclogError, UsageError

if TYPE_CHECKING:
    from tclog.cli.operations import Asked


@operation(
    "batch",
    example="""
    tclog batch --as alice
    """,
)
def batch(call: Invocation) -> None:
    """Do many operations in one process: lines of JSON in and out.

    In order: each line on standard input is an object with op and its fields, for example
    {"op":"memory.set","key":"a","value":"90"}. Each gets one line on standard output at once: the
    object that its command prints with --json, a list of them, or an error object. It goes on after
    an error; the exit status is that of the first one. Each operation is committed by itself.
    """
    from tclog.cli.operations import read_lines, read_operation

    call.log(reader=True)
    status = EXIT_DONE
    with reading(STDIN) as lines:
        for number, raw in read_lines(lines):
            try:
                answer = _carry_out(call, read_operation(number, raw))
            except TclogError as error:
                status = status or error.exit
                error.details.setdefault("line", number)
                wrong = isinstance(error, UsageError)
                error.hint = error.hint or ("tclog batch --help" if wrong else "tclog doctor")
                answer = error_record(error)
            write_json(answer)
    click.get_current_context().exit(status)


def _carry_out(call: Invocation, asked: Asked) -> dict[str, Any]:
    log = call.log(reader=True)
    if asked.acts:
        call.agent()
    asked = asked.fenced(call.fence_of)
    # A point may name what was written since the last one was read.
    log.history.look_again()
    found = log.run(asked.protocol(log.client, call.point))
    found = getattr(found, "messages", found)
    if isinstance(found, list | tuple) and not hasattr(found, "as_json"):
        return {"type": "list", "op": asked.op, "items": [row.as_json() for row in found]}
    record: dict[str, Any] = found.as_json()
    return record
