"""One resolved set of settings: both clients send the same requests to the same place.

The next variable, file or combination is one line of ``CASES``.
"""

from __future__ import annotations

import functools
import json
import os
import re
import time
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, NamedTuple

import obstore
import pytest
from blake3 import blake3
from botocore.configprovider import BOTOCORE_DEFAUT_SESSION_VARIABLES
from botocore.loaders import JSONFileLoader
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from support.recorder import Recorder, Request, Rule, sha256_of

from tclog.errors import StoreDenied, StoreError
from tclog.store.s3 import S3Settings, S3Store, credentials, limits
from tclog.store.s3.resolve import resolve

CLIENTS = ["obstore", "boto3"]
KEYS = {"AWS_ACCESS_KEY_ID": "KEY", "AWS_SECRET_ACCESS_KEY": "secret"}
NO_KEYS = dict.fromkeys(KEYS, "")


def wants(header: str, value: str | None, of: Callable[[Request], bool]) -> Rule:
    """Make a rule of a bucket: some requests need a header, with this value or the body's sum."""

    def rule(request: Request) -> str | None:
        wanted = sha256_of(request.body) if value is None else value
        return "AccessDenied" if of(request) and request.headers.get(header) != wanted else None

    return rule


def ALL(_: Request) -> bool:  # noqa: N802
    return True


def BODIES(request: Request) -> bool:  # noqa: N802
    return request.method == "PUT" and request.path.strip("/").count("/") > 0


def OBJECTS(request: Request) -> bool:  # noqa: N802
    whole = request.method == "PUT" and "partNumber" not in request.asks
    return (BODIES(request) and whole) or "uploads=" in request.query


class Case(NamedTuple):
    """What is said, what the environment and the AWS files add, and what has to come of it.

    In texts <A>, <B> and <P> stand for servers' URLs and <D> for a folder. Of the servers ``asked``
    gets all requests and the others none.
    """

    environ: Mapping[str, str] = {}
    config: str = ""
    said: Mapping[str, Any] = {"endpoint": "<A>"}
    asked: str = "<A>"
    host: str | None = None
    path: str = "/bucket"
    region: str = "us-east-1"
    key_id: str = "KEY"


