"""Configuration: flags, then ``TCLOG_*``, then the project's file, then the user's, then defaults.

The project's file is ``.tclog/config.toml``, found upwards from the working folder; a git worktree
shares that of its main checkout. Every setting remembers where it came from, for ``tclog where``.
A command that tclog starts gets all of them (``handed_on``), and does not search for itself.
Credentials are never read from or written to these files.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any, NamedTuple

from tclog.config import identity, search
from tclog.config.identity import find_session
from tclog.config.search import FILE, Place, folder_of
from tclog.errors import ConfigNotYours, NotFound, UsageError, to_run
from tclog.store import KINDS, Location, check_folder, scheme_of

PROJECT_DEFAULT = "default"
TRUE_WORDS = ("1", "true", "yes", "on")
FALSE_WORDS = ("0", "false", "no", "off")
# Where nobody has a home: nothing is ever found there, and nothing can be written.
NO_HOME = os.devnull
# The variable that names the project's file, instead of a search.
NAMED = "TCLOG_CONFIG"
# The variable that lists which variables tclog has set for a command that it started.
HANDED_ON = "TCLOG_HANDED_ON"


class Setting(NamedTuple):
    """A value and where it was found; None and "default" where nobody set it.

    ``variable`` is the one that sets it.
    """

    value: str | None
    source: str
    variable: str | None = None


class Flags(NamedTuple):
    """What the command line itself says; it goes before everything else."""

    agent: str | None = None
    store: str | None = None
    project: str | None = None
    endpoint: str | None = None
    region: str | None = None
    profile: str | None = None
    client: str | None = None
    addressing: str | None = None
    ca_bundle: str | None = None
    checksum: str | None = None
    sse: str | None = None
    sse_kms_key: str | None = None
    request_payer: str | None = None


class Config(NamedTuple):
    """Everything that is needed to find a log, looked for from the folder ``start`` upwards.

    ``file`` is the project's file, if any.
    """

    start: str
    file: str | None
    file_source: str
    user_file: str
    cache: str
    store: Setting
    project: Setting
    agent: Setting
    session: Setting
    # The settings of all kinds of store, by name.
    settings: dict[str, Setting]


class _Sources(NamedTuple):
    """Where settings are looked for, the nearest first."""

    flags: Flags
    environ: Mapping[str, str]
    # Each with the file that it was read from.
    tables: list[tuple[Mapping[str, Any], str]]
    foreign: ConfigNotYours | None

    def find(self, name: str, default: str | None = None, variable: str | None = None) -> Setting:
        word = name.rpartition(".")[2]
        flag = getattr(self.flags, word, None)
        if flag == "":
            raise UsageError(f"the {word} is empty", hint="tclog where")
        variable = variable or f"TCLOG_{word.upper()}"
        if flag is not None:
            return Setting(flag, "flag", variable)
        if self.environ.get(variable):
            return Setting(self.environ[variable], variable, variable)
        for table, source in self.tables:
            value = _dig(table, name, source)
            if value:
                if self.foreign is not None and source == self.foreign.details["file"]:
                    search.check_foreign(name, value, self.foreign)
                return Setting(value, source, variable)
        return Setting(default, "default", variable)


def load(flags: Flags, environ: Mapping[str, str], start: str, *, begin: bool = False) -> Config:
    """Find every setting; ``begin`` is true for a command that sets up the folder ``start``.

    Raises:
        UsageError: a file is not TOML, or a setting is not text.
        ConfigNotYours: a setting is another user's, and this user does not trust that file.
    """
    named = environ.get(NAMED)
    place: Place | None
    if named:
        place = Place(os.path.abspath(os.path.join(start, named)))
    else:
        place = search.find(start, begin=begin)
    try:
        return _load(flags, environ, start, place)
    except ConfigNotYours:
        if not begin or place is None or folder_of(place.file) == start:
            raise
        return _load(flags, environ, start, None)


def _load(flags: Flags, environ: Mapping[str, str], start: str, place: Place | None) -> Config:
    named = bool(environ.get(NAMED))
    user_file = os.path.join(_user_folder(environ, "XDG_CONFIG_HOME", ".config"), FILE)
    user = _read_user(user_file)
    file = foreign = None
    tables: list[tuple[Mapping[str, Any], str]] = [(user, user_file)]
    if place is not None:
        file = place.file
        tables.insert(0, (read(file, named=named), file))
        foreign = None if named else search.foreign(place, environ, user, user_file)
    find = _Sources(flags, environ, tables, foreign).find
    bases = {user_file: os.path.dirname(user_file)}
    if file is not None:
        bases[file] = folder_of(file)
    return Config(
        start=start,
        file=file,
        file_source=NAMED if named else "searched upwards",
        user_file=user_file,
        cache=_cache_folder(environ, start),
        store=_located(find("store"), bases, start),
        project=find("project"),
        agent=_agent(find("agent"), environ, start, file),
        session=Setting(*find_session(environ)),
        settings={
            name: _absolute(found, bases, start) if name in kind.paths else found
            for kind in KINDS.values()
            for name in kind.settings
            for found in [
                find(f"{kind.table}.{name}", kind.defaults.get(name), kind.variables.get(name))
            ]
        },
    )


def _agent(said: Setting, environ: Mapping[str, str], start: str, file: str | None) -> Setting:
    """Return the agent's name: from the command, from this machine's agent file, or from a file."""
    if said.source in ("flag", said.variable):
        return said
    kept = identity.agent_file(start, file)
    name = identity.read_agent(kept, environ)
    return said if name is None else Setting(name, str(kept), said.variable)


def handed_on(found: Config) -> dict[str, str]:
    """Return the variables that give a command the project and the agent of this one.

    They hold in other folders, too: a setting that is absent here is not searched for there.
    """
    settings = [found.store, found.project, found.agent, found.session, *found.settings.values()]
    handed = {
        NAMED: found.file or os.devnull,
        "TCLOG_CACHE": found.cache,
        **{row.variable: row.value for row in settings if row.variable and row.value is not None},
        **({} if found.project.value else {"TCLOG_PROJECT": PROJECT_DEFAULT}),
    }
    told = sorted(handed.keys() - {"TCLOG_AGENT", "TCLOG_CACHE"})
    return {**handed, HANDED_ON: " ".join(_mark(name, handed[name]) for name in told)}


def _mark(name: str, value: str) -> str:
    """Name a variable and its value, so that a value which was changed since is told."""
    from zlib import crc32

    return f"{name}={crc32(os.fsencode(value)):08x}"


def inside(environ: Mapping[str, str], start: str) -> Mapping[str, str]:
    """Return the environment of a command that works in another folder (``-C``).

    If another project is set up in that folder, the variables of ``handed_on`` are dropped, but not
    those that were set anew.
    """
    handed = environ.get(HANDED_ON, "").split()
    place = search.find(start) if handed else None
    if place is None or place.file == environ.get(NAMED):
        return environ
    return {name: value for name, value in environ.items() if _mark(name, value) not in handed}


def _located(store: Setting, bases: Mapping[str, str], start: str) -> Setting:
    """Make a store's folder absolute: a relative one is relative to where it was written down."""
    if store.value is None or scheme_of(store.value):
        return store
    check_folder(store.value)
    return _absolute(store, bases, start)


