"""Listings end, whatever lies in the bucket and however the server pages."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit
from xml.sax.saxutils import escape

import pytest
from support.stores import Around, Server, fresh_bucket, open_s3, raw_client

from tclog.chain.drive import run, settled
from tclog.errors import StoreUnfit
from tclog.store.base import Entry, List
from tclog.store.file import FileStore
from tclog.store.memory import MemoryStore
from tclog.store.s3 import S3Settings, S3Store
from tclog.sync.objects import Listing

KEYS = {"AWS_ACCESS_KEY_ID": "any", "AWS_SECRET_ACCESS_KEY": "any"}
PAGES_MAX = 20

both = pytest.mark.parametrize("client", ["obstore", "boto3"])


@pytest.fixture(autouse=True)
def _boto3_clients(shared_boto3: None) -> None:
    """Share clients in all of these tests."""


@pytest.fixture(params=["moto", "ceph"])
def server(request: pytest.FixtureRequest) -> Server:
    return request.getfixturevalue(request.param)


# -- what others leave in a bucket ----------------------------------------------------------------

OBJECTS = {
    "q/a": b"1",
    "q/a/b": b"2",
    "q/a/c": b"3",
    "q/a.json": b"",
    "q/empty.json": b"",
    "q/empty": b"",
    "q/m/x": b"4",
}
FOLDERS = ["q/a/", "q/m/"]
# Keys that are no object of tclog: markers of folders, and what has no name in a folder.
FOREIGN = {
    "its own marker": ["q/"],
    "a marker that sorts first": ["q/0/"],
    "a marker that sorts last": ["q/z/"],
    "a marker beside an object": ["q/a/"],
    "markers of folders with objects": ["q/", "q/a/", "q/m/"],
    "a marker within a marker": ["q/z/", "q/z/z/"],
    "two slashes": ["q/a//x"],
    "two slashes at the beginning": ["q//x"],
    "two slashes at the end": ["q/z//"],
    "a dot": ["q/./x", "q/z/../x"],
}


@both
@pytest.mark.parametrize("foreign", FOREIGN.values(), ids=FOREIGN)
def test_a_listing_shows_the_objects_alone(server: Server, client: str, foreign: list[str]) -> None:
    settings = fresh_bucket(server, client=client)
    store = open_s3(server, settings)
    for key, data in OBJECTS.items():
        store.put(key, data)
    for key in foreign:
        raw_client(server).put_object(
            Bucket=settings.bucket, Key=f"{settings.prefix}/{key}", Body=b""
        )
    expected = sorted(OBJECTS)
    assert [row.key for row in store.list("q", "", 1000, False)] == expected
    for limit in (2, 5):
        assert paged(store, limit) == expected
    empty = {f"q/{part}/" for key in foreign for part in key.split("/")[1:-1]} - {"q//"}
    empty -= {f"q/{part}/" for part in (".", "..")}
    folders = [row.key for row in store.list("q", "", 1000, True)]
    assert set(FOLDERS) <= set(folders) <= set(FOLDERS) | empty
    assert folders == sorted(set(folders))
    for key in OBJECTS:
        assert store.get(key) is not None


def paged(store: S3Store, limit: int) -> list[str]:
    """Read a listing page by page, by the driver that all commands use."""

    def protocol() -> Any:
        found, after = [], ""
        for _ in range(PAGES_MAX):
            rows = yield List("q", after, limit)
            if not rows:
                return found
            found += [row.key for row in rows]
            after = rows[-1].key
        raise AssertionError(f"no end after {PAGES_MAX} pages: {found[-3:]}")

    return run(protocol(), store)


def test_names_that_no_key_folds_to_are_left_out(tmp_path: Path) -> None:
    store = FileStore(tmp_path, ignores_case=True)
    store.put("q/A", b"1")
    store.put("q/F/x", b"1")
    for name in ("^^a", "B", "b^", "^1"):
        (tmp_path / "q" / name).write_bytes(b"")
        (tmp_path / "q" / f"{name}-f").mkdir()
    assert [row.key for row in store.list("q", "", 10, False)] == ["q/A", "q/F/x"]
    assert [row.key for row in store.list("q", "", 10, True)] == ["q/F/"]


# -- servers and stores that do not go forward ----------------------------------------------------


class Pages:
    """A server that answers every listing by what ``page`` makes of its query."""

    def __init__(self, page: Callable[[dict[str, str], int], tuple[list[str], str]]) -> None:
        self.asked = 0
        pages = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                query = {k: v[0] for k, v in parse_qs(urlsplit(self.path).query).items()}
                pages.asked += 1
                body = listing(*page(query, pages.asked)) if "list-type" in query else b""
                if pages.asked > 5 * PAGES_MAX:
                    self.send_error(400)
                    return
                self.send_response(200)
                self.send_header("Content-Type", "application/xml")
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: Any) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


def listing(keys: list[str], token: str) -> bytes:
    rows = "".join(
        f"<Contents><Key>p/{escape(key)}</Key><Size>1</Size>"
        "<LastModified>2026-11-30T12:00:00.000Z</LastModified><ETag>x</ETag></Contents>"
        for key in keys
    )
    more = f"<NextContinuationToken>{token}</NextContinuationToken>" if token else ""
    return (
        '<?xml version="1.0"?><ListBucketResult xmlns="http://s3.amazonaws.com/doc/2006-03-01/">'
        f"<Name>b</Name><Prefix>p/q/</Prefix><KeyCount>{len(keys)}</KeyCount>"
        f"<MaxKeys>1000</MaxKeys><IsTruncated>{'true' if token else 'false'}</IsTruncated>"
        f"{more}{rows}</ListBucketResult>"
    ).encode()


def _backwards(query: dict[str, str], nth: int) -> tuple[list[str], str]:
    return ["q/2", "q/1"], ""


def _the_same_page(query: dict[str, str], nth: int) -> tuple[list[str], str]:
    return ["q/1", "q/2"], "token"


def _other_tokens(query: dict[str, str], nth: int) -> tuple[list[str], str]:
    return ["q/1", "q/2"], f"token-{nth}"


def _ignores_where_to_begin(query: dict[str, str], nth: int) -> tuple[list[str], str]:
    return ["q/1", "q/2"], ""


def _one_key_again(query: dict[str, str], nth: int) -> tuple[list[str], str]:
    return ["q/1", "q/1"], ""


STUCK = [_backwards, _the_same_page, _other_tokens, _ignores_where_to_begin, _one_key_again]


@both
@pytest.mark.parametrize("page", STUCK, ids=lambda page: page.__name__)
def test_a_server_that_does_not_go_forward_is_an_error(client: str, page: Any) -> None:
    pages = Pages(page)
    try:
        settings = S3Settings("b", "p", pages.url, "us-east-1", client=client)
        with pytest.raises(StoreUnfit, match="repeats keys or goes back"):
            paged(S3Store(settings, KEYS), 10)
        assert pages.asked < PAGES_MAX
    finally:
        pages.close()


@both
def test_empty_pages_do_not_end_a_listing(client: str) -> None:
    """S3 may answer with no row and a token, where it has gone through what was removed."""

    def page(query: dict[str, str], nth: int) -> tuple[list[str], str]:
        del nth
        told = {"": ([], "a"), "a": (["q/1"], "b"), "b": ([], "c"), "c": (["q/2"], "")}
        return told[query.get("continuation-token", "")]

    pages = Pages(page)
    try:
        settings = S3Settings("b", "p", pages.url, "us-east-1", client=client)
        store = S3Store(settings, KEYS)
        assert [row.key for row in store.list("q", "", 1000, False)] == ["q/1", "q/2"]
    finally:
        pages.close()


@both
@pytest.mark.parametrize("page", STUCK, ids=lambda page: page.__name__)
def test_the_probe_finds_a_server_that_does_not_go_on(client: str, page: Any) -> None:
    """obstore follows the pages of folders by itself, and would never come back."""
    pages = Pages(page)
    try:
        store = S3Store(S3Settings("b", "p", pages.url, "us-east-1", client=client), KEYS)
        with pytest.raises(StoreUnfit, match="repeats keys or goes back"):
            store.check_pages(["q/1", "q/2", "q/3"])
        assert pages.asked < PAGES_MAX
    finally:
        pages.close()


class Repeats(Around):
    """Begins every listing with the key that it was to begin after."""

    def list(self, prefix: str, after: str, limit: int, folders: bool) -> list[Entry]:
        rows = self.inner.list(prefix, "", 10**6, folders)
        return [row for row in rows if row.key >= after][:limit]


class Circles(Around):
    """Begins from the front again where the end was reached."""

    def list(self, prefix: str, after: str, limit: int, folders: bool) -> list[Entry]:
        rows = self.inner.list(prefix, after, limit, folders)
        return rows or self.inner.list(prefix, "", limit, folders)


class Twice(Around):
    """Shows each row two times."""

    def list(self, prefix: str, after: str, limit: int, folders: bool) -> list[Entry]:
        rows = self.inner.list(prefix, after, limit, folders)
        return [row for row in rows for _ in range(2)][:limit]


def _plain(folders: bool) -> Any:
    def protocol() -> Any:
        rows = yield List("q", folders=folders)
        for _ in range(PAGES_MAX):
            rows = yield List("q", rows[-1].key, folders=folders)
            if not rows:
                return

    return protocol()


def _beside() -> Any:
    first = settled((yield (List("q"), List("q", folders=True))))
    settled((yield tuple(List("q", rows[-1].key) for rows in first)))


def _page_by_page() -> Any:
    listing = Listing("q")
    for _ in range(PAGES_MAX):
        if not (yield from listing.page()):
            return


LOOPS = {
    "objects": lambda: _plain(False),
    "folders": lambda: _plain(True),
    "side by side": _beside,
    "Listing": _page_by_page,
}


@pytest.fixture
def inner() -> Iterator[MemoryStore]:
    store = MemoryStore()
    for nth in range(5):
        store.put(f"q/{nth}/x", b"1")
    return store


@pytest.mark.parametrize("loop", LOOPS.values(), ids=LOOPS)
@pytest.mark.parametrize("kind", [Repeats, Circles, Twice])
def test_no_loop_over_pages_goes_round(
    inner: MemoryStore, kind: type[Around], loop: Callable[[], Any]
) -> None:
    run(loop(), inner)
    with pytest.raises(StoreUnfit, match="repeats keys or goes back"):
        run(loop(), kind(inner))
