"""tclog tag: names for moments."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from tclog.cli import options
from tclog.cli.app import operation
from tclog.cli.invocation import Invocation
from tclog.cli.output import ID_SHOWN, Column
from tclog.errors import UsageError

if TYPE_CHECKING:
    from tclog.chain.results import Tag


@operation(
    "tag",
    example="""
    tclog tag before-merge --as alice
    tclog tag kick-off 2h --as alice
    tclog tag
    tclog tag before-merge --delete --as alice
    """,
)
@click.argument("name", required=False)
@click.argument("point", required=False)
@click.option("--move", is_flag=True, help="Also where NAME stands for another moment.")
@click.option("--delete", is_flag=True, help="Take the tag away; its history stays.")
@options.at
@options.limit
@options.id_key
@options.strict
def tag(
    call: Invocation,
    name: str | None,
    point: str | None,
    move: bool,
    delete: bool,
    at: str | None,
    limit: int | None,
    id_key: str | None,
) -> None:
    """Name a moment, or list the names.

    NAME will stand for POINT: a time, the id of an event or version, another tag; by default now.
    It can be used wherever a point in time is asked for. A tag that is there already is only moved
    with --move. Without NAME the tags are listed.
    """
    if name is None:
        if move or delete or id_key is not None:
            raise UsageError("give the tag's name", code="name-missing", hint="tclog tag")
        _list(call, at, limit)
        return
    if at is not None or limit is not None:
        raise UsageError("--at and -n apply only to the list of tags", hint="tclog tag")
    if delete and (move or point is not None):
        raise UsageError("--delete cannot be combined with POINT or --move")
    from tclog.log import tags
    from tclog.moment import is_now

    # Whoever writes has a name: the log is opened as that agent before a point is looked up.
    log = call.log()
    if delete:
        gone = log.run(tags.delete_tag(log.client, name, id=id_key))
        call.emit(gone.as_json(), f"Deleted tag {name}")
        return
    tags.check_tag_name(name)
    moment = None if point is None or is_now(point) else call.history(point).boundary(point)
    done = log.run(
        tags.set_tag(
            log.client, name, at=moment, move=move, point=tags.Written(point or "@"), id=id_key
        )
    )
    call.emit(done.as_json(), f"Tag {name} stands for {done.moment}")


def _list(call: Invocation, at: str | None, limit: int | None) -> None:
    found = call.history(at).tags(at)
    columns = [
        Column("name"),
        Column("moment", "time"),
        Column("agent"),
        Column("at", "time"),
        Column("id"),
    ]

    def cells(tag: Tag) -> list[str | None]:
        return [tag.name, tag.moment, tag.agent, tag.at, tag.id[:ID_SHOWN]]

    call.emit_list(found, columns, cells, limit)
