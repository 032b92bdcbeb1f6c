"""Names: the one validator for what users choose, and every object key of format 1.

Invariant: two different names never meet in one object key. A name is percent-encoded byte by
byte (only ASCII letters, digits, ``-``, ``.`` and ``_`` stand for themselves), and a form that
would be too long is cut and ends in ``~`` and a hash; ``~`` and ``@`` never come out of a name, so
neither a cut form nor ``inbox/@all`` can be reached by choosing a name.
"""

from __future__ import annotations

import re
from functools import lru_cache

from tclog.clock import Hlc, Stamp
from tclog.errors import BadName, Damaged
from tclog.event.canonical import digest
from tclog.event.ids import BlobHash, ChainId, EventId

NAME_BYTES_MAX = 200
ENCODED_MAX = 239
_CUT_AT = 200
_CUT_HASH = 32
_LABEL_MAX = 80
SEQ_MAX = 9_999_999_999
# The longest key of all, of which two parts are names: that which binds an idempotency key.
KEY_BYTES_MAX = len("once//.json") + 2 * ENCODED_MAX

# The mark of a project: it makes the project, and is never rewritten.
MARK = "tclog.json"
# The folders of a project's objects, one for each kind.
BLOBS = "blobs"
CHAINS = "chains"
EVENTS = "events"
ONCE = "once"
PACK_OBJECTS = "packs"
PENDING = "pending"
REDACTED = "redacted"  # of a later release; what it holds is kept as it is
ALL = ChainId("inbox/@all")
# Names the packs of the whole log.
PACKS = ChainId("pack/log")

_PLAIN = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._"
_ENCODED = [chr(byte) if byte in _PLAIN else f"%{byte:02X}" for byte in range(256)]

# Where a comma separates several names on a command line, a name cannot hold one.
_LISTED = ("agent", "step")


def validate_name(kind: str, name: str) -> str:
    """Return ``name`` if it may name a ``kind`` (key, step, agent, artifact, barrier, project).

    Raises:
        BadName: empty, over 200 bytes of UTF-8, not UTF-8, or with control characters; for agents
            and steps also a comma; for agents also a leading ``@``.
    """
    if not name:
        raise BadName(f"the {kind} name is empty")
    try:
        size = len(name.encode())
    except UnicodeEncodeError:
        raise BadName(f"the {kind} name {name!a} is not UTF-8") from None
    if size > NAME_BYTES_MAX:
        raise BadName(
            f"the {kind} name {name[:30]}... has {size} bytes; {NAME_BYTES_MAX} is the most"
        )
    # What is printable is no control character; most names are.
    for character in "" if name.isprintable() else name:
        code = ord(character)
        if code < 0x20 or 0x7F <= code < 0xA0 or code in (0x2028, 0x2029):
            raise BadName(f"the {kind} name {name!a} has the control character U+{code:04X}")
    if kind in _LISTED and "," in name:
        raise BadName(f"the {kind} name {name!r} has a comma, which separates {kind}s")
    if kind == "agent" and name == "@all":
        raise BadName("@all means everybody: it stands alone, and is not the name of an agent")
    if kind == "agent" and name.startswith("@"):
        raise BadName(f"the agent name {name!r} begins with @, which is kept for @all")
    return name


def why_odd(name: str) -> str | None:
    """Return why a name looks like another one; None if it does not.

    Such a name may exist already: it stays readable and writable, and is shown in quotes.
    """
    if name != name.strip():
        return "begins or ends with white space"
    if name.isascii():
        return None
    from tclog.event.ignorable import IGNORABLE, JOINERS

    hidden = re.search(f"[{IGNORABLE}]", name) or re.search(f"^[{JOINERS}]|[{JOINERS}]$", name)
    return None if hidden is None else f"has the invisible character U+{ord(hidden[0]):04X}"


def validate_new(kind: str, name: str) -> str:
    """Return ``name`` if it may name a new thing.

    Raises:
        BadName: see ``validate_name``; or it looks like another name.
    """
    why = why_odd(validate_name(kind, name))
    if why is not None:
        raise BadName(f"the {kind} name {name!a} {why}")
    return name


