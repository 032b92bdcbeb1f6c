"""What a copy of a log leaves out, and how a command says so."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import TYPE_CHECKING

from tclog.cli.invocation import Invocation
from tclog.cli.output import one_line, write_json, write_line
from tclog.errors import Damaged

if TYPE_CHECKING:
    from tclog.maintenance.copies.job import Copied


def tell_damage(call: Invocation) -> Callable[[str, str], None]:
    """Say on stderr which object was left out."""

    def tell(key: str, why: str) -> None:
        if call.json:
            record = {"type": "damage", "object": key, "code": "left-out", "message": why}
            write_json(record, sys.stderr)
        else:
            write_line(f"damaged: {one_line(key)} {one_line(why)}", sys.stderr)

    return tell


def note_junk(call: Invocation) -> Callable[[str, str], None]:
    """Say on stderr which slot was copied though it holds junk."""
    return lambda key, why: call.note(f"{key} holds junk, which is copied as it is: {why}")


def end_copy(call: Invocation, copied: Copied, what: str) -> None:
    """Say what was left out.

    Raises:
        Damaged: something was that belongs to the log.
    """
    if copied.foreign:
        call.note(f"{copied.foreign} object(s) that are not tclog's were left out")
    if copied.damaged:
        raise Damaged(
            f"{copied.damaged} damaged object(s) are not in the {what}",
            code="store-damaged",
            hint="tclog fsck",
            damaged=copied.damaged,
        )
