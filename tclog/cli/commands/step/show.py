"""tclog step show."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from tclog.cli import options
from tclog.cli.app import operation
from tclog.cli.invocation import Invocation
from tclog.cli.output import Fact, shown_name, write_facts, write_json

if TYPE_CHECKING:
    from tclog.chain.results import Step


@operation(
    "show",
    example="""
    tclog step show build
    """,
)
@click.argument("step_id", metavar="ID")
@options.at
def show(call: Invocation, step_id: str, at: str | None) -> None:
    """Show one step: state, holder, lease, fencing token, last note, hand-off."""
    from tclog.log.steps import show_step

    log = call.log(reader=True)
    found = log.run(show_step(log.client, step_id, at=call.point(at)))
    if call.json:
        write_json(found.as_json())
    else:
        write_facts(_facts(found), now_us=call.now_us())


def _facts(found: Step) -> list[Fact]:
    facts = [
        Fact(shown_name(found.id), found.word, "state"),
        Fact("title", found.title),
        Fact("agent", found.agent and shown_name(found.agent)),
        Fact("session", found.session),
        Fact("fence", found.fence),
        Fact("lease until", found.lease_until, "time"),
        Fact("after", ",".join(found.after) or None),
        Fact("waiting for", ",".join(found.waiting) or None),
        Fact("note", None if found.note is None else f"{found.note_by}: {found.note}"),
    ]
    for name, value in (found.handoff or {}).items():
        shown = ", ".join(value) if isinstance(value, list) else value
        facts.append(Fact(f"handoff {name.replace('_', ' ')}", shown))
    facts.append(Fact("version", found.version))
    return [fact for fact in facts if fact.value is not None]
