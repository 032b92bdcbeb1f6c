"""What ``fsck`` finds: damage, told at once, and what has yet to be compared."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

from tclog.chain.drive import Protocol
from tclog.clock import Stamp
from tclog.errors import FormatNewer, StoreError, TclogError
from tclog.event import Event
from tclog.event.canonical import decode_json
from tclog.maintenance.fsck.seen import Seen, Writer
from tclog.store.base import Entry, Found
from tclog.sync.audit import blobs_in, op_elsewhere
from tclog.sync.objects import RECORD_BYTES_MAX, Progress, read_each


class Damage(NamedTuple):
    """One thing that is wrong: which object, as far as known of what and by whom, and why.

    What is ``harmless`` damages no object, and is only told.
    """

    code: str
    message: str
    where: Writer
    harmless: bool = False

    def as_json(self) -> dict[str, Any]:
        """Return the JSON object."""
        return {
            "type": "finding" if self.harmless else "damage",
            "object": self.where.key,
            "code": self.code,
            "message": self.message,
            "chain": self.where.chain,
            "version": self.where.version,
            "agent": self.where.agent,
        }


def stray(key: str) -> Damage:
    """Tell of an object whose name is none of tclog's; readers pass over it."""
    said = f"{key} is not a name that tclog uses"
    return Damage("stray-object", said, Writer(key), harmless=True)


class Findings:
    """The damage and the counts of one check."""

    def __init__(self, seen: Seen, report: Callable[[Damage], None], progress: Progress) -> None:
        self.seen = seen
        self.progress = progress
        self.unknown = self.damaged = 0
        # A slot that was copied here, if one was met, and the oldest stamp of a slot.
        self.copied = ""
        self.oldest: Stamp | None = None
        # How many stamps that versions tell were compared with the store's.
        self.compared = 0
        self._report = report

    def damage(self, code: str, message: str, where: Writer) -> None:
        """Tell of a damage."""
        self.damaged += 1
        self._report(Damage(code, message, where))

    def note(self, code: str, message: str, where: Writer) -> None:
        """Note something that is not damage."""
        self._report(Damage(code, message, where, harmless=True))

    @contextmanager
    def reading(self, code: str, where: Writer, cannot: str = "") -> Iterator[None]:
        """Tell of whatever is wrong with a record: no bytes end the check.

        ``cannot`` says what failed; by default that the object cannot be read.
        """
        try:
            yield
        except FormatNewer:
            self.unknown += 1
        except TclogError as error:
            self.damage(code, error.message, where)
        except Exception as error:  # noqa: BLE001 - whatever bytes there are, the check goes on
            self.damage(code, f"{cannot or f'{where.key} cannot be read'}: {error!r}", where)

    def stray(self, key: str) -> None:
        """Tell of an object whose name is none of tclog's; readers pass over it."""
        self._report(stray(key))

    def named(self, page: Iterable[Entry], is_ours: Callable[[Entry], object]) -> Iterator[Entry]:
        """Yield the entries whose names are ours, and tell of the others."""
        for entry in page:
            if is_ours(entry):
                yield entry
            else:
                self.stray(entry.key)

    def name_blobs(self, event: Event, where: Writer) -> None:
        """Note the blobs that an event names, as far as its op is known."""
        if op_elsewhere(event.op):
            for blob, size in blobs_in(event.body):
                self.seen.name_blob(blob, size, where)

    def read(
        self,
        entries: Sequence[Entry],
        code: str,
        gone: Callable[[Entry], None] | None = None,
    ) -> Protocol[list[tuple[Entry, Found | None]]]:
        """Read a batch of records; None stands for one whose damage has been told.

        One that is not there any more is no damage yet where ``gone`` is given; it is told of it.
        """
        whole = [entry for entry in entries if entry.size <= RECORD_BYTES_MAX]
        replies = yield from read_each([entry.key for entry in whole])
        answers = dict(zip((entry.key for entry in whole), replies, strict=True))
        found: list[tuple[Entry, Found | None]] = []
        for entry in entries:
            reply = answers.get(entry.key)
            if reply is None and gone is not None and entry.key in answers:
                gone(entry)
            elif not isinstance(reply, Found):
                self.unread(entry, reply, code)
                reply = None
            found.append((entry, reply))
        return found

    def unread(self, entry: Entry, reply: StoreError | None, code: str) -> None:
        """Tell of an object that was listed and cannot be read."""
        if entry.size > RECORD_BYTES_MAX:
            why = f"has {entry.size} bytes, more than any record"
        elif reply is None:
            why = "was there when it was listed and is not any more"
        else:
            why = f"cannot be read: {reply.message}"
        self.damage(code, f"{entry.key} {why}", Writer(entry.key))


def claimed(raw: bytes, field: str) -> str | None:
    """Return who a record says wrote it, if it is still that readable."""
    try:
        record = decode_json(raw)
    except ValueError:
        return None
    said = record.get(field) if isinstance(record, dict) else None
    return said if isinstance(said, str) else None
