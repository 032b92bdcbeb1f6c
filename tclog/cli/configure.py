"""Writing what sets up a working folder: the project's file, and the agent name of this machine."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from tclog.cli.files import write_whole
from tclog.config import is_bare, read
from tclog.config.search import FOLDER, file_in
from tclog.errors import UsageError, to_run


def write_config(folder: str, settings: Mapping[str, Any]) -> tuple[str, bool]:
    """Write the project's file, whole or not at all; its other settings stay.

    Returns its path, and whether anything is new in it.

    Args:
        folder: where ``.tclog`` is or will be.
        settings: texts, and one table of texts, by name; those that are None stay as they are.

    Raises:
        UsageError: the file cannot be written.
    """
    target = file_in(folder)
    before = read(target)
    after = _merged(before, settings)
    if after == before:
        return target, False
    raw = _toml(after)
    if raw is None:
        raise UsageError(
            f"{target} would hold what has no form in TOML; write it by hand",
            code="config-unwritable",
            hint="tclog where",
        )
    try:
        own = Path(folder) / FOLDER
        own.mkdir(exist_ok=True)
        ignore = own / ".gitignore"
        if not ignore.exists():
            ignore.write_text("# tclog's own files are not for the repository.\n*\n")
        write_whole(target, raw)
    except OSError as error:
        raise UsageError(
            f"{target} cannot be written: {error.strerror}",
            code="config-unwritable",
            hint=to_run("ls -ld", folder),
        ) from None
    return target, True


def _merged(table: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    merged = dict(table)
    for name, value in changes.items():
        if isinstance(value, dict):
            merged[name] = _merged(merged.get(name, {}), value)
        elif value is not None:
            merged[name] = value
    return {name: value for name, value in merged.items() if value != {}}


def _toml(settings: Mapping[str, Any]) -> bytes | None:
    """Write values and one level of tables; None if they would not be read back the same."""
    import json
    import tomllib

    def rows(table: Mapping[str, Any]) -> Iterator[str]:
        for name, value in table.items():
            key = name if is_bare(name) else json.dumps(name)
            if isinstance(value, dict):
                yield from (f"\n[{key}]\n", *rows(value))
            else:
                # JSON's texts, numbers and arrays are TOML's too.
                text = json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
                yield f"{key} = {text}\n"

    plain = sorted(settings.items(), key=lambda row: isinstance(row[1], dict))
    try:
        text = "# Written by tclog init. Credentials never stand here.\n" + "".join(
            rows(dict(plain))
        )
        return text.encode() if tomllib.loads(text) == settings else None
    except (TypeError, ValueError):
        return None


def keep_agent(path: str, name: str) -> None:
    """Keep the agent name of this machine in a file; raises OSError."""
    Path(path).parent.mkdir(exist_ok=True)
    write_whole(Path(path), f"{name}\n".encode())
