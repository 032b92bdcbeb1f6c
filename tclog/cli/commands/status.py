"""tclog status."""

from __future__ import annotations

from tclog.cli.app import operation
from tclog.cli.here import Here
from tclog.cli.output import ago, write_json, write_line


@operation(
    "status",
    example="""
    tclog status --as alice
    """,
)
def status(here: Here) -> None:
    """Show the project on one screen: your claims and unread messages, and all steps by state."""
    from tclog.log.inbox import read_inbox
    from tclog.log.steps import list_steps

    log = here.log(reader=True)
    agent = here.config.agent.value
    steps = log.run(list_steps(log.client))
    tally: dict[str, int] = {}
    for step in steps:
        tally[step.state] = tally.get(step.state, 0) + 1
    mine = [step for step in steps if step.state == "claimed" and step.agent == agent]
    ready = [step.id for step in steps if step.state == "ready"]
    unread = None if agent is None else len(log.run(read_inbox(log.client)).messages)
    if here.json:
        write_json(
            {
                "type": "status",
                "project": log.project.name,
                "store": log.store.url,
                "agent": agent,
                "unread": unread,
                "claims": [step.as_json() for step in mine],
                "steps": tally,
                "ready": ready,
            }
        )
        return
    write_line(f"project\t{log.project.name} in {log.store.url}")
    write_line(f"agent\t{agent or '-'}")
    if unread is not None:
        write_line(f"unread\t{unread}")
    for step in mine:
        until = f"lease ends {ago(step.lease_until, here.now_us())}" if step.lease_until else ""
        write_line(f"holding\t{step.id} (fence {step.fence}) {until}".rstrip())
    words = ", ".join(f"{count} {state}" for state, count in sorted(tally.items()))
    write_line(f"steps\t{words or 'none'}")
    if ready:
        shown = ", ".join(ready[:10]) + (f" and {len(ready) - 10} more" if len(ready) > 10 else "")
        write_line(f"ready\t{shown}")
