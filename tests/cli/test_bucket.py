"""Where commands look for a bucket: what was said goes before the environment and the AWS files.

The servers remember every request, so a command that asks another server is found out.
"""

from __future__ import annotations

import shutil
import tomllib
from collections.abc import Iterator, Mapping

import pytest
from support.recorder import Recorder, Request, sha256_of
from support.stores import Server, raw_client

import tclog.store.s3.resolve

from .conftest import User

KEYS = {"AWS_ACCESS_KEY_ID": "KEY", "AWS_SECRET_ACCESS_KEY": "secret", "AWS_REGION": "us-east-1"}


@pytest.fixture
def server() -> Iterator[Recorder]:
    """Give the server that is said."""
    with Recorder() as running:
        yield running


@pytest.fixture
def elsewhere() -> Iterator[Recorder]:
    """Give a server that nobody has named, but the environment or a file of somebody else's."""
    with Recorder() as running:
        yield running


def leads_astray(user: User, server: Recorder) -> dict[str, str]:
    """Return variables, and a file, that all name a server."""
    file = user.folder / "aws"
    file.write_text(f"[default]\nendpoint_url = {server.url}\nregion = eu-west-9\n")
    return {
        "AWS_ENDPOINT_URL_S3": server.url,
        "AWS_ENDPOINT_URL": server.url,
        "AWS_ENDPOINT": server.url,
        "AWS_CONFIG_FILE": str(file),
        "AWS_VIRTUAL_HOSTED_STYLE_REQUEST": "true",
        "AWS_S3_EXPRESS": "true",
        "AWS_CHECKSUM_ALGORITHM": "garbage",
        "AWS_CONDITIONAL_PUT": "garbage",
        "AWS_SKIP_SIGNATURE": "true",
        "AWS_SERVER_SIDE_ENCRYPTION": "aws:kms",
    }


def where(user: User, **options: Mapping[str, str]) -> dict[str, tuple[str | None, str]]:
    found = user("where", "--json", **options).object()
    return {name: (v["value"], v["source"]) for name, v in found.items() if name != "type"}


@pytest.mark.parametrize("only", ["AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL", ""])
@pytest.mark.parametrize("client", ["obstore", "boto3"])
def test_two_agents_of_different_environments_claim_one_step(
    bucket: User, elsewhere: Recorder, client: str, only: str
) -> None:
    astray = leads_astray(bucket, elsewhere)
    astray = {only: astray[only]} if only else astray
    env = {**astray, "TCLOG_S3_CLIENT": client, "TCLOG_CACHE": str(bucket.folder / "bobs")}
    bucket("step", "add", "build").ok()
    # Bob's machine knows the project, and has seen nothing of the step.
    shutil.copytree(bucket.folder / "cache/tclog/marks", bucket.folder / "bobs/marks")
    assert bucket("claim", "build", agent="alice").ok()
    refused = bucket("claim", "build", "--json", agent="bob", env=env).error(4)
    assert refused["code"] == "step-held"
    bucket("memory", "set", "k", "v", agent="bob", env=env).ok()
    assert bucket("memory", "get", "k").out == "v"
    bucket("fsck").ok()
    assert elsewhere.requests == []


def test_a_clone_goes_to_the_server_that_was_said(
    bucket: User, server: Recorder, elsewhere: Recorder
) -> None:
    bucket("memory", "set", "k", "v").ok()
    env = leads_astray(bucket, elsewhere)
    bucket("clone", ".", "s3://bucket/copy", "--to-endpoint", server.url, env=env).ok()
    assert elsewhere.requests == []
    assert f"{server.host}/bucket/copy/work/tclog.json" in server.objects
    words = ("--store", "s3://bucket/copy", "memory", "get", "k")
    assert bucket(*words, env={**env, "TCLOG_ENDPOINT": server.url}).out == "v"


