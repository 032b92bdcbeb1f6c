"""Options that several commands share, so that all of them read the same words the same way."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any, TypeVar

import click

from tclog.errors import BadValue, UsageError, quote

STDIN = "-"
# What is done for the claim that ``tclog exec`` holds, unless it names another token.
FENCED = ("step.renew", "step.note", "step.release", "step.complete")


class Duration(click.ParamType[float]):
    """A duration such as 30s, 10m, 2h30m; seconds as a float."""

    name = "duration"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> float:
        """See click."""
        del param
        from tclog.moment import parse_duration_s

        try:
            return value if isinstance(value, float) else parse_duration_s(str(value))
        except UsageError as error:
            error.hint = error.hint or (f"{ctx.command_path} --help" if ctx else "")
            raise


class Text(click.ParamType[str]):
    """A text; the system also hands over bytes that are none."""

    name = "text"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """See click."""
        text = str(value)
        if not text.isascii():
            try:
                text.encode()
            except UnicodeEncodeError:
                self.fail(f"{text!a} is not UTF-8", param, ctx)
        return text


DURATION = Duration()
TEXT = Text()
F = TypeVar("F", bound=Callable[..., Any])

id_key = click.option(
    "--id", "id_key", metavar="KEY", help="Idempotency key: repeating it cannot apply twice."
)
at = click.option("--at", metavar="POINT", help="As it was then: 10m, ISO 8601, an id, a tag.")
limit = click.option(
    "-n", "--limit", "limit", type=click.IntRange(0), metavar="N", help="Rows to show; 0 for all."
)
message = click.option("-m", "--message", metavar="T", help="TEXT, as an option.")
lease = click.option(
    "--lease", type=DURATION, metavar="D", help="How long the claim lasts (default 30m)."
)
fence = click.option(
    "--fence", type=int, metavar="N", help="Refuse if the claim's fencing token is not N."
)

attempts = click.option(
    "--attempts", is_flag=True, help="Also events that lost their race, and to whom."
)


def _be_strict(ctx: click.Context, _: click.Parameter, asked: bool) -> None:
    if asked:
        from tclog.cli.here import Here

        here = ctx.find_object(Here)
        assert here is not None  # noqa: S101 - the root sets it
        here.strict = True


strict = click.option(
    "--strict",
    is_flag=True,
    expose_value=False,
    callback=_be_strict,
    help="End with 8 if something is damaged and left out.",
)


def filters(command: F) -> F:
    """Give a listing of events the options that choose among them."""
    for decorate in (
        click.option(
            "--grep", "text", type=TEXT, metavar="TEXT", help="Only events that hold this text."
        ),
        click.option(
            "--chain",
            type=TEXT,
            metavar="C",
            help="Only these chains, such as 'memory/design.*'.",
        ),
        click.option(
            "--op",
            type=TEXT,
            metavar="OP",
            help="Only these ops; a shell pattern such as 'step.*'.",
        ),
        click.option("--agent", type=TEXT, metavar="A", help="Only events of this agent."),
    ):
        command = decorate(command)
    return command


def timeout(default: str | None = "5m") -> Callable[[F], F]:
    """A --timeout option; without a default it waits for ever."""
    return click.option(
        "--timeout",
        type=DURATION,
        default=default,
        show_default=default is not None,
        metavar="D",
        help="Give up after this long, with exit status 5.",
    )


def one_text(text: str | None, message: str | None) -> str:
    """Return a text that is given either as an argument or as ``--message``.

    Raises:
        UsageError: neither, or both, were given.
    """
    if (text is None) == (message is None):
        raise UsageError("give the text, or --message", code="value-missing")
    return text if message is None else message  # type: ignore[return-value]


def check_key(key: str | None) -> str | None:
    """Return an idempotency key that may be used as a name."""
    if key is not None:
        from tclog.event import validate_name

        validate_name("idempotency key", key)
    return key


def read_text(value: str | None, file: str | None = None) -> str:
    """Return a text given as an argument, as ``-`` for standard input, or as a file.

    Raises:
        BadValue: it is not UTF-8.
        UsageError: nothing, or both, were given; the file cannot be read.
    """
    if (value is None) == (file is None):
        raise UsageError("give a value, - for standard input, or --file", code="value-missing")
    if file is None and value != STDIN:
        assert value is not None  # noqa: S101 - checked above
        return _utf8(value.encode(errors="surrogateescape"), "the value")
    if file is None and sys.stdin is None:
        raise UsageError("standard input is closed", code="file-unreadable")
    try:
        raw = sys.stdin.buffer.read() if file is None else _bytes_of(file)
    except OSError as error:
        from tclog.cli.files import unreadable

        raise unreadable(file, error) from None
    return _utf8(raw, _named(file))


def _named(file: str | None) -> str:
    """Return what errors call the source of a text."""
    return "standard input" if file is None else file or quote(file)


def _bytes_of(file: str) -> bytes:
    with open(file, "rb") as opened:  # noqa: PTH123 - pathlib costs on the hot path
        return opened.read()


def _utf8(raw: bytes, what: str) -> str:
    try:
        return raw.decode()
    except UnicodeDecodeError as error:
        raise BadValue(
            f"{what} is not UTF-8 at byte {error.start}; an artifact may hold any bytes",
            hint="tclog artifact put --help",
        ) from None


def parse_json(text: str) -> Any:
    """Read JSON, refusing what would not be kept exactly.

    Raises:
        BadValue: it is none, an object has a key twice, or a number is none.
    """
    import json

    def once_only(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        record = dict(pairs)
        if len(record) != len(pairs):
            raise BadValue("the JSON value has an object with the same key twice")
        return record

    def refuse(word: str) -> Any:
        raise BadValue(f"the JSON value holds {word}, which is not JSON")

    try:
        return json.loads(text, object_pairs_hook=once_only, parse_constant=refuse)
    except ValueError as error:
        raise BadValue(f"the value is not JSON: {error}") from None
    except RecursionError:
        raise BadValue("the JSON value is nested too deeply") from None
