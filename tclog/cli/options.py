"""Options that several commands share, so that all of them read the same words the same way."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

import click

from tclog.cli.output import STDIN
from tclog.errors import BadValue, UsageError

if TYPE_CHECKING:
    from tclog.cli.invocation import Invocation

BYTE_ORDER_MARK = "\ufeff"


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
                # What the locale could not read the system hands over as half characters.
                text = text.encode(errors="surrogateescape").decode()
            except UnicodeError:
                what = param.opts[0] if param else "the text"
                hint = f"{ctx.command_path} --help" if ctx else ""
                raise BadValue(f"{what} is not UTF-8: {text!a}", hint=hint) from None
        return text


class _FromStdin(str):
    """Stands for the text of standard input until ``from_stdin`` has read it."""

    __slots__ = ()


class Said(Text):
    """A text for others to read; ``-`` is standard input."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """See click. Nothing is read yet: completion asks too, and another word may be wrong."""
        text = super().convert(value, param, ctx)
        return _FromStdin(text) if text == STDIN else text


class FileName(click.ParamType[str]):
    """The path of a file that a command reads or writes, or ``-`` for its standard stream.

    Args:
        code: the code word of the error if the path is unusable.
        stream: the number of the stream that ``-`` stands for; None if the command needs a file.
    """

    name = "file"

    def __init__(self, code: str, stream: int | None) -> None:
        self._code = code
        self._stream = stream

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """See click. Refuse an empty path, which would be the working folder."""
        del param
        hint = f"{ctx.command_path} --help" if ctx else ""
        if not value:
            raise UsageError("the path is empty", code=self._code, hint=hint)
        if self._stream is None:
            if value == STDIN:
                raise UsageError(
                    "this option needs a file, not a stream (for a file named -, write ./-)",
                    code=self._code,
                    hint=hint,
                )
            return str(value)
        if value == STDIN:
            return STDIN
        from tclog.log.outfile import descriptor_of

        with contextlib.suppress(OSError, ValueError):
            if descriptor_of(value) == self._stream:
                return STDIN
        return str(value)


DURATION = Duration()
TEXT = Text()
SAID = Said()
FILE_IN = FileName("file-unreadable", 0)
FILE_OUT = FileName("file-unwritable", 1)
FILE_KEPT = FileName("file-unwritable", None)
F = TypeVar("F", bound=Callable[..., Any])

id_key = click.option(
    "--id", "id_key", metavar="KEY", help="Idempotency key: repeating it cannot apply twice."
)
at = click.option("--at", metavar="POINT", help="As it was then: 10m, ISO 8601, an id, a tag.")
limit = click.option(
    "--limit", "-n", "limit", type=click.IntRange(0), metavar="N", help="Rows to show; 0 for all."
)
message = click.option(
    "-m", "--message", type=SAID, metavar="T", help="The text, instead of the argument TEXT."
)
lease = click.option(
    "--lease", type=DURATION, metavar="D", help="How long the claim lasts (default 30m)."
)
fence = click.option(
    "--fence", type=int, metavar="N", help="Refuse if the claim's fencing token is not N."
)

attempts = click.option(
    "--attempts", is_flag=True, help="Also events that lost their race, and to whom."
)


def _read_s3(words: Sequence[str]) -> dict[str, str]:
    from tclog.store import KINDS

    names = KINDS["s3"].settings
    found: dict[str, str] = {}
    for word in words:
        name, equals, value = word.partition("=")
        if name not in names or not equals or not value:
            raise UsageError(
                f"{word!r} is not NAME=VALUE; NAME is one of {', '.join(names)}",
                hint="tclog init --help",
            )
        found[name] = value
    return found


def _be_strict(ctx: click.Context, _: click.Parameter, asked: bool) -> None:
    if asked:
        from tclog.cli.invocation import Invocation

        call = ctx.find_object(Invocation)
        assert call is not None  # noqa: S101 - the root sets it
        call.strict = True


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


def note_op(call: Invocation, pattern: str | None) -> None:
    """Note a pattern that no op of this release matches; a later one may have more."""
    from fnmatch import fnmatchcase

    from tclog.domain import body_schemas
    from tclog.log.nearby import meant, nearest

    ops = body_schemas()
    if pattern is not None and not any(fnmatchcase(op, pattern) for op in ops):
        call.note(f"no known op matches {pattern}{meant(nearest(pattern, ops))}")


class StoreArgument(NamedTuple):
    """A store as the command line names it: its argument, and how its bucket is reached."""

    word: str | None
    settings: dict[str, str]


def place(argument: str = "store", side: str = "") -> Callable[[F], F]:
    """Add an argument for a store and the options for its bucket; the command gets both.

    Args:
        argument: what the command calls it.
        side: where a command has two of them, FROM or TO: how its help calls this one.
    """
    begin, of = (f"--{side.lower()}-", f" of {side}") if side else ("--", "")

    def gather(ctx: click.Context, parameter: click.Parameter, value: Any) -> None:
        made = ctx.params.setdefault(argument, StoreArgument(None, {}))
        if isinstance(parameter, click.Argument):
            ctx.params[argument] = made._replace(word=value)
        elif value is not None:
            name = parameter.opts[0].removeprefix(begin)
            made.settings.update(_read_s3(value) if name == "s3" else {name: value})

    def decorate(command: F) -> F:
        for name, metavar, text in (
            ("s3", "NAME=VALUE", f"Another S3 setting{of}, such as sse=AES256; repeatable."),
            ("profile", "P", f"The AWS profile{of}, instead of the standard chain."),
            ("region", "R", f"The S3 region{of}."),
            ("endpoint", "URL", f"The S3 endpoint{of} (default: AWS)."),
        ):
            command = click.option(
                begin + name,
                metavar=metavar,
                help=text,
                multiple=name == "s3",
                expose_value=False,
                callback=gather,
            )(command)
        return click.argument(
            argument,
            metavar=side or "[STORE]",
            required=bool(side),
            expose_value=False,
            callback=gather,
        )(command)

    return decorate


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
        raise UsageError("give either TEXT or --message", code="value-missing")
    return text if message is None else message  # type: ignore[return-value]


def from_stdin(arguments: Mapping[str, Any]) -> dict[str, Any]:
    """Return the arguments of a command, with standard input in place of a text given as ``-``.

    Raises:
        BadValue: it is not UTF-8.
        UsageError: ``-`` is given for two texts, or standard input cannot be read.
    """
    asking = [name for name, value in arguments.items() if isinstance(value, _FromStdin)]
    if not asking:
        return dict(arguments)
    if len(asking) > 1:
        both = " and ".join(name.replace("_", "-") for name in asking)
        raise UsageError(f"- reads one text, but is given for two: {both}", code="stdin-twice")
    from tclog.cli.files import read_text

    return {**arguments, asking[0]: read_text(STDIN)}


def parse_json(text: str) -> Any:
    """Read JSON, without a byte order mark before it; refuse a value that is not kept exactly.

    Raises:
        BadValue: it is not JSON, an object has a key twice, or a number is not finite.
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
        return json.loads(
            text.removeprefix(BYTE_ORDER_MARK), object_pairs_hook=once_only, parse_constant=refuse
        )
    except ValueError as error:
        raise BadValue(f"the value is not JSON: {error}") from None
    except RecursionError:
        raise BadValue("the JSON value is nested too deeply") from None