def validate_new_chain(chain: ChainId) -> None:
    """Refuse to begin a chain under a name that looks like another; acknowledgements are by agent.

    Raises:
        BadName: see ``validate_new``.
    """
    kind, _, name = chain.partition("/")
    if chain != ALL and kind != "read":
        validate_new({"memory": "key", "inbox": "agent"}.get(kind, kind), name)


def split_names(kind: str, word: str) -> list[str]:
    """Return the valid names that a word lists, with commas between them, each once.

    A word without a comma is one name, exactly as it is.

    Raises:
        BadName: one is invalid, or begins or ends with a space in a list. Such a name is possible,
            but after a comma the space is more likely a slip, so neither reading is chosen.
    """
    names = list(dict.fromkeys(word.split(",")))
    for name in names:
        validate_name(kind, name)
        if len(names) > 1 and name != name.strip():
            raise BadName(
                f"the {kind} name {name!r} begins or ends with a space; a list has no spaces"
                " around its commas"
            )
    return names


_NAMED_FOR = {"inbox": "agent", "read": "agent", "agent": "agent", "step": "step"}
_KIND = "[a-z][a-z0-9_-]{0,31}"


def validate_name_of(kind: str, name: str) -> str:
    """Return ``name`` if a chain of this kind may have it.

    Raises:
        BadName: see ``validate_name``.
    """
    return validate_name(_NAMED_FOR.get(kind, "key"), name)


def validate_chain(chain: str) -> bool:
    """Whether a text may be a chain's id: a kind, ``/`` and a name that such a chain may have."""
    kind, slash, name = chain.partition("/")
    if not slash or not re.fullmatch(_KIND, kind):
        return False
    if chain == ALL:
        return True
    try:
        validate_name_of(kind, name)
    except BadName:
        return False
    return kind != "pack" or chain == PACKS


@lru_cache(maxsize=1024)
def encode_name(name: str) -> str:
    """Encode a valid name as one path segment of at most 239 ASCII characters."""
    raw = name.encode()
    encoded = "".join([_ENCODED[byte] for byte in raw])
    if not encoded.strip("."):
        encoded = encoded.replace(".", "%2E")  # . and .. are not names of their own on a disk
    if len(encoded) > ENCODED_MAX:
        encoded = f"{encoded[:_CUT_AT]}~{digest(raw)[:_CUT_HASH]}"
    return encoded


def decode_name(segment: str) -> str | None:
    """Undo ``encode_name``; None for a cut form, whose record holds the name in full.

    Raises:
        Damaged: ``encode_name`` does not write this: another segment stands for the name, or none.
    """
    if "~" in segment:
        return None
    head, *rest = segment.split("%")
    try:
        raw = head.encode("ascii") + b"".join(
            bytes((int(part[:2], 16),)) + part[2:].encode("ascii") for part in rest
        )
        name = raw.decode()
    except ValueError:
        name = ""
    if not name or encode_name(name) != segment:
        raise Damaged(f"{segment!r} is not an encoded name", hint="tclog fsck")
    return name


def chain_id(kind: str, name: str) -> ChainId:
    """Name a chain; the name must have been validated."""
    return ChainId(f"{kind}/{name}")


@lru_cache(maxsize=1024)
def chain_kind(chain: ChainId) -> str:
    """Return the kind of a chain: memory, step, inbox, read, barrier, artifact, ..."""
    return chain.partition("/")[0]


def chain_name(chain: ChainId) -> str:
    """Return the name of a chain in full."""
    return chain.partition("/")[2]


@lru_cache(maxsize=1024)
def _encode_chain(chain: ChainId) -> tuple[str, str]:
    kind, _, name = chain.partition("/")
    return kind, "@all" if chain == ALL else encode_name(name)


def folder_of(key: str) -> str:
    """Return the folder that a key stands in, without a final slash."""
    return key.rpartition("/")[0]


def segment_of(key: str) -> str:
    """Return the last segment of a key or a folder."""
    return key.rpartition("/")[2]


