"""tclog step, claim, renew, note, release, complete, reopen."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from tclog.cli import options
from tclog.cli.app import SETTINGS, Group, operation
from tclog.cli.here import Here
from tclog.cli.output import Column, Fact, shown_name, write_facts, write_json, write_rows
from tclog.errors import UsageError

if TYPE_CHECKING:
    from tclog.chain.results import Step

STATES = [
    "pending", "ready", "claimed", "lapsed", "complete", "blocked", "needs_review", "failed"
]  # fmt: skip


@click.group(
    cls=Group,
    context_settings=SETTINGS,
    example="""
    tclog step add build --after design --as alice
    tclog step list --ready
    """,
)
def step() -> None:
    """Define and look at steps and what they come after."""


@operation(
    "add",
    parent=step,
    example="""
    tclog step add build --after design --title 'Build the API' --as alice
    """,
)
@click.argument("step_id", metavar="ID")
@click.option(
    "--after",
    "--depends-on",
    multiple=True,
    metavar="A,B",
    help="Steps that must be complete first.",
)
@click.option("--title", type=options.SAID, metavar="T", help="A short description.")
@click.option("--priority", type=int, default=0, show_default=True, help="Higher goes first.")
@options.id_key
def add(
    here: Here,
    step_id: str,
    after: tuple[str, ...],
    title: str | None,
    priority: int,
    id_key: str | None,
) -> None:
    """Define step ID. A step that would come after itself is refused.

    Adding a step again with the same words changes nothing.
    """
    from tclog.event import split_names
    from tclog.log.steps import add_step

    names = [name for words in after for name in split_names("step", words)]
    log = here.log()
    done = log.run(
        add_step(
            log.client,
            step_id,
            title=title,
            priority=priority,
            after=names,
            id_key=options.check_key(id_key),
        )
    )
    here.emit(done.as_json(), f"Added step {done.id} ({done.state})")


@operation(
    "list",
    parent=step,
    example="""
    tclog step list --ready
    """,
)
@click.option("--state", type=click.Choice(STATES), help="Only steps in this state.")
@click.option(
    "--ready", is_flag=True, help="Only steps that can be claimed now, lapsed claims last."
)
@options.at
@options.limit
@options.strict
def list_(here: Here, state: str | None, ready: bool, at: str | None, limit: int | None) -> None:
    """List the steps in the order in which claim --next would take them."""
    from tclog.log.steps import list_steps

    if ready and state not in (None, "ready"):
        raise UsageError("--ready and --state exclude each other")
    log = here.log(reader=True)
    asked = list_steps(log.client, state=state, ready=ready, at=here.point(at))
    found = log.run(asked)
    if here.json:
        for row in found[: limit or None]:
            write_json(row.as_json())
        return
    columns = [
        Column("id"),
        Column("state", "state"),
        Column("agent"),
        Column("lease until", "time"),
        Column("waiting for"),
        Column("title"),
    ]
    rows = [
        [s.id, s.word, s.agent, s.lease_until, ",".join(s.waiting) or None, s.title] for s in found
    ]
    write_rows(columns, rows, now_us=here.now_us(), limit=limit, more=here.all_rows())


@operation(
    "show",
    parent=step,
    example="""
    tclog step show build
    """,
)
@click.argument("step_id", metavar="ID")
@options.at
def show(here: Here, step_id: str, at: str | None) -> None:
    """Show one step: state, holder, lease, fencing token, last note, hand-off."""
    from tclog.log.steps import show_step

    log = here.log(reader=True)
    found = log.run(show_step(log.client, step_id, at=here.point(at)))
    if here.json:
        write_json(found.as_json())
    else:
        write_facts(_facts(found), now_us=here.now_us())


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


@operation(
    "step-status",
    hidden=True,
    example="""
    tclog step-status build
    """,
)
@click.argument("step_id", metavar="ID")
def step_status(here: Here, step_id: str) -> None:
    """Show the state of one step."""
    from tclog.chain.results import Step as Record
    from tclog.chain.show import show_step
    from tclog.log.steps import has_lapsed, read_rows

    log = here.log(reader=True)
    (row,) = log.run(read_rows(log.client, [step_id]))
    found: Record = show_step(row.id, row.head, row.state, ())
    found = found._replace(lapsed=has_lapsed(log.client, row))
    who = f" (agent: {found.agent})" if found.agent else ""
    here.emit(found.as_json(), f"{found.id}: {found.word}{who}")


@operation(
    "claim",
    example="""
    tclog claim design --lease 30m --as alice
    tclog claim --next --as bob
    """,
)
@click.argument("step_id", metavar="[ID]", required=False)
@click.option("--next", "next_", is_flag=True, help="Pick a ready step, and claim it.")
@options.lease
@click.option("--wait", is_flag=True, help="Wait until it can be had.")
@options.timeout(None)
@click.option(
    "--fence", type=int, metavar="N", help="Move your claim with this token to this session."
)
@click.option("--steal", is_flag=True, help="Take it before the holder's lease has ended.")
@click.option(
    "--reason", type=options.SAID, metavar="T", help="The reason for --steal, kept in the log."
)
@options.id_key
def claim(
    here: Here,
    step_id: str | None,
    next_: bool,
    lease: float | None,
    wait: bool,
    timeout: float | None,
    fence: int | None,
    steal: bool,
    reason: str | None,
    id_key: str | None,
) -> None:
    """Claim a step (or the next ready one) with a lease.

    Exactly one session of one agent holds it, until its lease ends by the store's clock. A named
    session (TCLOG_SESSION, or a harness's own) that claims what it holds already renews it. Without
    a named session use tclog renew. The confirmation shows the fencing token: pass it to
    complete --fence, and a claim that was lost meanwhile is refused. --fence moves a claim of your
    name to this session, under a new token.
    """
    from tclog.log import claims

    if next_ == (step_id is not None):
        raise UsageError("give a step, or --next", hint="tclog claim --help")
    if next_ and id_key is not None:
        raise UsageError(
            "--id needs a named step: repeated, --next would pick another",
            hint="tclog claim --help",
        )
    if timeout is not None and not wait:
        raise UsageError("--timeout needs --wait")
    if (next_ or wait or fence is not None) and steal:
        raise UsageError("--steal needs a named step, and excludes --wait and --fence")
    if (next_ or wait) and fence is not None:
        raise UsageError("--fence needs a named step, and excludes --wait")
    why = claims.check_steal(step_id or "ID", steal, reason)
    key = options.check_key(id_key)
    log = here.log()
    if step_id is None:
        if wait:
            done = log.run(claims.next_waiting(log.client, lease_s=lease, timeout_s=timeout))
        else:
            done = log.run(claims.claim_next(log.client, lease_s=lease))
    elif wait:
        done = log.run(
            claims.claim_waiting(log.client, step_id, lease_s=lease, timeout_s=timeout, id_key=key)
        )
    else:
        done = log.run(
            claims.claim_step(
                log.client, step_id, lease_s=lease, fence=fence, steal=why, id_key=key
            )
        )
    here.emit(done.as_json(), lambda: _held(here, _claimed(done), done))


def _claimed(done: Step) -> str:
    if done.renewed:
        return "Held already, renewed:"
    return "Claimed new" if done.new else "Claimed"


def _held(here: Here, verb: str, done: Step) -> str:
    until = f", until {done.lease_until}" if done.lease_until else ""
    return f"{verb} step {done.id} as {here.agent()} (fence {done.fence}{until})"


@operation(
    "renew",
    example="""
    tclog renew design --lease 1h --as alice
    """,
)
@click.argument("step_id", metavar="ID")
@options.lease
@options.fence
@options.id_key
def renew(
    here: Here, step_id: str, lease: float | None, fence: int | None, id_key: str | None
) -> None:
    """Extend the lease of a step that you hold.

    The lease starts again from now.
    """
    from tclog.log.claims import renew_step

    fence = here.fence_of(step_id) if fence is None else fence
    log = here.log()
    done = log.run(
        renew_step(
            log.client, step_id, lease_s=lease, fence=fence, id_key=options.check_key(id_key)
        )
    )
    here.emit(done.as_json(), lambda: _held(here, "Renewed", done))


@operation(
    "note",
    example="""
    tclog note design 'schema drafted, tests next' --as alice
    """,
)
@click.argument("step_id", metavar="ID")
@click.argument("text", required=False, type=options.SAID)
@options.message
@options.fence
@options.id_key
def note(
    here: Here,
    step_id: str,
    text: str | None,
    message: str | None,
    fence: int | None,
    id_key: str | None,
) -> None:
    """Say something about a step.

    TEXT is - for standard input. A note by its holder also renews the lease.
    """
    from tclog.log.steps import note_step

    fence = here.fence_of(step_id) if fence is None else fence
    key, said = options.check_key(id_key), options.one_text(text, message)
    log = here.log()
    done = log.run(note_step(log.client, step_id, said, fence=fence, id_key=key))
    here.emit(done.as_json(), f"Noted on step {done.id}")


@operation(
    "release",
    example="""
    tclog release design --as alice
    """,
)
@click.argument("step_id", metavar="ID")
@options.fence
@click.option("--force", is_flag=True, help="Even if another agent or session holds it.")
@click.option(
    "--reason", type=options.SAID, metavar="T", help="The reason for --force, kept in the log."
)
@options.id_key
def release(
    here: Here,
    step_id: str,
    fence: int | None,
    force: bool,
    reason: str | None,
    id_key: str | None,
) -> None:
    """Give a claim back.

    Others can claim the step at once. Only its holder may, or anybody with --force --reason.
    """
    from tclog.log.claims import release_step

    fence = here.fence_of(step_id) if fence is None else fence
    key = options.check_key(id_key)
    log = here.log()
    done = log.run(
        release_step(log.client, step_id, fence=fence, force=force, reason=reason, id_key=key)
    )
    here.emit(done.as_json(), f"Released step {done.id}")


@operation(
    "reopen",
    example="""
    tclog reopen design --as alice
    """,
)
@click.argument("step_id", metavar="ID")
@options.id_key
def reopen(here: Here, step_id: str, id_key: str | None) -> None:
    """Make an ended or stuck step pending again.

    That is one that is complete, blocked, failed or in review.
    """
    from tclog.log.steps import reopen_step

    log = here.log()
    done = log.run(reopen_step(log.client, step_id, id_key=options.check_key(id_key)))
    here.emit(done.as_json(), f"Reopened step {done.id}")


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
    here: Here,
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
    outcomes = {"blocked": blocked, "needs_review": needs_review, "failed": failed}
    chosen = [outcome for outcome, said in outcomes.items() if said]
    if len(chosen) > 1:
        raise UsageError("--blocked, --needs-review and --failed exclude each other")
    fence = here.fence_of(step_id) if fence is None else fence
    log = here.log()
    done = log.steps.complete(
        step_id,
        outcome=chosen[0] if chosen else "complete",
        fence=fence,
        force=force,
        reason=reason,
        note=note,
        to=to,
        next_action=next_action,
        changed_files=_changed_files(here) if changed_files_from_git else None,
        id=options.check_key(id_key),
    )
    words = {
        "complete": "Completed",
        "blocked": "Blocked",
        "needs_review": "Needs review on",
        "failed": "Failed",
    }
    line = f"{words[done.state]} step {done.id}"
    files = (done.handoff or {}).get("changed_files")
    here.emit(
        done.as_json(),
        line
        + (f" → handed off to {to}" if to else "")
        + (f" ({len(files)} changed file(s))" if files is not None else ""),
    )


def _changed_files(here: Here) -> list[str]:
    """List what git sees changed in the working tree: modified, added, deleted, untracked."""
    import subprocess

    try:
        done = subprocess.run(
            ["git", "status", "--porcelain", "-z", "--untracked-files=all", "--no-renames"],  # noqa: S607
            cwd=here.start,
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
