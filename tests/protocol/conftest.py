"""A project on a real server, seen directly and through a proxy that loses replies on purpose."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from typing import Any, NamedTuple

import pytest
from support.proxy import Proxy, Request
from support.stores import Server, fresh_bucket, open_s3, url_of

import tclog
from tclog.chain.drive import run
from tclog.log.project import create_project
from tclog.store.base import Store
from tclog.store.s3 import S3Settings

SERVERS = ["moto-obstore", "moto-boto3", "ceph-obstore"]


class Site(NamedTuple):
    """An empty project in a place of its own; ``via`` is the proxy in front of its server."""

    server: Server
    settings: S3Settings
    proxy: Proxy

    def log(self, agent: str, *, via: bool = False) -> tclog.Log:
        """Open the log as a new process would: directly, or through the proxy."""
        return tclog.open(
            url_of(self.settings),
            agent=agent,
            endpoint=self.proxy.url if via else self.server.endpoint,
            region="us-east-1",
            # Only what goes through the proxy is under test, by the client that is.
            client=self.settings.client if via else "obstore",
        )

    def store(self) -> Store:
        """Open the project's store directly."""
        return open_s3(self.server, self.settings, prefix=self.folder, client="obstore")

    @property
    def folder(self) -> str:
        """The project's place in the bucket."""
        return f"{self.settings.prefix}/default"

    def under(self, request: Request, prefix: str) -> bool:
        """Whether a request is on an object of this project below a folder."""
        return request.key.startswith(f"{self.folder}/{prefix}")


def start(site: Site) -> Site:
    run(create_project("default", os.urandom(16).hex(), time.time_ns() // 1000), site.store())
    return site


_proxies: dict[str, Proxy] = {}


@pytest.fixture(scope="session", autouse=True)
def _stop_proxies() -> Iterator[None]:
    yield
    for proxy in _proxies.values():
        proxy.stop()
    _proxies.clear()


def make_site(request: pytest.FixtureRequest, name: str, patch: pytest.MonkeyPatch) -> Site:
    server_name, _, client = name.partition("-")
    server: Server = request.getfixturevalue(server_name)
    if server_name not in _proxies:
        _proxies[server_name] = Proxy(server.endpoint)
        _proxies[server_name].start()
    proxy = _proxies[server_name]
    proxy.heal()
    proxy.clear()
    for name, value in server.environ.items():
        patch.setenv(name, value)
    return start(Site(server, fresh_bucket(server, client=client or "obstore"), proxy))


@pytest.fixture(params=SERVERS)
def site(
    request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch, shared_boto3: None
) -> Any:
    return make_site(request, request.param, monkeypatch)