FILE = "[default]\nregion = eu-file-1\nendpoint_url = <B>\n"
X = "[profile x]\nregion = eu-x-1\naws_access_key_id = XKEY\naws_secret_access_key = s\n"
SERVICES = (
    "[profile x]\nservices = here\nendpoint_url = <A>\n[services here]\ns3 =\n  endpoint_url = "
)
VIRTUAL = "[default]\ns3 =\n  addressing_style = virtual\n"
PROXIED = {"said": {"endpoint": "http://s3.test"}, "asked": "<P>", "host": "s3.test"}
CASES = {
    "nothing else": Case(),
    # What was said goes before the environment and the files.
    "endpoint-s3 unheard": Case({"AWS_ENDPOINT_URL_S3": "<B>"}),
    "endpoint unheard": Case({"AWS_ENDPOINT_URL": "<B>"}),
    "endpoint of obstore's unheard": Case({"AWS_ENDPOINT": "<B>"}),
    "endpoint of a file unheard": Case(config=FILE, region="eu-file-1"),
    "region unheard": Case(
        {"AWS_REGION": "eu-v-1", "AWS_DEFAULT_REGION": "eu-d-1"},
        FILE,
        {"endpoint": "<A>", "region": "eu-said-1"},
        region="eu-said-1",
    ),
    "profile before keys": Case(
        config=X, said={"endpoint": "<A>", "profile": "x"}, region="eu-x-1", key_id="XKEY"
    ),
    # What nobody said: the environment, then the files.
    "endpoint-s3": Case({"AWS_ENDPOINT_URL_S3": "<A>", "AWS_ENDPOINT_URL": "<B>"}, said={}),
    "endpoint": Case({"AWS_ENDPOINT_URL": "<A>"}, FILE, {}, region="eu-file-1"),
    "endpoint with a slash": Case(said={"endpoint": "<A>/"}),
    "endpoint with a path": Case(said={"endpoint": "<A>/s3/"}, path="/s3/bucket"),
    "endpoint of a file": Case(config=FILE.replace("B", "A"), said={}, region="eu-file-1"),
    "endpoint of a profile": Case({"AWS_PROFILE": "y"}, X + "[profile y]\nendpoint_url = <A>", {}),
    "endpoint of a service": Case({"AWS_PROFILE": "x"}, SERVICES.replace("A", "B") + "<A>", {}),
    "endpoint beside another service's": Case(
        {"AWS_PROFILE": "x"}, SERVICES.replace("s3 =", "sqs =") + "<B>", {}
    ),
    "region": Case({"AWS_REGION": "eu-v-1", "AWS_DEFAULT_REGION": "eu-d-1"}, region="eu-v-1"),
    "default region": Case({"AWS_DEFAULT_REGION": "eu-d-1"}, FILE, region="eu-d-1"),
    "region beside keys": Case({"AWS_PROFILE": "x"}, X, region="eu-x-1"),
    "region of the default profile": Case({"AWS_DEFAULT_PROFILE": "x"}, X, region="eu-x-1"),
    "keys of a profile": Case({**NO_KEYS, "AWS_PROFILE": "x"}, X, region="eu-x-1", key_id="XKEY"),
    "keys of a file": Case(
        {**NO_KEYS, "AWS_SHARED_CREDENTIALS_FILE": "<D>/config"},
        "[default]\naws_access_key_id = FKEY\naws_secret_access_key = s\n",
        key_id="FKEY",
    ),
    "keys of a process": Case(
        NO_KEYS,
        "[default]\ncredential_process = echo '"
        '{"Version": 1, "AccessKeyId": "PKEY", '
        '"SecretAccessKey": "s", "SessionToken": "t", "Expiration": "2999-01-01T00:00:00Z"}\'',
        key_id="PKEY",
    ),
    "keys of a container": Case(
        {**NO_KEYS, "AWS_CONTAINER_CREDENTIALS_FULL_URI": "<P>/container"}, key_id="CKEY"
    ),
    "keys of the machine": Case(
        {
            **NO_KEYS,
            "AWS_EC2_METADATA_DISABLED": "false",
            "AWS_EC2_METADATA_SERVICE_ENDPOINT": "<P>",
        },
        key_id="MKEY",
    ),
    "keys of a web identity": Case(
        {
            **NO_KEYS,
            "AWS_WEB_IDENTITY_TOKEN_FILE": "<D>/config",
            "AWS_ROLE_ARN": "arn:aws:iam::123456789012:role/r",
            "AWS_ENDPOINT_URL_STS": "<P>/sts",
        },
        "[default]\nregion = eu-w-1\n",
        region="eu-w-1",
        key_id="WKEY",
    ),
    "token": Case({"AWS_SESSION_TOKEN": "T"}),
    "token of obstore's": Case({"AWS_TOKEN": "T"}),
    "web identity beside keys": Case(
        {"AWS_WEB_IDENTITY_TOKEN_FILE": "/nowhere", "AWS_ROLE_ARN": "arn:aws:iam::1:role/r"}
    ),
    "container beside keys": Case({"AWS_CONTAINER_CREDENTIALS_FULL_URI": "<B>"}),
    # Where a request names the bucket.
    "virtual": Case(
        {"HTTP_PROXY": "<P>"},
        said={"endpoint": "http://s3.test", "addressing": "virtual"},
        asked="<P>",
        host="bucket.s3.test",
        path="/",
    ),
    "virtual by a file": Case(
        {"HTTP_PROXY": "<P>", "AWS_ENDPOINT_URL": "http://s3.test:81"},
        VIRTUAL,
        {},
        asked="<P>",
        host="bucket.s3.test:81",
        path="/",
    ),
    "virtual unheard": Case({"HTTP_PROXY": "<P>"}, VIRTUAL, **PROXIED | {
        "said": {"endpoint": "http://s3.test", "addressing": "path"}
    }),
    "virtual at numbers": Case(said={"endpoint": "<A>", "addressing": "virtual"}),
    "virtual with dots": Case(
        {"HTTP_PROXY": "<P>"},
        said={"endpoint": "http://s3.test", "addressing": "virtual", "bucket": "a.b"},
        asked="<P>",
        host="s3.test",
        path="/a.b",
    ),
    "directory bucket": Case(
        said={"endpoint": "<A>", "bucket": "b--use1-az1--x-s3"}, path="/b--use1-az1--x-s3"
    ),
    "accelerated": Case(config="[default]\ns3 =\n  use_accelerate_endpoint = true\n"),
    "fips beside an endpoint": Case({"AWS_USE_FIPS_ENDPOINT": "true"}),
    "dual stack beside an endpoint": Case({"AWS_USE_DUALSTACK_ENDPOINT": "true"}),
    "endpoints ignored": Case(
        {"AWS_IGNORE_CONFIGURED_ENDPOINT_URLS": "true", "AWS_ENDPOINT_URL": "<B>"}, FILE,
        region="eu-file-1",
    ),
    # Proxies.
    "proxy": Case({"HTTP_PROXY": "<P>"}, **PROXIED),
    "proxy in small letters": Case({"http_proxy": "<P>", "HTTP_PROXY": "<B>"}, **PROXIED),
    "proxy without a scheme": Case({"http_proxy": "<PH>"}, **PROXIED),
    "proxy for all": Case({"ALL_PROXY": "<P>"}, **PROXIED),
    "proxy for https": Case({"HTTPS_PROXY": "<P>"}),
    "proxy of obstore's": Case({"AWS_PROXY_URL": "<P>"}),
    "no proxy": Case({"HTTP_PROXY": "<P>", "NO_PROXY": "x, 127.0.0.1"}),
    "no proxy at all": Case({"HTTP_PROXY": "<P>", "no_proxy": "*", "NO_PROXY": ""}),
    "no proxy in a network": Case({"HTTP_PROXY": "<P>", "NO_PROXY": "127.0.0.0/8"}),
    "no proxy elsewhere": Case({"HTTP_PROXY": "<P>", "NO_PROXY": "test2,127.0.0.1"}, **PROXIED),
    "no proxy at a port": Case({"HTTP_PROXY": "<P>", "NO_PROXY": "s3.test:9"}, **PROXIED),
}  # fmt: skip


