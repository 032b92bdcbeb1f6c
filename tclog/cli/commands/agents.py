"""tclog agents."""

from __future__ import annotations

from tclog.cli import options
from tclog.cli.app import operation
from tclog.cli.here import Here
from tclog.cli.output import Column, span, terminal, write_json, write_rows


@operation(
    "agents",
    example="""
    tclog agents
    """,
)
@options.limit
def agents(here: Here, limit: int | None) -> None:
    """Show who is here: last seen, claims, lease left.

    The one seen last comes first. All of it is derived from the log, so it cannot lie.
    """
    from tclog.log.agents import list_agents

    log = here.log(reader=True)
    found = log.run(list_agents(log.client))
    if here.json:
        for row in found[: limit or None]:
            write_json(row.as_json())
        return
    now_us = here.now_us()
    columns = [Column("name"), Column("last seen", "time"), Column("claims"), Column("host")]
    rows = [
        [
            row.name,
            row.last_seen,
            ", ".join(f"{step} ({_left(end, now_us)})" for step, end in sorted(row.claims.items()))
            or None,
            row.host,
        ]
        for row in found
    ]
    write_rows(columns, rows, now_us=now_us, limit=limit, more="tclog agents -n 0")


def _left(lease_until: str | None, now_us: int) -> str:
    from tclog.clock import parse_us

    if lease_until is None:
        return "lease unknown"
    if not terminal():
        return f"until {lease_until}"
    left_s = (parse_us(lease_until) - now_us) / 1_000_000
    return f"{span(left_s)} left" if left_s > 0 else f"lapsed {span(-left_s)} ago"
