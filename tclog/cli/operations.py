"""Operations as lines of JSON: what ``tclog batch`` and ``tclog txn`` understand.

A line is an object with ``op`` and the arguments of that operation under the names that JSON
objects use. ``read_lines`` splits a stream without reading ahead of it, ``read_operation`` checks
a line against the table of ``tclog.log.operations``, and ``Asked`` carries it out. A line that
cannot be understood is a ``UsageError`` that names the line and the field.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import count
from typing import IO, TYPE_CHECKING, Any, NamedTuple

from tclog.chain.client import Client
from tclog.chain.drive import Protocol
from tclog.cli.files import unreadable
from tclog.cli.options import parse_json
from tclog.cli.output import STDIN
from tclog.errors import BadValue, UsageError
from tclog.log.operation import Misfit, declared, field_of
from tclog.log.operations import POINT, TEXT, fields_of, operations, read_argument, shown

if TYPE_CHECKING:
    from tclog.log.transactions import Transaction

LINE_BYTES_MAX = 64 << 20
# What is done for the claim that ``tclog exec`` holds, unless it names another token.
FENCED = ("step.renew", "step.note", "step.release", "step.complete")


class Asked(NamedTuple):
    """One line that was understood; ``arguments`` have the names of the keywords."""

    line: int
    op: str
    arguments: Mapping[str, Any]
    many: Sequence[str] = ()

    @property
    def acts(self) -> bool:
        """Whether it needs an agent."""
        return declared(operations()[self.op]).acts

    def fenced(self, fence_of: Callable[[str], int | None]) -> Asked:
        """Return it with the token of the claim that it is done for."""
        if self.op not in FENCED or "fence" in self.arguments:
            return self
        fence = fence_of(self.arguments["step"])
        return self._replace(arguments={**self.arguments, "fence": fence})

    def protocol(self, client: Client, point: Callable[[str], Any]) -> Protocol[Any]:
        """Make the protocol; ``point`` reads a point in time."""
        arguments = dict(self.arguments)
        self._called(lambda: declared(operations()[self.op]).check(arguments))
        if "at" in arguments:
            arguments["at"] = point(arguments["at"])
        made: Protocol[Any] = self._called(operations()[self.op], client, *self.many, **arguments)
        return made

    def collect(self, transaction: Transaction) -> None:
        """Add it to a transaction."""
        self._called(getattr(transaction, self.op.replace(".", "_")), **self.arguments)

    def _called(self, call: Callable[..., Any], *args: Any, **arguments: Any) -> Any:
        """Call it; options that do not go together are named as in JSON."""
        try:
            return call(*args, **arguments)
        except UsageError as error:
            if isinstance(error, Misfit):
                error.rename(lambda keyword: field_of(self.op, keyword))
            elif "field" in error.details:
                error.details["field"] = field_of(self.op, error.details["field"])
            raise


def read_lines(
    stream: IO[bytes], file: str = STDIN, *, bytes_max: int = LINE_BYTES_MAX
) -> Iterator[tuple[int, bytes | None]]:
    """Yield each line with its number as soon as it arrives; None for a line that is too long.

    Empty lines are left out. A line is yielded before the next one is read.

    Raises:
        UsageError: the stream, which is that of ``file``, cannot be read.
    """
    try:
        for number in count(1):
            raw = stream.readline(bytes_max + 1)
            if not raw:
                return
            if len(raw) > bytes_max:
                while raw and not raw.endswith(b"\n"):
                    raw = stream.readline(bytes_max)
                yield number, None
            elif raw.strip():
                yield number, raw
    except OSError as error:
        raise unreadable(file, error) from None


def read_operation(number: int, raw: bytes | None, *, together: bool = False) -> Asked:
    """Understand one line, which stands alone or in a transaction.

    Raises:
        UsageError: it is no JSON object, its op or one of its fields is unknown, missing or wrong.
    """
    try:
        return _understood(number, _record(raw), together)
    except UsageError as error:
        error.message = f"line {number}: {error.message}"
        error.details["line"] = number
        raise


def _record(raw: bytes | None) -> Mapping[str, Any]:
    if raw is None:
        raise UsageError(f"it has over {LINE_BYTES_MAX >> 20} MiB", code="line-unreadable")
    try:
        text = raw.decode()
    except UnicodeDecodeError as error:
        raise UsageError(f"it is not UTF-8 at byte {error.start}", code="line-unreadable") from None
    try:
        record = parse_json(text)
    except BadValue as error:
        raise UsageError(error.message, code="line-unreadable") from None
    if type(record) is not dict:
        raise UsageError("it is JSON, but no object", code="line-unreadable")
    return record


def _understood(number: int, record: Mapping[str, Any], together: bool) -> Asked:
    if "op" not in record:
        raise UsageError("it has no op", code="field-missing", field="op")
    op = record["op"]
    known = [name for name, made in operations().items() if not together or declared(made).together]
    if type(op) is not str or op not in known:
        raise UsageError(
            f"there is no op {shown(op)}; there are {', '.join(known)}",
            code="op-unknown",
            field="op",
        )
    fields = fields_of(operations()[op], together=together)
    arguments: dict[str, Any] = {}
    many: Sequence[str] = ()
    for name, value in record.items():
        if name == "op":
            continue
        field = fields.get(name)
        if field is None:
            raise UsageError(
                f"{op} has no field {shown(name)}; it has {', '.join(fields) or 'no fields'}",
                code="field-unknown",
                field=name,
            )
        # A point in time is read when all before it is done: it may name what that wrote.
        kind = TEXT._replace(words=POINT.words) if field.kind is POINT else field.kind
        read = read_argument(op, name, kind, value)
        if field.many:
            many = read
        else:
            arguments[field.keyword] = read
    for name, field in fields.items():
        if field.needed and name not in record:
            raise UsageError(f"{op} needs the field {name}", code="field-missing", field=name)
    return Asked(number, op, arguments, many)