def kind_of(key: str) -> str:
    """Return the folder of the kind of object that a key is of: ``EVENTS``, ``CHAINS``, ..."""
    return key.partition("/")[0]


def kind_folder(kind: str) -> str:
    """Return the folder of all chains of a kind."""
    return f"{CHAINS}/{kind}"


def chain_folder(chain: ChainId) -> str:
    """Return the folder of a chain's slots, without a final slash."""
    kind, segment = _encode_chain(chain)
    return f"{CHAINS}/{kind}/{segment}"


def chain_parts(folder: str) -> tuple[str, str]:
    """Return the kind and the encoded name of the chain whose folder this is.

    Raises:
        Damaged: it is not the folder of a chain.
    """
    top, *parts = folder.split("/")
    if top != CHAINS or len(parts) != 2:
        raise Damaged(f"{folder} is not the folder of a chain", hint="tclog fsck")
    return parts[0], parts[1]


def chain_of_folder(folder: str) -> ChainId | None:
    """Return the chain whose folder this is; None where its name was cut short.

    Raises:
        Damaged: it is not the folder of a chain.
    """
    kind, segment = chain_parts(folder)
    if (kind, segment) == ("inbox", "@all"):
        return ALL
    name = decode_name(segment)
    return None if name is None else chain_id(kind, name)


def chain_of_slot(key: str) -> ChainId | None:
    """Return the chain that a slot's key belongs to; see ``chain_of_folder``."""
    return chain_of_folder(folder_of(key))


def is_chain_folder(folder: str) -> bool:
    """Whether a folder may be that of a chain."""
    try:
        chain_of_folder(folder)
    except Damaged:
        return False
    return re.fullmatch(_KIND, chain_parts(folder)[0]) is not None


@lru_cache(maxsize=4096)
def slot_key(chain: ChainId, seq: int) -> str:
    """Return the object key of version ``seq`` (1, 2, 3, ...); newer ones sort first.

    Raises:
        Damaged: no chain has so many versions, but by a forgery at the end of one.
    """
    if not 1 <= seq < SEQ_MAX:
        raise Damaged(f"{chain} can have no version {seq}", hint="tclog fsck")
    return slot_in(chain_folder(chain), seq)


def slot_in(folder: str, seq: int) -> str:
    """Return the object key of a version in the folder of its chain."""
    return f"{folder}/{SEQ_MAX - seq:010d}.json"


def slot_seq(key: str) -> int | None:
    """Return the version number that a slot's key stands for; None if it is no slot."""
    stem, dot, suffix = segment_of(key).partition(".")
    if not (dot and suffix == "json" and len(stem) == 10 and stem.isascii() and stem.isdigit()):
        return None
    seq = SEQ_MAX - int(stem)
    return seq if 1 <= seq < SEQ_MAX else None


def event_key(at: Hlc, chain: ChainId, event: EventId) -> str:
    """Return the object key of an event: hour folder, time, a readable label, the id."""
    kind, segment = _encode_chain(chain)
    label = f"{kind}.{segment}"[:_LABEL_MAX]
    clock = at[11:26].replace(":", "")
    return f"{hour_folder(at[:13])}/{clock}-{at[28:]}-{label}-{event}.json"


def hour_folder(hour: str) -> str:
    """Return the folder of the events of an hour, such as ``2026-12-01T00``."""
    return f"{EVENTS}/{hour}"


def hour_of(key: str) -> str:
    """Return the hour in whose folder the key of an event stands."""
    return key.split("/")[1]


def events_begin(at: str) -> str:
    """Return a text that sorts right before the keys of events made at a time or later."""
    return f"{hour_folder(at[:13])}/{at[11:26].replace(':', '')}"


def event_of(key: str) -> EventId | None:
    """Return the id at the end of an event's key; None if there is none.

    It does not look at the rest of the key, as ``event_named`` does: a listing may be long.
    """
    return EventId(key[-69:-5]) if key.endswith(".json") and key[-70:-69] == "-" else None