RULES: dict[str, tuple[dict[str, Any], Rule]] = {
    # What is said, and what a server asks for that refuses everything without it.
    "payer": ({"request_payer": True}, wants("x-amz-request-payer", "requester", ALL)),
    "checksum": ({"checksum": "sha256"}, wants("x-amz-checksum-sha256", None, BODIES)),
    "encrypted": ({"sse": "AES256"}, wants("x-amz-server-side-encryption", "AES256", OBJECTS)),
    "kms": ({"sse": "aws:kms"}, wants("x-amz-server-side-encryption", "aws:kms", OBJECTS)),
    "kms twice": (
        {"sse": "aws:kms:dsse"}, wants("x-amz-server-side-encryption", "aws:kms:dsse", OBJECTS)
    ),
    "kms key": (
        {"sse": "aws:kms", "sse_kms_key": "arn:aws:kms:eu-west-1:1:key/k"},
        wants(
            "x-amz-server-side-encryption-aws-kms-key-id", "arn:aws:kms:eu-west-1:1:key/k", OBJECTS
        ),
    ),
}  # fmt: skip


def heard() -> Iterator[str]:
    """Name every variable that obstore, botocore or what they are made of may heed."""
    folder = Path(obstore.__file__).parent / "_store"
    for file in ("_aws.pyi", "_client.pyi"):
        text = (folder / file).read_text()
        yield from re.findall(r"`(AWS_[A-Z0-9_]+)`", text)
        fields = re.findall(r"^    (\w+): ", text, re.MULTILINE)
        yield from (f"AWS_{name.upper()}" for name in fields)
    for _, names, _, _ in BOTOCORE_DEFAUT_SESSION_VARIABLES.values():
        yield from [names] if isinstance(names, str) else names or ()
    yield from MORE