def _absolute(path: Setting, bases: Mapping[str, str], start: str) -> Setting:
    if path.value is None:
        return path
    found = os.path.expanduser(path.value)
    if found.startswith("~"):
        raise UsageError(
            f"{path.value} in {path.source} begins with an unknown user", code="bad-store"
        )
    # Not resolved: links stay as they are.
    base = bases.get(path.source, start)
    return path._replace(value=os.path.abspath(os.path.join(base, found)))


def working_folder() -> str:
    """Return the folder in which this process works.

    Raises:
        UsageError: somebody has removed it.
    """
    try:
        return os.getcwd()
    except OSError:
        raise UsageError(
            "the working folder does not exist any more", code="folder-missing", hint="cd"
        ) from None


def need_store(found: Config) -> str:
    """Return the store.

    Raises:
        NotFound: nothing names one.
    """
    if found.store.value is None:
        raise NotFound(
            f"no tclog project was found in {found.start} or above",
            code="project-missing",
            hint="tclog init",
        )
    return found.store.value


def location_of(found: Config) -> Location:
    """Return where a project is, by a configuration.

    Raises:
        NotFound: it names no store.
    """
    project = found.project.value or PROJECT_DEFAULT
    return Location(need_store(found), project, said(found.settings))


def need_agent(found: Config, argument: str) -> str:
    """Return the name of the agent that acts.

    Args:
        found: where it is looked for.
        argument: how the caller could have named it.

    Raises:
        UsageError: nobody said who.
    """
    if found.agent.value is None:
        raise UsageError(
            f"no agent name: set TCLOG_AGENT or pass {argument}",
            code="agent-missing",
            hint="export TCLOG_AGENT=NAME",
        )
    return found.agent.value


def said(settings: Mapping[str, Setting]) -> dict[str, Any]:
    """Return the values of a store's settings by name, without those that nobody has set."""
    truths = {name for kind in KINDS.values() for name in kind.truths}
    return {
        name: truth(setting, name) if name in truths else setting.value
        for name, setting in settings.items()
        if setting.source != "default" and setting.value is not None
    }


