"""Records of format 1: events, versions, their canonical bytes, ids and names. Pure."""

from tclog.event.canonical import decode, digest, encode
from tclog.event.ids import BlobHash, ChainId, EventId, VersionId
from tclog.event.names import (
    ALL,
    blob_key,
    chain_folder,
    chain_id,
    chain_kind,
    chain_name,
    decode_name,
    encode_name,
    event_key,
    once_key,
    slot_key,
    slot_seq,
    validate_name,
)
from tclog.event.records import (
    FORMAT,
    Event,
    Version,
    decode_event,
    decode_version,
    seal_event,
    seal_version,
)

__all__ = [
    "ALL",
    "FORMAT",
    "BlobHash",
    "ChainId",
    "Event",
    "EventId",
    "Version",
    "VersionId",
    "blob_key",
    "chain_folder",
    "chain_id",
    "chain_kind",
    "chain_name",
    "decode",
    "decode_event",
    "decode_name",
    "decode_version",
    "digest",
    "encode",
    "encode_name",
    "event_key",
    "once_key",
    "seal_event",
    "seal_version",
    "slot_key",
    "slot_seq",
    "validate_name",
]
