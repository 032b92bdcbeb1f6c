"""Artifacts: files by name and version, their bytes by hash, checked when read."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from stat import S_ISDIR, S_ISREG

from blake3 import blake3

from tclog.chain.append import append
from tclog.chain.client import Client
from tclog.chain.drive import Protocol, Sleep, together
from tclog.chain.once import once
from tclog.chain.read import (
    list_chains,
    read_at,
    read_head,
    read_range,
    read_sound,
    read_standing,
    read_version,
)
from tclog.chain.results import Artifact
from tclog.chain.show import show_artifact
from tclog.chain.slots import LOOK_PAUSE_S, LOOKS
from tclog.clock import Hlc
from tclog.domain import artifacts
from tclog.errors import Damaged, NotFound, UsageError, quote, to_run
from tclog.event import BlobHash, blob_key, chain_id, validate_name
from tclog.log.methods import Method, Operations
from tclog.log.operation import Count, Positive, operation
from tclog.log.outfile import file_to_write, unwritable, written
from tclog.store.base import GetFile, PutFile, Stat, refuse_other

HASH_CHUNK_BYTES = 1 << 20

Progress = Callable[[int], None]


def size_of(file: Path) -> int:
    """Return the size of a file that can be read twice: once for its name, once to send it."""
    try:
        found = file.stat()
    except OSError as error:
        raise _unreadable(file, error) from None
    if S_ISDIR(found.st_mode):
        raise UsageError(
            f"{file} is a folder",
            code="file-unreadable",
            hint=to_run(f"tar -cf {quote(f'{_named(file)}.tar')}", file),
        )
    if not S_ISREG(found.st_mode):
        raise UsageError(
            f"{file} is not a regular file; pipe its content to standard input",
            code="file-unreadable",
            hint="tclog artifact put --help",
        )
    return found.st_size


def _unreadable(file: Path, error: OSError) -> UsageError:
    return UsageError(
        f"{file} cannot be read: {error.strerror}",
        code="file-unreadable",
        hint=to_run("ls -l", file),
    )


def _named(folder: Path) -> str:
    """Return a folder's path, by its real name if it was given as ``.`` or ``..``."""
    return str(folder) if folder.name not in ("", "..") else folder.resolve().name or "root"


def hash_file(path: Path) -> tuple[BlobHash, int]:
    """Return the BLAKE3 of a file and its size, in one pass with little memory."""
    hasher, size = blake3(), 0
    with path.open("rb") as file:
        while data := file.read(HASH_CHUNK_BYTES):
            hasher.update(data)
            size += len(data)
    return BlobHash(hasher.hexdigest()), size


@operation("artifact.put")
def put_artifact(
    client: Client,
    path: str | os.PathLike[str],
    *,
    name: str | None = None,
    step: str | None = None,
    progress: Progress | None = None,
    id: str | None = None,
) -> Protocol[Artifact]:
    """Put a file under a name; bytes that the store already has are not sent again.

    Raises:
        UsageError: the file cannot be read, or changed while it was.
    """
    path = Path(path)
    name = validate_name("artifact", path.name if name is None else name)
    if step is not None:
        validate_name("step", step)
    size_of(path)
    try:
        blob, size = hash_file(path)
        known = yield Stat(blob_key(blob))
        if known is not None:
            refuse_other(blob_key(blob), same=known.size == size)
        else:
            yield PutFile(blob_key(blob), path, blob, progress)
    except OSError as error:
        raise _unreadable(path, error) from None
    command = artifacts.PutArtifact(blob, size, step)
    done = yield from append(
        client,
        chain_id("artifact", name),
        lambda state, place: artifacts.decide(state, command, place),
        once=once(id, {"op": "artifact.put", "with": command._asdict()}),
    )
    assert done.version is not None  # noqa: S101 - a put is never unchanged
    return show_artifact(done.version)