def truth(setting: Setting, name: str) -> bool:
    """Read a yes or no.

    Raises:
        UsageError: it is neither.
    """
    word = (setting.value or "").lower()
    if word not in TRUE_WORDS + FALSE_WORDS:
        raise UsageError(
            f"{name} in {setting.source} is {setting.value!r}, neither true nor false",
            code="bad-config",
            hint="tclog where",
        )
    return word in TRUE_WORDS


def _read_user(path: str) -> Mapping[str, Any]:
    """Read the user's own file; none counts as there if another user's home cannot be read."""
    try:
        with open(path, "rb") as file:
            raw = file.read()
    except OSError as error:
        if isinstance(error, FileNotFoundError | NotADirectoryError) and not os.path.islink(path):
            return {}
        if isinstance(error, PermissionError) and not search.is_own(path):
            return {}
        raise search.unreadable(path, error) from None
    return _parse(path, raw)


def read(path: str, *, named: bool = False) -> dict[str, Any]:
    """Read a file of settings; a missing file has none, unless the user named it."""
    try:
        with open(path, "rb") as file:
            raw = file.read()
    except OSError as error:
        if named:
            raise UsageError(
                f"{path}, which {NAMED} names, cannot be read: {error.strerror}",
                code="bad-config",
                hint="unset TCLOG_CONFIG",
            ) from None
        if isinstance(error, FileNotFoundError | NotADirectoryError):
            return {}
        raise search.unreadable(path, error) from None
    return _parse(path, raw)


def _parse(path: str, raw: bytes) -> dict[str, Any]:
    try:
        text = raw.decode().removeprefix("\ufeff")
        plain = read_plain(text)
        if plain is not None:
            return plain
        import tomllib

        return tomllib.loads(text)
    except ValueError as error:
        raise UsageError(
            f"{path} is not valid TOML: {error}", code="bad-config", hint=to_run("cat", path)
        ) from None


def unknown(file: str) -> list[str]:
    """Return the unknown settings in a file, which are probably misspelt."""
    known = {"store", "project", "agent", search.TRUSTED}
    known |= {f"{kind.table}.{name}" for kind in KINDS.values() for name in kind.settings}
    tables = {kind.table for kind in KINDS.values()}
    names = []
    for name, value in read(file).items():
        inner = value if name in tables and isinstance(value, dict) else None
        names += [name] if inner is None else [f"{name}.{word}" for word in inner]
    return [name for name in names if name not in known]


def read_plain(text: str) -> dict[str, Any] | None:
    """Read TOML as ``tclog init`` writes it, or None: loading ``tomllib`` takes 3 ms.

    That is: comments, tables, and texts without escapes, each on a line of its own.
    """
    top: dict[str, Any] = {}
    table = top
    for line in text.split("\n"):
        if not line.isprintable():
            return None
        if not line or line.startswith("#"):
            continue
        if line.startswith("[") and line.endswith("]"):
            name = line[1:-1]
            if not is_bare(name) or name in top:
                return None
            table = top[name] = {}
            continue
        name, _, value = line.partition(" = ")
        inner = value[1:-1]
        quoted = len(value) > 1 and value == f'"{inner}"' and not {'"', "\\"} & set(inner)
        if not quoted or not is_bare(name) or name in table:
            return None
        table[name] = inner
    return top


def is_bare(name: str) -> bool:
    """Whether TOML takes a name without quotes."""
    return name.isascii() and name.isidentifier()


def _dig(table: Mapping[str, Any], name: str, source: str) -> str | None:
    outer, _, inner = name.rpartition(".")
    within = table.get(outer, {}) if outer else table
    if isinstance(within, dict):
        value = within.get(inner)
        if isinstance(value, bool):
            return str(value).lower()
        if value is None or (isinstance(value, str) and "\0" not in value):
            return value
    raise UsageError(
        f"{name} in {source} is not text", code="bad-config", hint=to_run("cat", source)
    )


def _user_folder(environ: Mapping[str, str], variable: str, usual: str) -> str:
    """Return tclog's own folder among the user's, by the rules of the XDG base directories."""
    base = environ.get(variable, "")
    if not os.path.isabs(base):
        base = os.path.join(os.path.expanduser("~"), usual)
    return os.path.join(base if os.path.isabs(base) else NO_HOME, "tclog")


def _cache_folder(environ: Mapping[str, str], start: str) -> str:
    if environ.get("TCLOG_CACHE"):
        return os.path.join(start, environ["TCLOG_CACHE"])
    return _user_folder(environ, "XDG_CACHE_HOME", ".cache")
