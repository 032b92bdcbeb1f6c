"""tclog complete."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from tclog.cli import options
from tclog.cli.app import operation
from tclog.cli.invocation import Invocation
from tclog.errors import UsageError

if TYPE_CHECKING:
    from tclog.log.handoff import Outcome


@operation(
    "complete",
    example="""
    tclog complete design --note 'contract agreed' --to bob --next-action 'build it' --as alice
    tclog complete build --fence 1 --failed --note 'tests are red' --as bob
    """,
)
@click.argument("step_id", metavar="ID")
@click.option(
    "--note",
    "-m",
    "--message",
    type=options.SAID,
    metavar="T",
    help="What the next agent should know.",
)
@click.option("--to", metavar="AGENT", help="Hand over to this agent, with a message.")
@click.option("--next-action", type=options.SAID, metavar="T", help="What should be done next.")
@click.option("--blocked", is_flag=True, help="It cannot go on.")
@click.option("--needs-review", is_flag=True, help="Somebody must look.")
@click.option("--failed", is_flag=True, help="It went wrong.")
@click.option(
    "--changed-files-from-git", is_flag=True, help="List the files that git sees changed."
)
@options.fence
@click.option("--force", is_flag=True, help="Even if another agent or session holds it.")
@click.option(
    "--reason", type=options.SAID, metavar="T", help="The reason for --force, kept in the log."
)
@options.id_key
def complete(
    call: Invocation,
    step_id: str,
    note: str | None,
    to: str | None,
    next_action: str | None,
    blocked: bool,
    needs_review: bool,
    failed: bool,
    changed_files_from_git: bool,
    fence: int | None,
    force: bool,
    reason: str | None,
    id_key: str | None,
) -> None:
    """End the work on a step and hand it over.

    Only its holder may, or --force --reason. With --to, the hand-off also goes to that agent as a
    message.
    """
    from tclog.log.handoff import complete_step

    outcomes: dict[Outcome, bool] = {
        "blocked": blocked,
        "needs_review": needs_review,
        "failed": failed,
    }
    chosen = [outcome for outcome, said in outcomes.items() if said]
    if len(chosen) > 1:
        raise UsageError("--blocked, --needs-review and --failed exclude each other")
    fence = call.fence_of(step_id) if fence is None else fence
    log = call.log()
    completing = complete_step(
        log.client,
        step_id,
        outcome=chosen[0] if chosen else "complete",
        fence=fence,
        force=force,
        reason=reason,
        note=note,
        to=to,
        next_action=next_action,
        changed_files=_changed_files(call) if changed_files_from_git else None,
        id=id_key,
    )
    done = log.run(completing)
    words = {
        "complete": "Completed",
        "blocked": "Blocked",
        "needs_review": "Needs review on",
        "failed": "Failed",
    }
    line = f"{words[done.state]} step {done.id}"
    files = (done.handoff or {}).get("changed_files")
    call.emit(
        done.as_json(),
        line
        + (f" → handed off to {to}" if to else "")
        + (f" ({len(files)} changed file(s))" if files is not None else ""),
    )


def _changed_files(call: Invocation) -> list[str]:
    """List what git sees changed in the working tree: modified, added, deleted, untracked."""
    import subprocess

    try:
        done = subprocess.run(
            ["git", "status", "--porcelain", "-z", "--untracked-files=all", "--no-renames"],  # noqa: S607
            cwd=call.start,
            capture_output=True,
            check=True,
            timeout=30,
        )
    except (OSError, subprocess.SubprocessError) as error:
        said = (getattr(error, "stderr", None) or b"").decode(errors="replace").splitlines()
        raise UsageError(
            f"git does not tell the changed files: {said[0] if said else error}",
            code="git-failed",
            hint="git status",
        ) from None
    rows = done.stdout.decode(errors="backslashreplace").split("\0")
    return sorted(row[3:] for row in rows if row)