# Compiled when first needed: no command that acts reads the key of an event.
_EVENT_KEY = (
    r"events/(\d{4}-\d\d-\d\dT(\d\d))/\2(\d\d)(\d\d\.\d{6})-([0-9a-f]{4})-(.+)-([0-9a-f]{64})\.json"
)


def event_key_parts(key: str) -> tuple[Hlc, ChainId | None, EventId] | None:
    """Read the stamp, the first chain and the id out of an event's key; None if it is no such key.

    The chain is None where its label was cut short: then only the event itself names it.
    """
    found = re.fullmatch(_EVENT_KEY, key, re.ASCII)
    if found is None:
        return None
    hour, _, minute, second, counter, label, event = found.groups()
    at = Hlc(f"{hour}:{minute}:{second}Z-{counter}")
    kind, _, segment = label.partition(".")
    if label == "inbox.@all":
        return at, ALL, EventId(event)
    name = decode_name(segment) if len(label) < _LABEL_MAX else None
    return at, None if name is None else chain_id(kind, name), EventId(event)


def event_named(key: str) -> EventId | None:
    """Return the event id in an object key; None if the key is not an event's."""
    try:
        parts = event_key_parts(key)
    except Damaged:
        return None
    return None if parts is None else parts[2]


def blob_key(blob: BlobHash) -> str:
    """Return the object key of a blob."""
    return f"{BLOBS}/{blob[:2]}/{blob}"


_HASH = "[0-9a-f]{64}"


def blob_of(key: str) -> BlobHash | None:
    """Return the hash that a blob's key stands for; None if it is no such key."""
    name = BlobHash(segment_of(key))
    return name if re.fullmatch(_HASH, name) and key == blob_key(name) else None


def pack_key(pack: str) -> str:
    """Return the object key of a pack, by its hash."""
    return f"{PACK_OBJECTS}/{pack[:2]}/{pack}.jsonl.zst"


def pack_of(key: str) -> str | None:
    """Return the hash that a pack's key stands for; None if it is no such key."""
    name = segment_of(key).partition(".")[0]
    return name if re.fullmatch(_HASH, name) and key == pack_key(name) else None


def is_redacted_key(key: str) -> bool:
    """Whether a key is one of those that a later release writes."""
    return bool(re.fullmatch(rf"{REDACTED}/{_HASH}\.json", key))


def pending_folder(chain: ChainId) -> str:
    """Return the folder of what is announced to a chain, without a final slash."""
    kind, segment = _encode_chain(chain)
    return f"{PENDING}/{kind}/{segment}"


def pending_key(chain: ChainId, at: Hlc, after: int, event: EventId) -> str:
    """Return the object key of an announcement; the oldest sorts first."""
    return f"{pending_folder(chain)}/{at.replace(':', '')}-{after}-{event}.json"


def pending_begin(chain: ChainId, at: Stamp) -> str:
    """Return a text that sorts right before the keys of announcements made at a time or later."""
    return f"{pending_folder(chain)}/{at.replace(':', '').rstrip('Z')}"


_PENDING_NAME = (
    r"(\d{4}-\d\d-\d\dT\d\d)(\d\d)(\d\d\.\d{6}Z-[0-9a-f]{4})-(\d{1,10})-([0-9a-f]{64})\.json"
)


def pending_key_parts(key: str) -> tuple[Hlc, int, EventId] | None:
    """Read the stamp, the version and the id out of an announcement's key; None if it is none."""
    found = re.fullmatch(_PENDING_NAME, segment_of(key), re.ASCII)
    if found is None:
        return None
    hour, minute, second, after, event = found.groups()
    return Hlc(f"{hour}:{minute}:{second}"), int(after), EventId(event)


def once_key(agent: str, key: str, chain: ChainId) -> str:
    """Return the object key that an idempotency key of an agent is bound under, for a chain."""
    bound = f"{key}#{digest(chain.encode())[:16]}"
    return f"{ONCE}/{encode_name(agent)}/{encode_name(bound)}.json"


def is_once_key(key: str) -> bool:
    """Whether a key may bind an idempotency key."""
    return kind_of(key) == ONCE and key.count("/") == 2 and key.endswith(".json")
