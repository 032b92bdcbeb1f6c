"""tclog status."""

from __future__ import annotations

from tclog.cli import options
from tclog.cli.app import operation
from tclog.cli.invocation import Invocation
from tclog.cli.output import Fact, shown_name, when, write_facts, write_json

# How many steps a line names at most.
SHOWN_MAX = 10


@operation(
    "status",
    example="""
    tclog status --as alice
    """,
)
@options.at
@options.strict
def status(call: Invocation, at: str | None) -> None:
    """Show the project on one screen.

    Your claims, the claims you lost to others, your unread messages, and all steps by state.
    """
    from tclog.log.inbox import count_unread
    from tclog.log.lost import find_losses
    from tclog.log.steps import list_steps

    log = call.log(reader=True)
    agent = call.config.agent.value
    point = call.point(at)
    steps = log.run(list_steps(log.client, at=point))
    tally: dict[str, int] = {}
    for step in steps:
        tally[step.state] = tally.get(step.state, 0) + 1
    mine = [step for step in steps if step.state == "claimed" and step.agent == agent]
    # Losses are shown only for the present.
    lost = log.run(find_losses(log.client, steps)) if agent is not None and at is None else []
    ready = [step.id for step in steps if step.state == "ready"]
    lapsed = [step for step in steps if step.lapsed]
    unread = None if agent is None else log.run(count_unread(log.client, at=point))
    if call.json:
        write_json(
            {
                "type": "status",
                "project": log.project.name,
                "store": log.store.url,
                "agent": agent,
                "unread": unread,
                "claims": [step.as_json() for step in mine],
                "lost": [claim.as_json() for claim in lost],
                "steps": tally,
                "ready": ready,
                "lapsed": [step.id for step in lapsed],
            }
        )
        return
    facts = [Fact("project", f"{log.project.name} in {log.store.url}"), Fact("agent", agent or "-")]
    if unread is not None:
        facts.append(Fact("unread", unread))
    for step in mine:
        ends = "ended" if step.lapsed else "ends"
        until = when(step.lease_until, call.now_us()) if step.lease_until else "at an unknown time"
        where = f"in session {step.session}" if step.fence is None else f"fence {step.fence}"
        facts.append(Fact("holding", f"{shown_name(step.id)} ({where}), lease {ends} {until}"))
    facts += [Fact("lost", f"{claim.step}: {claim.sentence()}") for claim in lost]
    words = ", ".join(f"{count} {state}" for state, count in sorted(tally.items()))
    facts.append(Fact("steps", words or "none"))
    facts += _some("ready", [shown_name(name) for name in ready])
    facts += _some("lapsed", [f"{shown_name(step.id)} ({step.agent})" for step in lapsed])
    write_facts(facts, now_us=call.now_us())


def _some(name: str, words: list[str]) -> list[Fact]:
    more = f" and {len(words) - SHOWN_MAX} more" if len(words) > SHOWN_MAX else ""
    return [Fact(name, ", ".join(words[:SHOWN_MAX]) + more)] if words else []
