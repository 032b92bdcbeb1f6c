"""``doctor`` names what is wrong with a store, and what commands then do."""

from __future__ import annotations

import json
import os
import shlex
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from support.proxy import Fault, Proxy, Request
from support.stores import Server, raw_client

from tclog.chain.heads import FIT_KEPT_S
from tclog.store import probe as probe_module
from tclog.store.file import FileStore

from .conftest import User, on_bucket

ALWAYS = 1_000_000
KINDS = ["events", "blobs", "packs", "once", "chains", "pending"]


@pytest.fixture(autouse=True)
def _one_racer(monkeypatch: pytest.MonkeyPatch, shared_boto3: None) -> None:
    """Moto has no lock, so that several racers would win now and then."""
    monkeypatch.setattr(probe_module, "probe", partial(probe_module.probe, racers=1))


@pytest.fixture
def versioned(moto: Server) -> Server:
    """Give a bucket of moto's with versioning."""
    server = moto._replace(bucket=f"versions-{os.urandom(4).hex()}")
    raw_client(server).create_bucket(Bucket=server.bucket)
    raw_client(server).put_bucket_versioning(
        Bucket=server.bucket, VersioningConfiguration={"Status": "Enabled"}
    )
    return server


@pytest.fixture
def proxy(moto: Server) -> Iterator[Proxy]:
    with Proxy(moto.endpoint) as running:
        yield running


def ignore_conditions(proxy: Proxy, server: Server) -> None:
    """Do as Ceph RGW does where versioning is on."""

    def put(request: Request, body: bytes) -> None:
        raw_client(server).put_object(Bucket=server.bucket, Key=request.key, Body=body)

    fault = Fault("stand-in", stand_in=put)
    proxy.inject(fault, times=ALWAYS, match=lambda request: request.operation == "CREATE")


def checks(user: User, code: int = 0) -> tuple[dict[str, tuple[bool, str]], dict[str, Any]]:
    """Return what doctor tells, line by line, and the error that it ends with."""
    done = user("doctor", "--json")
    assert done.code == code, done
    rows = [json.loads(line) for line in done.out.splitlines()]
    error = json.loads(done.err.splitlines()[-1]) if code else {}
    return {row["name"]: (row["ok"], row["detail"]) for row in rows}, error


def pass_day(user: User) -> None:
    (file,) = Path(user.folder).glob("cache/**/fit")
    past = time.time() - FIT_KEPT_S - 1
    os.utime(file, (past, past))


def test_versioning_is_told_where_the_server_ignores_conditions(
    user: User, versioned: Server, proxy: Proxy
) -> None:
    on_bucket(user, versioned.through(proxy.url))
    user("memory", "set", "k", "1").ok()
    found, _ = checks(user)
    assert found["versioning"] == (True, "enabled")  # it refused them all the same
    ignore_conditions(proxy, versioned)
    found, error = checks(user, 7)
    assert found["probe"][0] is False
    assert found["versioning"] == (False, "enabled")
    assert error["code"] == "store-unfit"
    assert "versioning is on" in error["message"]
    assert error["hint"] == (
        f"aws s3api get-bucket-versioning --bucket {versioned.bucket} --endpoint-url {proxy.url}"
    )


def test_a_store_that_turned_is_left_alone_until_doctor_has_passed(
    user: User, moto: Server, proxy: Proxy
) -> None:
    on_bucket(user, moto.through(proxy.url))
    user("memory", "set", "k", "1").ok()
    ignore_conditions(proxy, moto)
    pass_day(user)
    for words in (["claim", "build"], ["memory", "set", "k", "2"], ["send", "bob", "hi"]):
        error = user(*words, "--json").error(7)
        assert (error["code"], error["hint"]) == ("store-unfit", "tclog doctor")
    assert user("memory", "get", "k").out.strip() == "1"
    assert user("step", "list").out == ""
    checks(user, 7)
    proxy.heal()
    user("memory", "set", "k", "2", "--json").error(7)
    checks(user)
    user("memory", "set", "k", "2").ok()


def test_a_store_that_doctor_found_unfit_is_left_alone(
    user: User, moto: Server, proxy: Proxy
) -> None:
    on_bucket(user, moto.through(proxy.url))
    user("memory", "set", "k", "1").ok()
    ignore_conditions(proxy, moto)
    checks(user, 7)
    proxy.heal()
    user("memory", "set", "k", "2", "--json").error(7)