@pytest.mark.parametrize("made", [(), ("--create-bucket",)], ids=["init", "create-bucket"])
def test_init_makes_bucket_and_project_at_the_server_that_was_said(
    user: User, server: Recorder, elsewhere: Recorder, made: tuple[str, ...]
) -> None:
    env = {**leads_astray(user, elsewhere), **KEYS}
    words = ("init", "s3://bucket/x", "--endpoint", server.url, *made)
    user(*words, env=env, agent="alice").ok()
    written = tomllib.loads((user.work / ".tclog/config.toml").read_text())["s3"]
    assert written == {"endpoint": server.url, "region": "us-east-1"}
    user("memory", "set", "k", "v", env=env, agent="alice").ok()
    assert user("memory", "get", "k", env=KEYS).out == "v"
    assert elsewhere.requests == []


@pytest.mark.parametrize("made", [(), ("--create-bucket",)], ids=["init", "create-bucket"])
def test_a_file_s_server_gets_the_bucket_and_what_is_written(
    user: User, server: Recorder, made: tuple[str, ...]
) -> None:
    """The bucket was made at the file's server, and the data went to AWS."""
    file = user.folder / "aws"
    file.write_text(f"[profile p]\nservices = s\n[services s]\ns3 =\n  endpoint_url = {server.url}")
    env = {**KEYS, "AWS_CONFIG_FILE": str(file), "AWS_PROFILE": "p"}
    user("init", "s3://bucket/x", *made, env=env, agent="alice").ok()
    written = tomllib.loads((user.work / ".tclog/config.toml").read_text())["s3"]
    assert written == {"endpoint": server.url, "region": "us-east-1"}
    user("memory", "set", "k", "v", env=KEYS, agent="alice").ok()
    assert user("memory", "get", "k", env=env).out == "v"


