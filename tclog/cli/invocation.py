"""``Invocation``: one run of a command: its configuration, the log that it opens, how it prints."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from tclog import config
from tclog.cli import output
from tclog.errors import TclogError, UsageError, quote, to_run

if TYPE_CHECKING:
    from tclog.clock import Hlc
    from tclog.log.history import HistoryOperations
    from tclog.log.log import Log
    from tclog.log.project import Project
    from tclog.store import Location
    from tclog.store.base import Store


class Invocation:
    """One run of a command."""

    def __init__(
        self, environ: Mapping[str, str], as_json: bool, words: Sequence[str] = ()
    ) -> None:
        self.environ = environ
        self.json = as_json
        self._words = words
        self.flags = config.Flags()
        # The options before the command that say where and as whom, as they were given.
        self.given: dict[str, str] = {}
        self._start: str | None = None
        self._config: config.Config | None = None
        self._located: tuple[config.Config, Location] | None = None
        self._log: Log | None = None
        # Whether a look at what is damaged in parts ends with 8 (``--strict``).
        self.strict = False
        # What the user was told is left out.
        self._left_out: set[str] = set()
        self._told_shared = False
        # Whether this command sets up the folder that it was started in.
        self.begins = False

    def say(self, **flags: str | None) -> None:
        """Take what the command line says; it goes before everything else."""
        self.flags = self.flags._replace(**flags)
        self._config = None

    def move(self, folder: str) -> None:
        """Work in another folder: every relative path means a file there.

        Raises:
            UsageError: there is no such folder.
        """
        try:
            os.chdir(folder)
        except OSError as error:
            raise UsageError(
                f"{folder} is not a usable working folder: {error.strerror}",
                code="folder-missing",
                hint=to_run("ls -ld", folder),
            ) from None
        self._start = self._config = None
        self.environ = config.inside(self.environ, self.start)

    @property
    def start(self) -> str:
        """The folder that the command was started in.

        Raises:
            UsageError: somebody has removed it.
        """
        if self._start is None:
            self._start = config.working_folder()
        return self._start

    def configured(self, folder: str | None = None, **flags: str | None) -> config.Config:
        """Return the configuration of the files here or in a folder, without flags."""
        environ = {k: v for k, v in self.environ.items() if not k.startswith("TCLOG_")}
        said = config.Flags(**flags)
        return config.load(said, environ, folder or self.start, begin=self.begins)

    @property
    def config(self) -> config.Config:
        """The configuration, found when first asked for."""
        if self._config is None:
            self._config = config.load(self.flags, self.environ, self.start, begin=self.begins)
        return self._config

    def environ_for_child(self) -> dict[str, str]:
        """Return the environment for a command that works in the same project as the same agent."""
        return {**self.environ, **config.handed_on(self.config)}

    def agent(self) -> str:
        """Return the name of the agent that acts.

        Raises:
            UsageError: nobody said who.
        """
        agent = config.need_agent(self.config, "--as NAME")
        if self.config.agent.source == self.config.file and not self._told_shared:
            self._told_shared = True
            self.note(
                f"acting as {agent}, which {self.config.file} sets for everybody;"
                " tclog init --as NAME sets a name for this machine alone"
            )
        return agent

    @property
    def session(self) -> str:
        """The id of the session that acts."""
        return self.config.session.value or ""

    def fence_of(self, step: str) -> int | None:
        """Return the token of the claim under which ``tclog exec`` runs this, if it is of a step.

        It proves that the command acts for the claim, and is refused once that was lost. In another
        project it proves nothing: a step there may have the same name and number.

        Raises:
            UsageError: the variable holds no number, so it could refuse nothing.
        """
        text = self.environ.get("TCLOG_FENCE", "")
        if self.environ.get("TCLOG_STEP") != step or not text:
            return None
        if not (text.isascii() and text.isdigit()):
            raise UsageError(
                f"TCLOG_FENCE is {text!r}, which is not a fencing token", hint="unset TCLOG_FENCE"
            )
        of = self.environ.get("TCLOG_STEP_PROJECT")
        return int(text) if of in (None, self.log(reader=True).project.id) else None

    def location(self) -> Location:
        """Return where the project is.

        Raises:
            NotFound: no configuration was found.
        """
        from tclog.config import location_of
        from tclog.store import reached

        # Once for each configuration: the AWS files may have to be read for it.
        if self._located is None or self._located[0] is not self.config:
            self._located = self.config, reached(location_of(self.config), self.environ)
        return self._located[1]

    def log(self, *, reader: bool = False) -> Log:
        """Open the log; with ``reader`` a command that writes nothing needs no agent."""
        agent = self.config.agent.value or "anonymous" if reader else self.agent()
        if self._log is None:
            self._log = self.open(agent)
        return self._log

    def open(self, agent: str) -> Log:
        """Open the log afresh, as a given agent (another thread needs its own)."""
        from tclog.log.log import Log

        location = self.location()
        store = self.open_store(location)
        project = self._project(location, store)
        return Log(
            store,
            project,
            agent=agent,
            session=self.session,
            cache=os.path.join(self.config.cache, location.digest(project.id)),
            wall_us=self._wall_us(),
        )

    def _wall_us(self) -> Callable[[], int]:
        """Return the machine's clock, which a trial of clients may set off."""
        text = self.environ.get("TCLOG_TEST_CLOCK_OFFSET_S")
        if not text:
            return lambda: time.time_ns() // 1000
        try:
            offset_us = int(text) * 1_000_000
        except ValueError:
            raise UsageError(
                f"TCLOG_TEST_CLOCK_OFFSET_S is {text!r}, not a number of seconds",
                hint="unset TCLOG_TEST_CLOCK_OFFSET_S",
            ) from None
        return lambda: time.time_ns() // 1000 + offset_us

    def open_store(self, location: Location, *, create: bool = False) -> Store:
        """Open the store of a project, which is taken to exist unless it is to be created.

        Raises:
            StoreMissing: its folder does not: a disk that is not mounted, perhaps.
        """
        from tclog.cli.interrupt import raise_again
        from tclog.store import check_there, open_store

        raise_again()
        store = open_store(location, self.environ, create=create)
        if not create:
            check_there(location, self.config.store.source)
        return store

    def _project(self, location: Location, store: Store) -> Project:
        """Read the project's mark, or its id as it is remembered for a while."""
        from tclog.chain.drive import run
        from tclog.log.project import Project, is_project_id, read_project
        from tclog.store import kind_of

        kept_s = kind_of(location.url).mark_kept_s
        mark = self.mark_path(location)
        try:
            with open(mark, "rb") as file:
                text, age_s = file.read().decode(), time.time() - os.fstat(file.fileno()).st_mtime
            if 0 <= age_s < kept_s and is_project_id(text):
                return Project(location.project, text, "")
        except (OSError, UnicodeDecodeError):
            pass  # a cache that cannot be read is no cache
        project = run(read_project(location.project), store)
        self.keep_mark(location, project)
        return project

    def mark_path(self, location: Location) -> str:
        """Return where the id of a project is remembered."""
        return os.path.join(self.config.cache, "marks", location.digest())

    def keep_mark(self, location: Location, project: Project) -> None:
        """Remember the id of a project, if reading it costs a request."""
        from tclog.chain.heads import replace_cached
        from tclog.store import kind_of

        if not kind_of(location.url).mark_kept_s:
            return
        replace_cached(self.mark_path(location), project.id.encode())

    def now_us(self) -> int:
        """The present by the agent's corrected clock; every relative moment is counted from it."""
        return self.log(reader=True).client.clock.now_us()

    def history(self, *points: str | None) -> HistoryOperations:
        """Return what looks back; it syncs once in a command, when it is first asked.

        Raises:
            UsageError: one of the points in time that were given is not one. This needs no log.
        """
        for text in points:
            if text is not None:
                from tclog.moment import parse_moment

                parse_moment(text, 0)
        from tclog.cli.progress import counting

        history = self.log(reader=True).history
        history.once, history.say, history.say_in_memory = True, self.note, self._say_in_memory
        history.progress = lambda: counting(self, "Reading the log")
        return history

    def point(self, text: str | None) -> Hlc | None:
        """Read ``--at``; see ``HistoryOperations.point``."""
        return None if text is None else self.history(text).point(text)

    def _say_in_memory(self, reason: str) -> None:
        """Print a note that the cache cannot be written, with the variable that helps."""
        own = os.path.dirname(self.config.file or "")
        better = os.path.join(own, "cache") if own and os.access(own, os.W_OK) else "FOLDER"
        self.note(
            f"the cache {self.config.cache} cannot be written ({reason}), so each command reads the"
            f" whole log into memory; to use another folder: export TCLOG_CACHE={quote(better)}"
        )

    # -- printing -----------------------------------------------------------------------------

    def shown(self, limit: int | None) -> int | None:
        """Return how many rows of a list are shown, given ``-n``; None for all."""
        if limit is None and output.terminal() and not self.json:
            return output.ROWS_MAX
        return limit or None

    def all_rows(self) -> str:
        """Return the command that was given, so that it shows all rows of its list."""
        words = list(self._words)
        end = words.index("--") if "--" in words else len(words)
        at = next((nth for nth in range(end) if words[nth] in ("-n", "--limit")), end)
        after = words[at:] if at == end else words[at + 2 :]
        return " ".join(map(quote, ("tclog", *words[:at], "-n", "0", *after)))

    def emit(self, record: Mapping[str, Any], line: str | Callable[[], str]) -> None:
        """Print one result: the JSON object, or its line."""
        if self.json:
            output.write_json(record)
        else:
            output.write_line(output.harmless(line if isinstance(line, str) else line()))

    def emit_list(
        self,
        found: Sequence[Any],
        columns: Sequence[output.Column],
        cells: Callable[[Any], Sequence[Any]],
        limit: int | None,
    ) -> None:
        """Print a listing: the JSON objects, or a row of cells for each result."""
        if self.json:
            for one in found[: limit or None]:
                output.write_json(one.as_json())
            return
        rows = [cells(one) for one in found]
        output.write_rows(columns, rows, now_us=self.now_us(), limit=limit, more=self.all_rows())

    def note(self, text: str, left_out: str = "", error: TclogError | None = None) -> None:
        """Say something beside the data, on stderr; of what is left out also what it is."""
        if self.json:
            more = {} if error is None else {"left_out": left_out, **output.error_record(error)}
            output.write_json({**more, "type": "note", "message": text}, sys.stderr)
        else:
            output.write_line(f"note: {output.unbroken(text)}", sys.stderr)

    def finish(self) -> None:
        """Show what was noticed on the way, and what the answer goes without."""
        if self._log is None:
            return
        for warning in self._log.warnings:
            self.note(warning)
        self.say_left_out()

    def say_left_out(self) -> None:
        """Say what is left out as damaged, each thing once."""
        for what, error in () if self._log is None else self._log.left_out.items():
            if what not in self._left_out:
                self._left_out.add(what)
                self.note(f"{what} is left out: {error.message}; {error.hint}", what, error)

    def check_whole(self) -> None:
        """Refuse an answer that something was left out of, if that was asked for.

        Raises:
            Damaged: what was left out first.
        """
        if self.strict and self._log is not None:
            for error in self._log.left_out.values():
                raise error
