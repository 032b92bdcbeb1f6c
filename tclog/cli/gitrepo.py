"""The git repository that ``tclog export --git`` writes: git's processes, and which commits it has.

The branch ``main`` is tclog's. A run compares its commits, by the version that each names, with the
log: it goes on from the last one that is still in its place. Where a version came to be known late,
and belongs between two commits, the branch restarts from before it, and the old tip is kept
under a branch of its own.
"""

from __future__ import annotations

import os
import subprocess
import tempfile
from bisect import bisect_right
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, NamedTuple

from tclog.cli.invocation import Invocation
from tclog.cli.progress import counting
from tclog.errors import Refused, TclogError, to_run

if TYPE_CHECKING:
    from tclog.clock import Hlc
    from tclog.event import Version
    from tclog.history.history import History

_OWNER = "tclog.project"
_FORMAT = "%H %(trailers:key=Tclog-Version,valueonly,separator=%x2C)"
_SETTINGS = {
    "core.autocrlf": "false",
    "core.hooksPath": "/dev/null",
    "core.quotePath": "true",
    "gc.auto": "0",
    "commit.gpgsign": "false",
}


class Parted(NamedTuple):
    """Up to where the commits and the log agree: the last such commit and its version."""

    common: int
    commits: int
    at: str | None
    last: str | None
    since: Hlc | None


def export_git(call: Invocation, folder: Path) -> None:
    """Write what is new into the repository in a folder, which is made if need be."""
    from tclog.history.git import BRANCH, Stream
    from tclog.index import derived
    from tclog.index.ordered import versions_in_order

    history = call.history().fresh()
    project = call.log(reader=True).project
    repository = Repository(folder, call.environ)
    repository.open(project.id)
    index = history.index
    with derived.reading(index):
        parted = _compare(repository, history)
        old = repository.tip(BRANCH)
        kept = None
        if parted.common < parted.commits:
            kept = f"refs/heads/superseded-{str(old)[:12]}"
            repository.git("update-ref", kept, str(old))
        new = 0
        with counting(call, "Writing commits") as progress, repository.importing(kept) as write:
            stream = Stream(index, write)
            if kept is not None:
                write(_reset(BRANCH, parted.at))
            parent = parted.at
            for nth, version in enumerate(_after(versions_in_order(index, parted.since), parted)):
                history.run(stream.commit(version, parent if nth == 0 else None))
                new += 1
                if progress is not None:
                    progress("commits", 1)
            stream.end()
        tags = _tags(repository, history)
    repository.check_out(BRANCH, old)
    total = parted.common + new
    call.emit(
        {
            "type": "git",
            "folder": str(folder),
            "branch": "main",
            "new_commits": new,
            "commits": total,
            "tags": tags,
            "superseded": kept and kept.removeprefix("refs/heads/"),
        },
        f"{new} new commits in {folder}, {total} in all",
    )
    if kept is not None:
        call.note(
            f"versions came late and belong before commits of the last export: main restarts"
            f" after {parted.common} commits, the old one is {kept.removeprefix('refs/heads/')}"
        )


def _reset(branch: str, parent: str | None) -> bytes:
    return f"reset {branch}\n".encode() + (f"from {parent}\n\n".encode() if parent else b"\n")


def _compare(repository: Repository, history: History) -> Parted:
    """Find the last commit before which nothing has come in between.

    Raises:
        Refused: the branch has a commit that tclog did not make.
    """
    from tclog.history.git import BRANCH
    from tclog.index.ordered import version_ids

    logged = version_ids(history.index)
    common = commits = 0
    at: str | None = None
    last: str | None = None
    since: Hlc | None = None
    agree = True
    for commit, version in repository.versions(BRANCH):
        commits += 1
        if not version:
            raise Refused(
                f"commit {commit[:12]} on main was not made by tclog",
                code="not-an-export",
                hint="tclog export --help",
            )
        found = next(logged, None) if agree else None
        agree = found is not None and found[0] == version
        if agree and found is not None:
            common, at, last, since = commits, commit, found[0], found[1]
    return Parted(common, commits, at, last, since)


def _after(versions: Iterator[Version], parted: Parted) -> Iterator[Version]:
    """Leave out what has a commit: the last of these share the stamp that was asked from."""
    last = parted.last
    for version in versions:
        if last is None:
            yield version
        elif version.id == last:
            last = None


def _tags(repository: Repository, history: History) -> int:
    """Let git's tags be the log's; others are left alone."""
    from tclog.chain.fold import state_of
    from tclog.event import chain_name
    from tclog.history.git import BRANCH, tag_ref
    from tclog.history.snapshot import END
    from tclog.index.ordered import version_ids

    chains = history.index.chains("tag")
    if not chains:
        return 0
    stamps = [at for _, at in version_ids(history.index)]
    commits = [commit for commit, _ in repository.versions(BRANCH)]
    lines, count = [], 0
    for chain in chains:
        at = state_of(chain, history.index.version_at(chain, END)).at
        place = 0 if at is None else bisect_right(stamps, at)
        ref = tag_ref(chain_name(chain))
        if place:
            lines.append(f"update {ref} {commits[place - 1]}\n")
            count += 1
        elif repository.tip(ref) is not None:
            lines.append(f"delete {ref}\n")
    repository.git("update-ref", "--stdin", given="".join(lines))
    return count


