"""``tclog.open``: from arguments, the environment and the configuration to a log.

For programs this is the one reader of the environment; it is handed down from here as a mapping.
"""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from typing import Any

from tclog import config
from tclog.chain.drive import run
from tclog.errors import NotFound, to_run
from tclog.log.log import Log
from tclog.log.project import (
    Project,
    create_project,
    read_project,
)
from tclog.store import Location, check_there, open_store, reached
from tclog.store.base import Store


def open_log(
    url: str | os.PathLike[str] | None = None,
    *,
    agent: str | None = None,
    project: str | None = None,
    create: bool = False,
    session: str | None = None,
    endpoint: str | None = None,
    region: str | None = None,
    profile: str | None = None,
    client: str | None = None,
    s3: Mapping[str, Any] | None = None,
    fsync: bool | None = None,
    cache: str | os.PathLike[str] | None = None,
) -> Log:
    """Open a project's log as an agent.

    Without ``url``, the project and all that is not given here are found as the command line finds
    them: in ``TCLOG_*`` variables, then in ``.tclog/config.toml`` of the working folder or one
    above it, then in the user's file. With ``url``, only a missing ``agent`` is looked for there.

    Args:
        url: a folder, or ``s3://bucket/prefix``.
        agent: the agent's name, 1 to 200 bytes.
        project: the project's name inside the store; with ``url``, by default ``default``.
        create: make the project if it does not exist. The store is probed first.
        session: the run of the agent; only the same session may use its claims. By default each
            ``Log`` is a weak session of its own (docs/guarantees.md, Claims).
        endpoint: the S3 endpoint. By default that of the environment, then that of the AWS files,
            then AWS itself.
        region: the S3 region, by default looked for in the same way.
        profile: an AWS profile; otherwise the standard credential chain.
        client: ``obstore``, the default, or ``boto3``.
        s3: more settings of the bucket, by their names in the file (docs/stores.md).
        fsync: for folders, whether writes survive a power cut. They do by default.
        cache: a folder for what is remembered, to be shared by processes. By default that of the
            command line; with ``url``, nothing outlives this log.

    Raises:
        NotFound: there is no such project, and ``create`` is false.
        UsageError: no agent is named, or a setting is invalid.
        StoreUnfit: ``create``, and the store lets several writers create one object.
        StoreError: it cannot be reached.
    """
    flags = config.Flags(agent=agent, project=project)
    location = None if url is None else Location(os.fspath(url), project or config.PROJECT_DEFAULT)
    found = None
    if location is None or agent is None:
        found = config.load(flags, os.environ, config.working_folder())
        agent = config.need_agent(found, "agent=NAME")
        if location is None:
            location, cache = config.location_of(found), found.cache if cache is None else cache
    said: dict[str, Any] = {"endpoint": endpoint, "region": region, "profile": profile}
    said |= {"client": client, "fsync": fsync, **(s3 or {})}
    said = {name: value for name, value in said.items() if value is not None}
    location = location._replace(said={**location.said, **said})
    location = reached(location, os.environ)
    if found is not None and url is None and not create:
        check_there(location, found.store.source)
    store = open_store(location, os.environ)
    made = _found(location, store, create=create)
    folder = None if cache is None else os.path.join(cache, location.digest(made.id))  # noqa: PTH118
    return Log(store, made, agent=agent, session=session, cache=folder)


def _found(location: Location, store: Store, *, create: bool) -> Project:
    """Read the project's mark; if it may be created, after the store has passed the probe."""
    try:
        return run(read_project(location.project), store)
    except NotFound as missing:
        if not create:
            missing.hint = to_run("tclog projects", location.url)
            raise
    from tclog.store.probe import probe

    new = open_store(location, os.environ, create=True)
    probe(new, os.urandom(8).hex())
    now_us = time.time_ns() // 1000
    return run(create_project(location.project, os.urandom(16).hex(), now_us), new)