MORE = (
    "AWS_S3_US_EAST_1_REGIONAL_ENDPOINT",
    "AWS_S3_USE_ARN_REGION",
    "AWS_S3_DISABLE_MULTIREGION_ACCESS_POINTS",
    "AWS_S3_DISABLE_EXPRESS_SESSION_AUTH",
    "AWS_S3_EXPRESS",
    "AWS_server_side_encryption",
    "AWS_CREDENTIAL_EXPIRATION",
    "AWS_ACCOUNT_ID",
    "AWS_EXECUTION_ENV",
    "REQUESTS_CA_BUNDLE",
    "CURL_CA_BUNDLE",
    "SSL_CERT_FILE",
    "SSL_CERT_DIR",
)
# What of them is heeded on purpose, and tried above.
MEANT = {
    *KEYS, "AWS_SESSION_TOKEN", "AWS_SECURITY_TOKEN", "AWS_PROFILE", "AWS_DEFAULT_PROFILE",
    "AWS_REGION", "AWS_DEFAULT_REGION", "AWS_CONFIG_FILE", "AWS_SHARED_CREDENTIALS_FILE",
}  # fmt: skip
VALUES = ("true", "false", "1", "sha256", "aws:kms", "http://127.0.0.1:9", "/nowhere", "garbage é")


def keys(key_id: str) -> bytes:
    """Say keys as a container or a machine does."""
    return json.dumps(
        {
            "Code": "Success",
            "AccessKeyId": key_id,
            "SecretAccessKey": "s",
            "Token": "t",
            "Expiration": "2999-01-01T00:00:00Z",
        }
    ).encode()


IDENTITY = """<AssumeRoleWithWebIdentityResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/">
<AssumeRoleWithWebIdentityResult><Credentials><AccessKeyId>WKEY</AccessKeyId><SecretAccessKey>s
</SecretAccessKey><SessionToken>t</SessionToken><Expiration>2999-01-01T00:00:00Z</Expiration>
</Credentials><AssumedRoleUser><Arn>arn</Arn><AssumedRoleId>r</AssumedRoleId></AssumedRoleUser>
</AssumeRoleWithWebIdentityResult></AssumeRoleWithWebIdentityResponse>"""
DOCUMENTS = {
    "/container": keys("CKEY"),
    "/latest/api/token": b"token",
    "/latest/meta-data/iam/security-credentials/": b"role",
    "/latest/meta-data/iam/security-credentials/role": keys("MKEY"),
    "/sts": IDENTITY.encode(),
    "/sts/": IDENTITY.encode(),
}


class Places(NamedTuple):
    a: Recorder
    b: Recorder
    proxy: Recorder
    folder: Path

    def fill(self, text: Any) -> Any:
        if not isinstance(text, str):
            return text
        for name, server in (("A", self.a), ("B", self.b), ("P", self.proxy)):
            text = text.replace(f"<{name}>", server.url).replace(f"<{name}H>", server.host)
        return text.replace("<D>", str(self.folder))

    def filled(self, texts: Mapping[str, Any]) -> dict[str, Any]:
        return {name: self.fill(text) for name, text in texts.items()}