class Repository:
    """A git repository in a folder, through the ``git`` command."""

    def __init__(self, folder: Path, environ: Mapping[str, str]) -> None:
        self.folder = folder
        self._where = os.path.abspath(folder)  # noqa: PTH100 - links stay as they are
        # Nothing of an outer repository, such as that of a hook which runs this, is meant here.
        self._environ = {k: v for k, v in environ.items() if not k.startswith("GIT_")}
        self._environ |= {
            "GIT_CEILING_DIRECTORIES": os.path.dirname(self._where),  # noqa: PTH120 - as above
            "GIT_TERMINAL_PROMPT": "0",
            "LC_ALL": "C",
        }

    def _words(self, *words: str) -> list[str]:
        settings = [word for row in _SETTINGS.items() for word in ("-c", "=".join(row))]
        return ["git", *settings, "-C", self._where, *words]

    def git(self, *words: str, given: str = "") -> str:
        """Run git and return what it prints.

        Raises:
            TclogError: it fails, or there is no git.
        """
        try:
            done = subprocess.run(  # noqa: S603 - git, with words of our own
                self._words(*words),
                input=given.encode(),
                capture_output=True,
                check=False,
                env=self._environ,
            )
        except OSError as error:
            raise _no_git(error) from None
        if done.returncode:
            raise _failed(done.stderr)
        return done.stdout.decode(errors="replace").strip()

    def open(self, project: str) -> None:
        """Make the repository, or see that it is one of this project's exports.

        Raises:
            Refused: there is something else.
        """
        if not self.folder.exists() or self._is_empty():
            self._make()
            self._own(project)
            return
        try:
            git = self.git("rev-parse", "--git-dir")
            owner = self.git("config", "--local", "--default", "", _OWNER)
            fresh = not owner and not self.git("for-each-ref", "--count=1")
        except TclogError as error:
            if error.code == "git-missing":
                raise
            git, owner, fresh = "", "", False
        if git in (".", ".git") and fresh:
            self._own(project)
            self.git("symbolic-ref", "HEAD", "refs/heads/main")
        elif owner != project or not git:
            raise Refused(
                f"{self.folder} is not a git export of this project",
                code="not-an-export",
                hint="tclog export --help",
            )

    def _own(self, project: str) -> None:
        """Mark the repository as an export of a project, and set how git reads its files."""
        self.git("config", _OWNER, project)
        # Where an appended line is equal to an older one, git may take the older one for new.
        self.git("config", "diff.indentHeuristic", "false")
        # A carriage return is a part of the line.
        self.git("config", "core.autocrlf", "false")

    def _is_empty(self) -> bool:
        try:
            return self.folder.is_dir() and not any(self.folder.iterdir())
        except OSError:
            return False

    def _make(self) -> None:
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise TclogError(
                f"{self.folder} cannot be made: {error.strerror}",
                code="output-failed",
                hint=to_run("ls -ld", self.folder.parent),
            ) from None
        self.git("init", "-q")
        self.git("symbolic-ref", "HEAD", "refs/heads/main")

    def tip(self, ref: str) -> str | None:
        """Return the commit of a ref, if there is one."""
        return self.git("for-each-ref", "--format=%(objectname)", ref) or None

    def versions(self, branch: str) -> Iterator[tuple[str, str]]:
        """Yield the commits of a branch, the oldest first, each with the version that it names."""
        if self.tip(branch) is None:
            return
        words = self._words("log", "--reverse", "--first-parent", f"--format={_FORMAT}", branch)
        with subprocess.Popen(  # noqa: S603 - git, with words of our own
            words, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, env=self._environ
        ) as process:
            assert process.stdout is not None  # noqa: S101 - asked for above
            for line in process.stdout:
                commit, _, version = line.decode(errors="replace").strip().partition(" ")
                yield commit, version

    @contextmanager
    def importing(self, kept: str | None) -> Iterator[Any]:
        """Give a way to write to ``git fast-import``; what was not ended properly has no effect."""
        words = ["fast-import", "--quiet", "--done", "--date-format=raw"]
        words += ["--force"] if kept is not None else []
        with tempfile.TemporaryFile() as errors:
            try:
                process = subprocess.Popen(  # noqa: S603 - git, with words of our own
                    self._words(*words),
                    stdin=subprocess.PIPE,
                    stdout=subprocess.DEVNULL,
                    stderr=errors,
                    env=self._environ,
                    start_new_session=True,
                )
            except OSError as error:
                raise _no_git(error) from None
            assert process.stdin is not None  # noqa: S101 - asked for above
            try:
                yield process.stdin.write
            except BrokenPipeError:
                pass  # git says why
            finally:
                _close(process.stdin)
                status = process.wait()
            if status:
                errors.seek(0)
                raise _failed(errors.read())

    def check_out(self, branch: str, old: str | None) -> None:
        """Bring the files up to the branch, unless somebody works on something else there."""
        new = self.tip(branch)
        if new is None or new == old or self.git("rev-parse", "--is-bare-repository") == "true":
            return
        try:
            if self.git("symbolic-ref", "-q", "HEAD") == branch:
                before = () if old is None else (old,)
                self.git("read-tree", "-m", "-u", *before, new)
        except TclogError:
            return  # edited by hand, or bisecting: the branch is what counts


def _close(stream: IO[bytes]) -> None:
    with suppress(BrokenPipeError):
        stream.close()


def _no_git(error: OSError) -> TclogError:
    return TclogError(
        f"git cannot be run: {error.strerror}", code="git-missing", hint="apt-get install git"
    )


def _failed(said: bytes) -> TclogError:
    lines = said.decode(errors="replace").strip().splitlines()
    told = [line for line in lines if line.startswith(("fatal:", "error:"))] or lines
    return TclogError(
        f"git failed: {told[0] if told else 'it did not say why'}",
        code="git-failed",
        hint="tclog export --help",
    )
