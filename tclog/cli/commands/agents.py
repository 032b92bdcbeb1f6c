"""tclog agents."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tclog.cli import options
from tclog.cli.app import operation
from tclog.cli.invocation import Invocation
from tclog.cli.output import Column, span, terminal, write_json, write_rows
from tclog.clock import parse_us

if TYPE_CHECKING:
    from tclog.clock import Hlc


@operation(
    "agents",
    example="""
    tclog agents
    """,
)
@options.at
@options.limit
@options.strict
def agents(call: Invocation, at: str | None, limit: int | None) -> None:
    """Show who is here: last seen, claims, lease left.

    The one seen last comes first. All of it is derived from the log, so it cannot lie.
    """
    point = call.point(at)
    if point is None:
        from tclog.log.agents import list_agents

        log = call.log(reader=True)
        found = [agent.as_json() for agent in log.run(list_agents(log.client))]
    else:
        found = _agents_at(call, point)
    if call.json:
        for row in found[: limit or None]:
            write_json(row)
        return
    # What is left of a lease is told as of then.
    now_us = call.now_us() if point is None else parse_us(point)
    columns = [Column("name"), Column("last seen", "time"), Column("claims"), Column("host")]
    rows = [
        [
            row["name"],
            row["last_seen"],
            ", ".join(f"{step} ({_left(end, now_us)})" for step, end in row["leases"].items())
            or None,
            row["host"],
        ]
        for row in found
    ]
    write_rows(columns, rows, now_us=now_us, limit=limit, more=call.all_rows())


def _agents_at(call: Invocation, point: Hlc) -> list[dict[str, Any]]:
    from tclog.history.snapshot import agents_at
    from tclog.index import derived

    history = call.history().fresh()

    def read() -> list[dict[str, Any]]:
        with derived.reading(history.index):
            return agents_at(history.index, point)

    return history.asked(read)


def _left(lease_until: str | None, now_us: int) -> str:
    if lease_until is None:
        return "lease unknown"
    left_s = (parse_us(lease_until) - now_us) / 1_000_000
    if not terminal():
        return f"until {lease_until}" if left_s > 0 else f"lapsed since {lease_until}"
    return f"{span(left_s)} left" if left_s > 0 else f"lapsed {span(-left_s)} ago"
