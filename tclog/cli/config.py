"""Configuration: flags, then ``TCLOG_*``, then the project's file, then the user's, then defaults.

The project's file is ``.tclog/config.toml``, found upwards from the working folder; a git worktree
shares that of its main checkout. Every setting remembers where it came from, for ``tclog where``.
Credentials are never read from or written to these files.
"""

from __future__ import annotations

import os
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from tclog.errors import UsageError

FOLDER = ".tclog"
FILE = "config.toml"
TRUE_WORDS = ("1", "true", "yes", "on")


class Setting(NamedTuple):
    """A value and where it was found; None and "default" where nobody set it."""

    value: str | None
    source: str


class Flags(NamedTuple):
    """What the command line itself says; it goes before everything else."""

    agent: str | None = None
    store: str | None = None
    project: str | None = None
    endpoint: str | None = None
    region: str | None = None
    profile: str | None = None


class Config(NamedTuple):
    """Everything that a command needs to find its log. ``file`` is the project's file, if any."""

    file: Path | None
    user_file: Path
    cache: Path
    store: Setting
    project: Setting
    agent: Setting
    session: Setting
    endpoint: Setting
    region: Setting
    profile: Setting
    client: Setting
    fsync: Setting


def load(flags: Flags, environ: Mapping[str, str], start: Path) -> Config:
    """Find every setting.

    Raises:
        UsageError: a file is not TOML, or a setting is not text.
    """
    file = find_file(start)
    project_file = {} if file is None else _read(file)
    user_path = _user_folder(environ) / FILE
    user_file = _read(user_path) if user_path.exists() else {}

    def find(name: str, default: str | None = None, variable: str | None = None) -> Setting:
        flag = getattr(flags, name.rpartition(".")[2], None)
        if flag is not None:
            return Setting(flag, "flag")
        variable = variable or f"TCLOG_{name.rpartition('.')[2].upper()}"
        if environ.get(variable):
            return Setting(environ[variable], variable)
        for table, source in ((project_file, file), (user_file, user_path)):
            value = _dig(table, name, source)
            if value is not None:
                return Setting(value, str(source))
        return Setting(default, "default")

    store = find("store")
    if store.value is not None and "://" not in store.value:
        # A relative folder is relative to where it was written down.
        base = file.parent.parent if file is not None and store.source == str(file) else start
        store = store._replace(value=str(base / Path(store.value).expanduser()))
    return Config(
        file=file,
        user_file=user_path,
        cache=_cache_folder(environ),
        store=store,
        project=find("project"),
        agent=find("agent"),
        session=_session(environ),
        endpoint=find("s3.endpoint"),
        region=find("s3.region"),
        profile=find("s3.profile"),
        client=find("s3.client", "obstore", "TCLOG_S3_CLIENT"),
        fsync=find("file.fsync", "true", "TCLOG_FSYNC"),
    )


def find_file(start: Path) -> Path | None:
    """Find the project's file upwards from a folder, or in a git worktree's main checkout."""
    for folder in (start, *start.parents):
        candidate = folder / FOLDER / FILE
        if candidate.is_file():
            return candidate
        main = _main_checkout(folder / ".git")
        if main is not None:
            for shared in (main, *main.parents):
                if (shared / FOLDER / FILE).is_file():
                    return shared / FOLDER / FILE
    return None


def _main_checkout(git: Path) -> Path | None:
    """Return the main checkout of the worktree whose ``.git`` file this is."""
    if not git.is_file():
        return None
    try:
        word, _, target = git.read_text().strip().partition(": ")
    except (OSError, UnicodeDecodeError):
        return None
    folder = (git.parent / target).resolve()
    if word != "gitdir" or folder.parent.name != "worktrees":
        return None
    return folder.parent.parent.parent


def _read(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text())
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise UsageError(
            f"{path} is not valid TOML: {error}", code="bad-config", hint=f"cat {path}"
        ) from None
    except OSError as error:
        raise UsageError(
            f"{path} cannot be read: {error.strerror}", code="bad-config", hint=f"ls -l {path}"
        ) from None


def _dig(table: Mapping[str, Any], name: str, source: Path | None) -> str | None:
    value: Any = table
    for part in name.split("."):
        value = value.get(part) if isinstance(value, dict) else None
    if value is None or isinstance(value, str):
        return value
    if isinstance(value, bool):
        return str(value).lower()
    raise UsageError(f"{name} in {source} is not text", code="bad-config", hint=f"cat {source}")


def _session(environ: Mapping[str, str]) -> Setting:
    """The harness's own session id, so that the log can be joined with its transcripts."""
    for variable in ("TCLOG_SESSION", "CLAUDE_SESSION_ID", "CODEX_SESSION_ID"):
        if environ.get(variable):
            return Setting(environ[variable], variable)
    # The shell that runs the commands is what a person would call the session.
    return Setting(f"ppid-{os.getppid()}", "default")


def _user_folder(environ: Mapping[str, str]) -> Path:
    base = environ.get("XDG_CONFIG_HOME") or str(Path.home() / ".config")
    return Path(base) / "tclog"


def _cache_folder(environ: Mapping[str, str]) -> Path:
    if environ.get("TCLOG_CACHE"):
        return Path(environ["TCLOG_CACHE"])
    base = environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
    return Path(base) / "tclog"


def write(folder: Path, settings: Mapping[str, str | None], s3: Mapping[str, str | None]) -> Path:
    """Write the project's file, whole or not at all; settings that are None are left out.

    Raises:
        UsageError: the folder cannot be written.
    """
    lines = ["# Written by tclog init. Credentials never stand here.\n"]
    lines += [f"{name} = {_quoted(value)}\n" for name, value in settings.items() if value]
    if any(s3.values()):
        lines.append("\n[s3]\n")
        lines += [f"{name} = {_quoted(value)}\n" for name, value in s3.items() if value]
    target = folder / FOLDER / FILE
    try:
        target.parent.mkdir(exist_ok=True)
        ignore = target.parent / ".gitignore"
        if not ignore.exists():
            ignore.write_text("# tclog's own files are not for the repository.\n*\n")
        temporary = target.with_suffix(f".{os.getpid()}.tmp")
        temporary.write_text("".join(lines))
        temporary.replace(target)
    except OSError as error:
        raise UsageError(
            f"{target} cannot be written: {error.strerror}",
            code="config-unwritable",
            hint=f"ls -ld {folder}",
        ) from None
    return target


def _quoted(text: str) -> str:
    """Write a TOML basic string; JSON's escapes are TOML's too."""
    import json

    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")
