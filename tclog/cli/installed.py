"""What is installed as ``tclog``: one distribution's files, complete and unchanged.

Another distribution may install a module ``tclog`` too. pip accepts both, and the files of the
later one replace those of the other. Only ``tclog doctor`` looks: reading all metadata takes longer
than most commands.
"""

from __future__ import annotations

import base64
import csv
import hashlib
from collections.abc import Sequence
from importlib.metadata import Distribution, PackagePath, distributions
from pathlib import Path

from tclog.errors import TclogError, to_run
from tclog.version import __version__

MODULE = "tclog"
DISTRIBUTION = "tclog-agents"


def check_installed(package: Path, path: Sequence[str] | None = None) -> str:
    """Say what is installed.

    Args:
        package: the folder of the running tclog.
        path: where distributions are looked for; where modules are, if None.

    Raises:
        TclogError: another distribution shares the folder, or files are missing or changed.
    """
    found = distributions() if path is None else distributions(path=list(path))
    owners = {one.name: one for one in found if _is_in(one, package)}
    others = sorted(owners.keys() - {DISTRIBUTION})
    if others:
        raise TclogError(
            f"{others[0]} also installs a module {MODULE}, in {package}: the files of the later"
            f" installation replace those of {DISTRIBUTION}",
            code="package-mixed",
            hint=to_run("pipx install", DISTRIBUTION),
            distributions=sorted(owners),
        )
    ours = owners.get(DISTRIBUTION)
    if ours is None:
        return f"tclog {__version__} in {package}"
    changed = _changed(ours)
    if changed:
        raise TclogError(
            f"{len(changed)} files of {DISTRIBUTION} are missing or changed, the first is"
            f" {changed[0]} in {package.parent}",
            code="package-mixed",
            hint=to_run("pipx install", DISTRIBUTION),
            files=changed,
        )
    return f"{DISTRIBUTION} {ours.version} in {package}"


def _is_in(found: Distribution, package: Path) -> bool:
    """Whether a distribution has files in the package's folder."""
    there = Path(str(found.locate_file(MODULE)))
    return there.is_dir() and there.samefile(package) and any(map(_in_module, found.files or ()))


def _in_module(file: PackagePath) -> bool:
    return file.parts[0] == MODULE


def _changed(ours: Distribution) -> list[str]:
    """Return the files of the module that have not the bytes that were installed.

    ``Distribution.files`` leaves out files that are missing since Python 3.12.
    """
    found = []
    for name, wanted, *_ in csv.reader((ours.read_text("RECORD") or "").splitlines()):
        if name.startswith(f"{MODULE}/") and wanted:
            mode, _, said = wanted.partition("=")
            try:
                data = Path(str(ours.locate_file(name))).read_bytes()
            except OSError:
                found.append(name)
                continue
            digest = base64.urlsafe_b64encode(hashlib.new(mode, data).digest())
            if digest.rstrip(b"=").decode() != said:
                found.append(name)
    return found