def test_doctor_writes_what_commands_write(user: User, moto: Server, proxy: Proxy) -> None:
    on_bucket(user, moto.through(proxy.url))
    for kind in KINDS:
        proxy.inject(
            Fault("refuse", 403),
            times=ALWAYS,
            match=lambda request, at=f"/work/{kind}/.": (
                request.method == "PUT" and at in request.key
            ),
        )
        found, error = checks(user, 7)
        assert found["probe"][0] is True
        assert found["objects"][0] is False
        assert error["code"] == "store-denied"
        assert error["message"].startswith(f"{kind}/")
        proxy.heal()
    found, _ = checks(user)
    assert found["objects"][0] is True


RULES = {
    "expires all": ({"Expiration": {"Days": 30}, "Filter": {"Prefix": ""}}, True),
    "archives all": ({"Transitions": [{"Days": 9, "StorageClass": "GLACIER"}], "Prefix": ""}, True),
    "expires elsewhere": ({"Expiration": {"Days": 30}, "Filter": {"Prefix": "logs/"}}, False),
    "expires what is tagged": (
        {"Expiration": {"Days": 1}, "Filter": {"Tag": {"Key": "a", "Value": "b"}}},
        False,
    ),
    "ends uploads": (
        {"AbortIncompleteMultipartUpload": {"DaysAfterInitiation": 1}, "Filter": {"Prefix": ""}},
        False,
    ),
}


@pytest.mark.parametrize("name", RULES)
def test_a_rule_that_removes_objects_is_told(user: User, moto: Server, name: str) -> None:
    rule, removes = RULES[name]
    server = moto._replace(bucket=f"rules-{os.urandom(4).hex()}")
    raw_client(server).create_bucket(Bucket=server.bucket)
    raw_client(server).put_bucket_lifecycle_configuration(
        Bucket=server.bucket,
        LifecycleConfiguration={"Rules": [{"ID": "one", "Status": "Enabled", **rule}]},
    )
    on_bucket(user, server)
    found, error = checks(user, 7 if removes else 0)
    assert found["lifecycle"][0] is not removes
    assert found["lifecycle"][1].startswith("1 active rules")
    assert error.get("code") == ("store-expires" if removes else None)
    assert error.get("hint", "").endswith(f" --endpoint-url {server.endpoint}") is removes


def test_doctor_leaves_nothing_behind(project: User) -> None:
    project("doctor").ok()
    before = set(project.store.rglob("*"))
    checks(project)
    assert set(project.store.rglob("*")) == before
    assert not [path for path in before if "probe" in path.name]


def test_credentials_that_may_not_remove_are_told_and_are_enough(
    user: User, moto: Server, proxy: Proxy
) -> None:
    on_bucket(user, moto.through(proxy.url))
    deletes = lambda request: request.method in ("DELETE", "POST")  # noqa: E731
    for _ in range(2):
        proxy.inject(Fault("refuse", 403), times=ALWAYS, match=deletes)
        found, _ = checks(user)
        assert "not removed" in found["objects"][1]
    assert "stray-object" in user("fsck", "--json").ok().out
    user("log").ok()
    proxy.heal()
    found, _ = checks(user)
    assert "not removed" not in found["objects"][1]
    assert "stray-object" not in user("fsck", "--json").ok().out


@pytest.mark.usefixtures("mounts")
@pytest.mark.parametrize("kind", ["blobs", "chains", "pending"])
def test_a_folder_of_the_store_on_another_disk(project: User, kind: str) -> None:
    """Files are written in .tmp and get their names by link(2)."""
    (project.store / kind).mkdir(exist_ok=True)
    prepare = f"mount -t tmpfs tmpfs {shlex.quote(str(project.store / kind))}"
    script = f'{prepare}\nexec tclog "$@"'
    done = project.process(
        "--mount", "sh", "-ec", script, "sh", "doctor", "--json", program="unshare"
    )
    error = done.err.splitlines()[-1]
    assert done.code == 7, done
    assert '"code":"store-unfit"' in error
    assert f"{kind}/.probe" in error
    assert "another disk" in error
    assert f"df {project.store}" in error
    assert FileStore(project.store).get("tclog.json") is not None
