"""How a bucket is reached: proxies that are left out, regions and their domains, the AWS files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import botocore.session
import pytest
from botocore.config import Config
from botocore.loaders import Loader
from hypothesis import given
from hypothesis import strategies as st

from tclog.errors import UsageError
from tclog.store.s3.proxies import find_proxy, is_left_out, without_password
from tclog.store.s3.resolve import resolve
from tclog.store.s3.settings import S3Settings, aws_domain

# -- proxies --------------------------------------------------------------------------------------

LEFT_OUT = [
    # NO_PROXY, host, port, whether it is asked directly
    ("", "s3.test", 80, False),
    ("s3.test", "s3.test", 80, True),
    ("test", "s3.test", 80, True),
    (".test", "s3.test", 80, True),
    (".s3.test", "s3.test", 80, True),
    ("3.test", "s3.test", 80, False),
    ("S3.Test", "s3.TEST", 80, True),
    ("s3.test.", "s3.test", 80, True),
    ("s3.test", "s3.test.", 80, True),
    ("a, s3.test", "s3.test", 80, True),
    ("a s3.test", "s3.test", 80, True),
    ("a,,b", "s3.test", 80, False),
    ("*", "s3.test", 80, True),
    ("*.test", "s3.test", 80, False),
    ("s3.test:80", "s3.test", 80, True),
    ("s3.test:81", "s3.test", 80, False),
    (".test:80", "s3.test", 80, True),
    ("127.0.0.1", "127.0.0.1", 80, True),
    ("127.0.0.1:81", "127.0.0.1", 80, False),
    ("127.0.0.0/8", "127.0.0.1", 80, True),
    ("10.0.0.0/8", "127.0.0.1", 80, False),
    ("127.0.0.0/8", "localhost", 80, False),
    ("127.0.0.0/junk", "127.0.0.1", 80, False),
    ("::1", "::1", 80, True),
    ("[::1]", "::1", 80, True),
    ("[::1]:80", "::1", 80, True),
    ("[::1]:81", "::1", 80, False),
    ("::/64", "::1", 80, True),
    ("0:0:0:0:0:0:0:1", "::1", 80, True),
    ("localhost", "127.0.0.1", 80, False),
]


@pytest.mark.parametrize(("no_proxy", "host", "port", "told"), LEFT_OUT)
def test_who_is_asked_directly(no_proxy: str, host: str, port: int, told: bool) -> None:
    assert is_left_out(no_proxy, host, port) is told


NAMES = st.sampled_from(["a.test", "test", ".test", "b.a.test", "a.test:80", "other", "1.2.3.4"])


@given(st.lists(NAMES, max_size=3), st.sampled_from(["a.test", "b.a.test", "xa.test", "1.2.3.4"]))
def test_botocore_asks_directly_whom_we_ask_directly(listed: list[str], host: str) -> None:
    from urllib.request import proxy_bypass_environment

    told = proxy_bypass_environment(f"{host}:80", {"no": ",".join(listed)})
    assert is_left_out(",".join(listed), host, 80) is bool(told)


FOUND = [
    # variables, URL, what is found
    ({}, "http://s3.test", None),
    ({"http_proxy": "http://p:1"}, "http://s3.test", "http://p:1"),
    ({"HTTP_PROXY": "http://p:1"}, "http://s3.test", "http://p:1"),
    ({"http_proxy": "http://p:1", "HTTP_PROXY": "http://q:1"}, "http://s3.test", "http://p:1"),
    ({"http_proxy": "", "HTTP_PROXY": "http://q:1"}, "http://s3.test", None),
    ({"http_proxy": "http://p:1"}, "https://s3.test", None),
    ({"https_proxy": "p:1"}, "https://s3.test", "http://p:1"),
    ({"https_proxy": "//p:1/"}, "https://s3.test", "http://p:1"),
    ({"all_proxy": "https://u:w@p:1"}, "https://s3.test", "https://u:w@p:1"),
    ({"HTTP_PROXY": "http://p:1", "REQUEST_METHOD": "GET"}, "http://s3.test", None),
    ({"HTTP_PROXY": "http://p:1", "NO_PROXY": "s3.test:443"}, "http://s3.test", "http://p:1"),
    ({"https_proxy": "http://p:1", "NO_PROXY": "s3.test:443"}, "https://s3.test", None),
    ({"http_proxy": "http://p:1", "no_proxy": "[::1]"}, "http://[::1]:9000/x", None),
]


@pytest.mark.parametrize(("environ", "url", "proxy"), FOUND)
def test_which_proxy_a_url_has(environ: dict[str, str], url: str, proxy: str | None) -> None:
    found = find_proxy(url, environ)
    assert (found and found[0]) == proxy


@pytest.mark.parametrize(
    "proxy", ["socks5://p:1", "ftp://p", "http://", "http://a b", "http://p:x"]
)
def test_a_proxy_that_is_none_is_refused_without_its_password(proxy: str) -> None:
    with pytest.raises(UsageError) as told:
        find_proxy("http://s3.test", {"ALL_PROXY": proxy})
    assert told.value.code == "bad-proxy"
    assert told.value.hint == "export NO_PROXY=s3.test"
    assert without_password("http://u:secret@p:1") == "http://***@p:1"


@pytest.mark.parametrize("word", ["false", "maybe", 1, None])
def test_a_setting_that_each_client_would_read_differently_is_refused(word: Any) -> None:
    with pytest.raises(UsageError) as told:
        resolve(S3Settings("bucket", request_payer=word), {"AWS_CONFIG_FILE": "/dev/null"})
    assert told.value.code == "bad-config"


# -- regions and files, with botocore as the judge -------------------------------------------------


def test_every_region_of_botocore_s_is_in_its_domain() -> None:
    for partition in Loader().load_data("partitions")["partitions"]:
        for region in partition["regions"]:
            if not region.endswith("-global"):
                assert aws_domain(region) == partition["outputs"]["dnsSuffix"], region


FILES = {
    "region": "[default]\nregion = eu-a-1\n",
    "endpoint": "[default]\nregion = eu-a-1\nendpoint_url = https://s3.test\n",
    "service": "[default]\nservices = s\nendpoint_url = https://no.test\n"
    "[services s]\ns3 =\n  endpoint_url = https://s3.test:1\n",
    "other service": "[default]\nservices = s\nendpoint_url = https://yes.test\n"
    "[services s]\nsqs =\n  endpoint_url = https://s3.test:1\n",
    "ignored": "[default]\nregion = eu-west-1\nignore_configured_endpoint_urls = true\n"
    "endpoint_url = https://s3.test\n",
    "profile": "[profile x]\nregion = eu-x-1\nendpoint_url = https://x.test\n",
    "fips": "[default]\nregion = us-east-1\nuse_fips_endpoint = true\n",
    "dual stack": "[default]\nregion = eu-west-1\nuse_dualstack_endpoint = true\n",
    "both": "[default]\nregion = us-east-2\nuse_fips_endpoint = true\n"
    "use_dualstack_endpoint = true\n",
    "china": "[default]\nregion = cn-north-1\n",
    "bundle": "[default]\nregion = eu-west-1\nca_bundle = BUNDLE\n",
}


@pytest.mark.parametrize("name", FILES)
def test_the_files_are_read_as_botocore_reads_them(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bundle = tmp_path / "bundle.pem"
    bundle.write_text("-----BEGIN CERTIFICATE-----\n")
    file = tmp_path / "config"
    file.write_text(FILES[name].replace("BUNDLE", str(bundle)))
    environ = {"AWS_CONFIG_FILE": str(file), "AWS_SHARED_CREDENTIALS_FILE": str(tmp_path / "no")}
    for variable, value in environ.items():
        monkeypatch.setenv(variable, value)
    profile = "x" if name == "profile" else None
    found = resolve(S3Settings("bucket", profile=profile), environ).settings
    session = botocore.session.Session(profile=profile)
    region = session.get_config_variable("region") or "us-east-1"
    client: Any = session.create_client(
        "s3", region, config=Config(s3={"us_east_1_regional_endpoint": "regional"}),
        aws_access_key_id="k", aws_secret_access_key="s",
    )  # fmt: skip
    assert found.signed_for == client.meta.region_name
    asked: list[str] = []

    def stop(request: Any, **_: Any) -> None:
        asked.append(request.url)
        raise KeyboardInterrupt

    client.meta.events.register("before-send.s3.GetObject", stop)
    with pytest.raises(KeyboardInterrupt):
        client.get_object(Bucket="bucket", Key="k")
    assert asked == [f"{found.bucket_url}/k"] or found.endpoint  # there a path may do as well
    assert asked[0].replace("/bucket.", "/").replace("/bucket", "") == f"{found.server}/k"
    assert found.ca_bundle == session.get_config_variable("ca_bundle")