def test_the_aws_files_are_read_once_for_a_command(
    bucket: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    read: list[object] = []
    real = tclog.store.s3.resolve._read_files
    monkeypatch.setattr(
        tclog.store.s3.resolve, "_read_files", lambda *words: read.append(words) or real(*words)
    )
    (bucket.folder / "aws").write_text("[default]\nca_bundle = x\nregion = us-east-1\n")
    env = {"AWS_CONFIG_FILE": str(bucket.folder / "aws")}
    bucket("memory", "set", "k", "v", env=env).ok()
    bucket("log", env=env).ok()
    assert len(read) == 2
    # Where nothing of the file is needed, it is left alone.
    bucket("memory", "get", "k", env={**env, "TCLOG_REGION": "us-east-1"}).ok()
    assert len(read) == 2


def test_where_prints_the_whole_set(user: User) -> None:
    file = user.folder / "aws"
    file.write_text("[profile p]\nregion = eu-p-1\nendpoint_url = https://s3.test:1/\n")
    bundle = user.folder / "bundle.pem"
    bundle.write_text("-----BEGIN CERTIFICATE-----\n")
    env = {
        "TCLOG_STORE": "s3://bucket/x",
        "TCLOG_SSE": "aws:kms",
        "TCLOG_SSE_KMS_KEY": "arn:key",
        "TCLOG_REQUEST_PAYER": "yes",
        "TCLOG_CHECKSUM": "sha256",
        "AWS_CONFIG_FILE": str(file),
        "AWS_PROFILE": "p",
        "AWS_CA_BUNDLE": str(bundle),
        "HTTPS_PROXY": "http://user:secret@proxy.test:3128",
    }
    found = where(user, env=env)
    assert {name: found[name] for name in list(found)[7:]} == {
        "endpoint": ("https://s3.test:1", "profile p"),
        "region": ("eu-p-1", "profile p"),
        "profile": ("p", "AWS_PROFILE"),
        "client": ("obstore", "default"),
        "addressing": ("path", "default"),
        "ca_bundle": (str(bundle), "AWS_CA_BUNDLE"),
        "checksum": ("sha256", "TCLOG_CHECKSUM"),
        "sse": ("aws:kms", "TCLOG_SSE"),
        "sse_kms_key": ("arn:key", "TCLOG_SSE_KMS_KEY"),
        "request_payer": ("yes", "TCLOG_REQUEST_PAYER"),
        "fsync": ("true", "default"),
        "proxy": ("http://***@proxy.test:3128", "HTTPS_PROXY"),
        "credentials": ("looked up by botocore", "profile p"),
    }
    told = user("where", env={**env, **KEYS}).ok().out
    assert "credentials\tkeys\tAWS_ACCESS_KEY_ID" in told
    assert "secret" not in told
    plain = where(user, env={"TCLOG_STORE": "s3://bucket/x", "AWS_REGION": "cn-north-1"})
    assert plain["endpoint"] == ("https://s3.cn-north-1.amazonaws.com.cn", "default")
    assert plain["addressing"] == ("virtual", "default")
    assert plain["credentials"] == ("looked up by botocore", "default")


def test_where_names_the_file_that_says_the_endpoint(user: User) -> None:
    """It said "default" of one that stands in a file, and None of certificates without a use."""
    file = user.work / ".tclog" / "config.toml"
    file.parent.mkdir()
    file.write_text('store = "s3://bucket/x"\n[s3]\nendpoint = "http://127.0.0.1:1"\n')
    found = where(user, env={"SSL_CERT_FILE": "/nowhere.pem"})
    assert found["endpoint"] == ("http://127.0.0.1:1", str(file))
    assert found["ca_bundle"] == (None, "default")
    env = {"TCLOG_ENDPOINT": "http://127.0.0.1:2"}
    assert where(user, env=env)["endpoint"] == ("http://127.0.0.1:2", "TCLOG_ENDPOINT")


WRONG = {
    "client": ({"TCLOG_S3_CLIENT": "s3fs"}, "client is 's3fs'"),
    "addressing": ({"TCLOG_ADDRESSING": "x"}, "addressing is 'x'"),
    "checksum": ({"TCLOG_CHECKSUM": "crc32"}, "checksum is 'crc32'"),
    "sse": ({"TCLOG_SSE": "sse-c"}, "sse is 'sse-c'"),
    "a key without sse": ({"TCLOG_SSE_KMS_KEY": "k"}, "sse_kms_key is 'k'"),
    "payer": ({"TCLOG_REQUEST_PAYER": "perhaps"}, "request_payer in TCLOG_REQUEST_PAYER"),
    "region": ({"AWS_REGION": "a/b"}, "region is 'a/b'"),
    "endpoint": ({"AWS_ENDPOINT_URL": "host:1"}, "endpoint 'host:1'"),
    "endpoint of a file": ({"file": "[default]\nendpoint_url = host:1\n"}, "endpoint 'host:1'"),
    "profile": ({"AWS_PROFILE": "nobody", "file": "[default]\nregion = r\n"}, "nobody"),
    "services": ({"file": "[default]\nservices = gone\nendpoint_url = x\n"}, "[services gone]"),
    "no file of settings": ({"file": "region\n[default\n"}, "cannot be used with the AWS"),
    "no bundle": ({"AWS_CA_BUNDLE": "/nowhere.pem"}, "/nowhere.pem cannot be used: No such file"),
    "an empty bundle": ({"AWS_CA_BUNDLE": "/dev/null"}, "/dev/null cannot be used: the file "),
    "a proxy of another kind": (
        {"ALL_PROXY": "socks5://127.0.0.1:1080"}, "ALL_PROXY is not http://HOST:PORT"
    ),
}  # fmt: skip


OF_AWS = ("services", "no file of settings")


@pytest.mark.parametrize("name", WRONG)
def test_a_setting_that_is_none_is_named_and_where_still_answers(user: User, name: str) -> None:
    environ, words = WRONG[name]
    env = {**KEYS, **environ, "TCLOG_STORE": "s3://bucket/x", "TCLOG_AGENT": "alice"}
    if name != "region":
        env.pop("AWS_REGION") if "file" in env else None
    if "file" in env:
        (user.folder / "aws").write_text(env.pop("file"))
        env["AWS_CONFIG_FILE"] = str(user.folder / "aws")
    told = user("memory", "get", "k", env=env)
    assert words in told.said(7 if name in OF_AWS else 2)
    shown = user("where", env=env)
    assert shown.code == 0
    assert words in shown.err
    assert "s3://bucket/x" in shown.out


def test_an_s3_setting_of_the_command_line_is_written_down(user: User, server: Recorder) -> None:
    url = "s3://bucket/x"
    words = ("init", url, "--endpoint", server.url, "--s3", "sse=AES256", "--s3", "checksum=sha256")
    user(*words, env=KEYS, agent="alice").ok()
    written = tomllib.loads((user.work / ".tclog/config.toml").read_text())["s3"]
    assert (written["sse"], written["checksum"]) == ("AES256", "sha256")
    assert "NAME=VALUE" in user("init", url, "--s3", "sse").said(2)
    assert "NAME=VALUE" in user("init", url, "--s3", "color=red").said(2)


def test_the_last_option_that_names_a_setting_counts(user: User, server: Recorder) -> None:
    """--s3 may name what has an option of its own."""
    words = ("--endpoint", "http://127.0.0.1:1", "--s3", f"endpoint={server.url}")
    user("init", "s3://bucket/x", *words, env=KEYS, agent="alice").ok()
    written = tomllib.loads((user.work / ".tclog/config.toml").read_text())["s3"]
    assert written["endpoint"] == server.url


def wants_everything(request: Request) -> str | None:
    """Refuse what a bucket with Object Lock, Requester Pays and a policy of encryption refuses."""
    inside = request.path.strip("/").count("/") > 0
    wanted = {"x-amz-request-payer": "requester"} if inside or request.query else {}
    if request.method == "PUT" and inside:
        wanted |= {
            "x-amz-server-side-encryption": "aws:kms",
            "x-amz-server-side-encryption-aws-kms-key-id": "alias/team",
            "x-amz-checksum-sha256": sha256_of(request.body),
        }
    told = all(request.headers.get(name) == value for name, value in wanted.items())
    return None if told else "AccessDenied"


@pytest.mark.parametrize("client", ["obstore", "boto3"])
def test_a_bucket_that_asks_for_everything(user: User, client: str) -> None:
    said = ["sse=aws:kms", "sse_kms_key=alias/team", "checksum=sha256", "request_payer=true"]
    with Recorder(wants_everything) as server:
        env = {**KEYS, "TCLOG_S3_CLIENT": client}
        words = ["init", "s3://bucket/x", "--endpoint", server.url]
        assert user(*words, env=env, agent="alice").code == 7
        for word in said:
            words += ["--s3", word]
        user(*words, env=env, agent="alice").ok()
        (user.work / "file").write_bytes(b"1" * 20_000)
        user("memory", "set", "k", "v", env=env, agent="alice").ok()
        user("artifact", "put", "file", env=env, agent="alice").ok()
        assert user("memory", "get", "k", env=env).out == "v"
        user("fsck", env=env).ok()
        user("doctor", env=env, agent="alice").ok()


def test_keys_that_no_file_could_have_are_noted_by_fsck(bucket: User, moto: Server) -> None:
    """Folder markers of consoles, and doubled slashes, are no damage and change no exit status."""
    bucket("memory", "set", "k", "v", agent="alice").ok()
    store = where(bucket)["store"][0]
    assert store is not None
    name, _, prefix = f"{store}/work".removeprefix("s3://").partition("/")
    for key in ("chains/memory/k/", "chains/memory//x"):
        raw_client(moto).put_object(Bucket=name, Key=f"{prefix}/{key}", Body=b"")
    *told, summary = bucket("fsck", "--json").ok().objects()
    strays = [(row["type"], row["code"], row["object"]) for row in told]
    assert strays == [
        ("finding", "stray-object", "chains/memory//x"),
        ("finding", "stray-object", "chains/memory/k/"),
    ]
    assert summary["damaged"] == 0
