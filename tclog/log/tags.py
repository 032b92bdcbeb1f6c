"""Tags: names for moments, kept in chains of their own, so that who set them is known too.

Only here are they written. A tag is moved only when that is asked for, and taking one away is one
more event: where it stood is in its history.
"""

from __future__ import annotations

from typing import Any, NewType

from tclog.chain.append import Appended, append
from tclog.chain.client import Client
from tclog.chain.drive import Protocol, together
from tclog.chain.once import once
from tclog.chain.read import list_chains, read_sound, read_standing
from tclog.chain.results import Tag
from tclog.chain.show import show_tag
from tclog.clock import Hlc, last_of
from tclog.domain import tags
from tclog.errors import BadName, NotFound, UsageError, to_run
from tclog.event import ChainId, chain_id, validate_name
from tclog.log.methods import Method, Operations
from tclog.log.operation import Count, operation
from tclog.moment import Moment, parse_moment

# A moment in the words of a user, which JSON writes as ``at``.
Written = NewType("Written", str)


def check_tag_name(name: str) -> str:
    """Return a name that is read as a tag wherever a point in time is asked for.

    Raises:
        BadName: it would be read as a time or as the beginning of an id.
    """
    validate_name("tag", name)
    try:
        read = parse_moment(name, 0)
    except UsageError:
        read = Moment()
    if read.tag == name:
        return name
    what = "the beginning of an id" if read.id_prefix else "a time"
    if read.tag is not None:
        what = f"{read.tag!r}, without the spaces around it"
    raise BadName(
        f"{name!r} cannot be a tag: as a point in time it is read as {what}",
        hint=to_run("tclog tag", "tag " + name.strip()),
    )


def now_of(client: Client) -> Hlc:
    """Return the present as a moment that everything belongs to that this agent has seen."""
    return max(last_of(client.clock.now_us()), client.clock.last)


@operation("tag.set")
def set_tag(
    client: Client,
    name: str,
    *,
    at: Hlc | None = None,
    move: bool = False,
    point: Written | None = None,
    id: str | None = None,
) -> Protocol[Tag]:
    """Let a tag stand for a moment, by default for now.

    Args:
        client: who acts.
        name: the tag.
        at: the moment.
        move: also where the tag stands for another one.
        point: the moment as a user wrote it, which is what ``id`` binds; by default ``at``.
        id: the idempotency key.

    Raises:
        BadName: see ``check_tag_name``.
        UsageError: the moment is yet to come.
        Refused: ``tag-exists``: it stands for another moment, and ``move`` is not set.
    """
    chain = chain_id("tag", check_tag_name(name))
    now = now_of(client)
    if at is not None and at > now:
        raise UsageError(
            f"{at[:27]} is yet to come: what belongs to it is not known",
            code="bad-moment",
            hint=to_run("tclog tag", name),
        )
    command = tags.SetTag(name, at or now, move)
    written = point or at or "@"
    bound = once(id, {"op": "tag.set", "name": name, "point": written, "move": move})
    done: Appended = yield from append(
        client, chain, lambda state, place: tags.decide(state, command, place), once=bound
    )
    assert done.version is not None  # noqa: S101 - a tag that was set has a version
    return show_tag(done.version)


@operation("tag.delete")
def delete_tag(
    client: Client,
    name: str,
    *,
    id: str | None = None,
) -> Protocol[Tag]:
    """Take a tag away; returns what it was, with ``deleted``. Its history stays.

    Raises:
        NotFound: there is no such tag.
    """
    chain = chain_id("tag", validate_name("tag", name))
    stood: Hlc | None = None

    def decide(state: tags.State, place: Any) -> Any:
        nonlocal stood
        stood = state.at
        return tags.decide(state, tags.DeleteTag(name), place)

    bound = once(id, {"op": "tag.delete", "name": name})
    done: Appended = yield from append(client, chain, decide, once=bound)
    if done.version is None or done.event is None:
        raise NotFound(f"there is no tag {name}", code="tag-missing", hint="tclog tag", name=name)
    return show_tag(done.version)._replace(hlc=stood)


@operation("tag.list", acts=False)
def list_tags(
    client: Client, *, limit: Count | None = None, at: Hlc | None = None
) -> Protocol[list[Tag]]:
    """Return all tags, or those that there were at a time, by the moments that they stand for."""
    chains: list[ChainId] = yield from list_chains(client, "tag")
    heads = yield from read_sound(client, chains, at)
    standing = yield from together(*(read_standing(client, head) for head in heads))
    shown = [show_tag(head) for head in standing if head is not None]
    found = sorted((one for one in shown if not one.deleted), key=lambda tag: (tag.hlc, tag.name))
    return found[: limit or None]


class TagOperations(Operations):
    """``log.tags``: names for moments."""

    set = Method(set_tag)
    delete = Method(delete_tag)
    list = Method(list_tags)