def find_artifact(
    client: Client, name: str, *, version: int | None = None, at: Hlc | None = None
) -> Protocol[Artifact]:
    """Return what a name stands for: now, at a version, or at a time.

    Raises:
        NotFound: no such name or version.
    """
    chain = chain_id("artifact", validate_name("artifact", name))
    if at is not None:
        head = yield from read_at(client, chain, at)
    else:
        head = yield from read_head(client, chain)
    newest = head
    head = yield from read_standing(client, head)
    if head is None or newest is None:
        then = at is not None
        raise NotFound(
            f"there was no artifact {name} then" if then else f"there is no artifact {name}",
            code="artifact-missing",
            hint=to_run("tclog artifact history", name) if then else "tclog artifact list",
            name=name,
        )
    if version is not None:
        if 1 <= version <= newest.seq:
            head = yield from read_version(client, chain, version)
        if head.seq != version or head.void:
            raise NotFound(
                f"artifact {name} has versions 1 to {newest.base}, not {version}",
                code="version-missing",
                hint=to_run("tclog artifact history", name),
            )
    return show_artifact(head)


@operation("artifact.get", acts=False, excludes=[("at", "version")])
def fetch_artifact(
    client: Client,
    name: str,
    out: str | os.PathLike[str],
    *,
    version: Positive | None = None,
    at: Hlc | None = None,
    progress: Progress | None = None,
) -> Protocol[Artifact]:
    """Write an artifact's bytes to ``out``, which appears only after all were checked.

    If ``out`` is a folder, to the file of the artifact's name in it.

    Raises:
        NotFound: no such name or version.
        UsageError: ``out`` cannot be written.
    """
    found = yield from find_artifact(client, name, version=version, at=at)
    target = file_to_write(os.fspath(out), "artifact get", found.name, into=True)
    return (yield from get_artifact(found, Path(target), progress=progress))


def get_artifact(
    found: Artifact, out: Path, *, progress: Progress | None = None
) -> Protocol[Artifact]:
    """Write an artifact's bytes to ``out``, which appears only after all were checked.

    A device or a pipe gets them as they come.

    Raises:
        Damaged: the blob is missing or does not match its hash; ``out`` is unchanged.
    """
    blob = BlobHash(found.blake3)
    pieces = None
    for nth in range(LOOKS):
        if nth:
            yield Sleep(LOOK_PAUSE_S)
        pieces = yield GetFile(blob_key(blob))
        if pieces is not None:
            break
    if pieces is None:
        raise Damaged(
            f"the blob {blob[:12]} of artifact {found.name} is missing", hint="tclog fsck"
        )
    hasher = blake3()
    try:
        with written(out) as file:
            for piece in pieces:
                hasher.update(piece)
                file.write(piece)
                if progress is not None:
                    progress(len(piece))
            if hasher.hexdigest() != blob:
                raise Damaged(
                    f"the blob {blob[:12]} of artifact {found.name} does not hold what its name"
                    " says",
                    hint="tclog fsck",
                )
    except OSError as error:
        raise unwritable(out, error) from None
    return found._replace(path=str(out))


@operation("artifact.list", acts=False)
def list_artifacts(
    client: Client,
    *,
    step: str | None = None,
    at: Hlc | None = None,
    limit: Count | None = None,
) -> Protocol[list[Artifact]]:
    """Return the newest version of every artifact, in byte order of names.

    With ``step`` those that this step made.
    """
    chains = yield from list_chains(client, "artifact")
    heads = yield from read_sound(client, chains, at)
    standing = yield from together(*(read_standing(client, head) for head in heads))
    found = [show_artifact(head) for head in standing if head is not None]
    found = [row for row in found if step is None or row.step == step]
    return found[: limit or None]


@operation("artifact.history", acts=False)
def read_history(
    client: Client, name: str, *, limit: Count | None = None, at: Hlc | None = None
) -> Protocol[list[Artifact]]:
    """Return the versions of an artifact, newest first: all, or those that there were at a time.

    Raises:
        NotFound: no such name.
    """
    newest = yield from find_artifact(client, name, at=at)
    first = max(1, newest.version - (limit or newest.version) + 1)
    versions = yield from read_range(client, chain_id("artifact", name), first, newest.version)
    return [show_artifact(version) for version in reversed(versions) if not version.void]


class ArtifactOperations(Operations):
    """``log.artifacts``: files by name and version, their bytes by hash."""

    put = Method(put_artifact)
    get = Method(fetch_artifact)
    list = Method(list_artifacts)
    history = Method(read_history)