@pytest.fixture(scope="module", autouse=True)
def _models_once() -> Iterator[None]:
    """Read botocore's descriptions of services once: most of the time goes into that."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(JSONFileLoader, "load_file", functools.cache(JSONFileLoader.load_file))
        # One loader for all, which a cached method is keyed by.
        patch.setattr(JSONFileLoader, "__hash__", lambda _: 0)
        patch.setattr(JSONFileLoader, "__eq__", lambda *_: True)
        yield


@pytest.fixture(scope="module")
def servers() -> Iterator[list[Recorder]]:
    with Recorder() as a, Recorder() as b, Recorder() as proxy:
        proxy.documents = DOCUMENTS
        yield [a, b, proxy]


@pytest.fixture
def places(
    servers: list[Recorder], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Places]:
    for name, value in KEYS.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(limits, "PART_BYTES", 1 << 16)
    for name in ("AWS_CONFIG_FILE", "AWS_SHARED_CREDENTIALS_FILE"):
        monkeypatch.setenv(name, str(tmp_path / "none"))
    for server in servers:
        server.clear()
    yield Places(*servers, tmp_path)


def work(store: S3Store, folder: Path) -> None:
    """Use every verb once."""
    (large := folder / "large").write_bytes(b"1" * (limits.PART_BYTES + 1))
    (small := folder / "small").write_bytes(b"1")
    store.put("a/b", b"1")
    store.create("a/c", b"2")
    store.get("a/b")
    store.stat("a/b")
    store.list("a", "", 10, False)
    store.list("a", "a/b", 10, False)
    store.list("a", "", 10, True)
    for file in (small, large):
        store.put_file(f"a/{file.name}", file, blake3(file.read_bytes()).hexdigest(), None)
    for _ in store.get_file("a/b") or ():
        pass
    store.delete("a/b")
    store.delete("a/b", "a/c")


def log_of(places: Places, said: S3Settings, environ: Mapping[str, str], client: str) -> list[str]:
    """Return what a client sends to do everything, of all servers together."""
    for server in (places.a, places.b, places.proxy):
        server.clear()
    settings = resolve(said._replace(client=client), environ).settings
    work(S3Store(settings, environ), places.folder)
    lines = [line for server in places[:3] for line in server.lines()]
    # Parts of an upload may go side by side.
    return sorted(lines)


@pytest.mark.parametrize("name", CASES)
def test_both_clients_send_the_same_to_the_same_place(
    places: Places, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    case = CASES[name]
    for variable, value in case.environ.items():
        monkeypatch.setenv(variable, places.fill(value))
    if case.config:
        (places.folder / "config").write_text(places.fill(case.config))
        monkeypatch.setenv("AWS_CONFIG_FILE", str(places.folder / "config"))
    said = S3Settings(**{"bucket": "bucket", "prefix": "p", **places.filled(case.said)})
    asked = places.fill(case.asked)
    logs = {}
    for client in CLIENTS:
        logs[client] = log_of(places, said, os.environ, client)
        told = {request.asked for s in places[:3] for request in s.requests}
        assert told == {asked.removeprefix("http://")}
        for server in places[:3]:
            for request in server.requests:
                assert request.host == (case.host or asked.removeprefix("http://"))
                assert (request.path + "/").startswith(case.path.rstrip("/") + "/")
                assert (request.region, request.key_id) == (case.region, case.key_id)
    assert logs["obstore"] == logs["boto3"]
    assert len(logs["obstore"]) > 10


@pytest.mark.parametrize("name", RULES)
def test_a_bucket_with_rules_gets_what_it_asks_for(places: Places, name: str) -> None:
    said, rule = RULES[name]
    plain = S3Settings("bucket", "p", places.a.url)
    logs = {}
    places.a.rules = (rule,)
    try:
        for client in CLIENTS:
            logs[client] = log_of(places, plain._replace(**said), os.environ, client)
            with pytest.raises(StoreDenied):
                log_of(places, plain, os.environ, client)
    finally:
        places.a.rules = ()
    assert logs["obstore"] == logs["boto3"]


@pytest.mark.parametrize("client", CLIENTS)
def test_no_variable_of_a_library_s_own_changes_a_request(
    places: Places, monkeypatch: pytest.MonkeyPatch, client: str
) -> None:
    """The list is made of what the libraries say of themselves, so it grows with them."""
    said = S3Settings("bucket", "p", places.a.url)
    plain = log_of(places, said, os.environ, client)
    names = sorted({*heard()} - MEANT)
    assert len(names) > 50
    for nth in range(len(VALUES)):
        with monkeypatch.context() as patch:
            for at, name in enumerate(names):
                patch.setenv(name, VALUES[(at + nth) % len(VALUES)])
            assert log_of(places, said, os.environ, client) == plain, nth


@pytest.mark.parametrize("client", CLIENTS)
def test_keys_that_expire_are_renewed(
    places: Places, monkeypatch: pytest.MonkeyPatch, client: str
) -> None:
    """obstore kept them for half an hour, however short their life was."""
    soon = f"{datetime.now(UTC) + timedelta(minutes=2):%Y-%m-%dT%H:%M:%SZ}"
    script = places.folder / "keys"
    script.write_text(
        'echo x >>"$0.asked"; n=$(wc -l <"$0.asked"); test -e "$0.over" && exit 1\n'
        'echo \'{"Version": 1, "AccessKeyId": "KEY\'$n\'", "SecretAccessKey": "s",'
        f' "SessionToken": "t", "Expiration": "{soon}"}}\'\n'
    )
    (places.folder / "config").write_text(f"[default]\ncredential_process = sh {script}\n")
    monkeypatch.setenv("AWS_CONFIG_FILE", str(places.folder / "config"))
    monkeypatch.setattr(credentials, "KEPT", timedelta(0))
    for name in KEYS:
        monkeypatch.delenv(name)
    settings = resolve(S3Settings("bucket", "p", places.a.url, client=client), os.environ).settings
    store = S3Store(settings, os.environ)
    for _ in range(3):
        store.get("a/b")
        time.sleep(0.2)  # obstore asks no more often than ten times a second
    used = [request.key_id for request in places.a.requests]
    assert len(set(used)) == 3
    (places.folder / "keys.over").touch()
    with pytest.raises(StoreDenied, match="credential"):
        store.get("a/b")


# -- certificates ---------------------------------------------------------------------------------


def authority(folder: Path) -> tuple[Path, Path]:
    """Make an authority that no system knows, and a certificate for this machine by it."""
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "an authority")])
    own = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "localhost")])
    now = datetime.now(UTC)
    signer, key = (ec.generate_private_key(ec.SECP256R1()) for _ in range(2))

    def made(subject: x509.Name, public: Any, extension: Any, critical: bool) -> bytes:
        builder = x509.CertificateBuilder().subject_name(subject).issuer_name(name)
        builder = builder.public_key(public).serial_number(x509.random_serial_number())
        builder = builder.not_valid_before(now - timedelta(days=1))
        builder = builder.not_valid_after(now + timedelta(days=1))
        builder = builder.add_extension(extension, critical=critical)
        return builder.sign(signer, hashes.SHA256()).public_bytes(Encoding.PEM)

    (bundle := folder / "authority.pem").write_bytes(
        made(name, signer.public_key(), x509.BasicConstraints(ca=True, path_length=None), True)
    )
    names = x509.SubjectAlternativeName([x509.DNSName("localhost")])
    plain = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    (both := folder / "own.pem").write_bytes(made(own, key.public_key(), names, False) + plain)
    return bundle, both


BUNDLES = {
    "AWS_CA_BUNDLE": ({"AWS_CA_BUNDLE": "<D>/authority.pem"}, ""),
    "REQUESTS_CA_BUNDLE": ({"REQUESTS_CA_BUNDLE": "<D>/authority.pem"}, ""),
    "SSL_CERT_FILE": ({"SSL_CERT_FILE": "<D>/authority.pem"}, ""),
    "the profile": ({}, "[default]\nca_bundle = <D>/authority.pem\n"),
    "none": ({}, ""),
}


@pytest.mark.parametrize("name", BUNDLES)
def test_both_clients_trust_the_same_authority(
    places: Places, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    environ, config = BUNDLES[name]
    _, both = authority(places.folder)
    for variable in BUNDLES:
        monkeypatch.delenv(variable, raising=False)
    for variable, value in places.filled(environ).items():
        monkeypatch.setenv(variable, value)
    (places.folder / "config").write_text(places.fill(config))
    monkeypatch.setenv("AWS_CONFIG_FILE", str(places.folder / "config"))
    with Recorder(certificate=both) as server:
        for client in CLIENTS:
            said = S3Settings("bucket", "p", server.url, client=client)
            store = S3Store(resolve(said, os.environ).settings, os.environ)
            if name == "none":
                with pytest.raises(StoreError):
                    store.get("a/b")
                assert server.requests == []
                continue
            store.put("a/b", client.encode())
            found = store.get("a/b")
            assert found is not None
            assert found.data == client.encode()
