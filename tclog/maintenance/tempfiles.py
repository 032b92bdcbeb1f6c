"""A temporary file for what is too large for memory and is checked before it is handed on."""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Iterable, Iterator
from typing import IO

from tclog.errors import TclogError, to_run


def write_temporary(pieces: Iterable[bytes]) -> IO[bytes]:
    """Write pieces into a temporary file, which is at its beginning then, and goes when closed.

    Raises:
        TclogError: it cannot be written; what the pieces raise comes as it is.
    """
    with _told():
        file = tempfile.NamedTemporaryFile(prefix="tclog-")  # noqa: SIM115 - for the caller to close
    with contextlib.ExitStack() as stack:
        stack.enter_context(file)
        for piece in pieces:
            with _told():
                file.write(piece)
        with _told():
            file.flush()
        file.seek(0)
        stack.pop_all()
    return file


@contextlib.contextmanager
def _told() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        folder = tempfile.tempdir or "/tmp"  # noqa: S108 - what is looked at where none is found
        raise TclogError(
            f"{folder}, where what is large is kept until it was checked, cannot be written:"
            f" {error.strerror}",
            code="file-unwritable",
            hint=to_run("df -h", folder),
        ) from None
