"""Help: it begins with an example that works, and a typing error finds its way."""

from __future__ import annotations

import importlib
import json
import re
import shlex
import shutil
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

from tclog.cli import commands
from tclog.cli.app import COMMANDS, HIDDEN, Example, Group, root

from .conftest import User


def walk(group: click.Group = root, path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """Yield the words of every command and group, aliases included."""
    ctx = click.Context(group, info_name="tclog")
    assert isinstance(group, Group)
    for name in {**dict.fromkeys(group.list_commands(ctx)), **dict.fromkeys(group.names)}:
        command = group.get_command(ctx, name)
        assert command is not None
        yield (*path, name)
        if isinstance(command, click.Group):
            yield from walk(command, (*path, name))


def command_at(path: tuple[str, ...]) -> Example:
    command: click.Command = root
    for name in path:
        assert isinstance(command, click.Group)
        found = command.get_command(click.Context(command), name)
        assert found is not None
        command = found
    assert isinstance(command, Example)
    return command


PATHS = [(), *walk()]


@pytest.mark.parametrize("path", PATHS, ids=" ".join)
def test_help_begins_with_an_example(user: User, path: tuple[str, ...]):
    shown = user(*path, "-h").ok()
    first, second, *_ = shown.out.splitlines()
    assert first == "Example:"
    assert second.startswith("  tclog ")
    assert shown.out == user(*path, "--help").ok().out
    assert shown.err == ""
    assert max(map(len, shown.out.splitlines())) <= 100
    assert command_at(path).help


@pytest.mark.parametrize("name", [*COMMANDS, *HIDDEN])
def test_the_list_of_commands_says_what_each_says_of_itself(name: str):
    text = COMMANDS.get(name) or HIDDEN[name]
    command = command_at((name,))
    assert (command.help or "").splitlines()[0] == text
    assert command.hidden == (name in HIDDEN)


def test_each_command_is_alone_in_the_file_of_its_name():
    folder = Path(commands.__file__).parent
    files = {path.relative_to(folder) for path in folder.rglob("*.py")} - {Path("__init__.py")}
    found = {}
    for file in files:
        parts = [part for part in file.with_suffix("").parts if part != "__init__"]
        held = vars(importlib.import_module(".".join([commands.__name__, *parts]))).values()
        name = parts[-1].rstrip("_").replace("_", "-")
        (found[file],) = [one for one in held if isinstance(one, Example) and one.name == name]
        assert (*(part.rstrip("_").replace("_", "-") for part in parts),) in PATHS
    assert len(set(map(id, found.values()))) == len(files)
    assert set(map(id, found.values())) == {id(command_at(path)) for path in PATHS if path}


def test_every_option_has_help():
    for path in PATHS:
        for param in command_at(path).params:
            if isinstance(param, click.Option) and "--type" not in param.opts:
                assert param.help, (path, param.opts)


# -- every example is run -------------------------------------------------------------------------

EXAMPLES = [
    (path, nth, line.strip())
    for path in PATHS
    for nth, line in enumerate(command_at(path).example.strip().splitlines())
]
# What a reader of the example is taken to have done before, besides the examples above it.
PRELUDE = {
    ("memory", "get"): [
        "tclog memory set design.contract one --as alice",
        "tclog memory set design.contract two --as alice",
    ],
    ("memory", "history"): ["tclog memory set design.contract one --as alice"],
    ("memory", "delete"): ["tclog memory set design.contract one --as alice"],
    ("memory", "rm"): ["tclog memory set design.contract one --as alice"],
    ("inbox",): ["tclog send bob one --as alice"],
    ("ack",): ["tclog send bob one --as alice"],
    ("step", "show"): ["tclog step add build --as alice"],
    ("step-status",): ["tclog step add build --as alice"],
    ("claim",): ["tclog step add design --as alice", "tclog step add build --as alice"],
    ("renew",): ["tclog claim design --as alice"],
    ("note",): ["tclog step add design --as alice"],
    ("release",): ["tclog claim design --as alice"],
    ("reopen",): ["tclog claim design --as alice", "tclog complete design --as alice"],
    ("complete",): ["tclog claim design --as alice", "tclog claim build --as bob"],
    ("wait-for",): [
        "tclog claim design --as alice",
        "tclog complete design --as alice",
        "tclog claim b --as alice",
        "tclog complete b --as alice",
    ],
    ("artifact", "get"): ["tclog artifact put report.md --as alice"],
    ("artifact", "download"): ["tclog artifact put report.md --as alice"],
    ("artifact", "history"): ["tclog artifact put report.md --as alice"],
    ("blame",): [
        "tclog memory set design.contract one --as alice",
        "tclog step add design --as alice",
    ],
    ("revert",): ["tclog memory set design.contract one --as alice"],
    ("import",): ["tclog export -o log.jsonl"],
    ("show",): ["tclog memory set design.contract one --as alice"],
    ("watch",): ["tclog memory set design.contract one --as alice"],
}
# An id in an example stands for that of the newest event.
AN_ID = "4d579556"


@pytest.mark.parametrize("path", PATHS, ids=" ".join)
def test_every_example_works(user: User, path: tuple[str, ...]):
    """Each in a process that has loaded nothing yet: no command lives on another's imports."""
    user.environ["TCLOG_FSYNC"] = "false"
    (user.work / "report.md").write_text("# Report\n")
    (user.work / "Makefile").write_text("all:\n\t@echo made\n")
    (user.work / "operations.jsonl").write_text('{"op":"memory.set","key":"a","value":"90"}\n')
    begins = path in ((), ("init",))
    if not begins:
        user("init").ok()
    if path == ("void",):
        slot = next(user.store.parent.glob("*")) / "chains/memory/api.contract/9999999998.json"
        slot.parent.mkdir(parents=True)
        slot.write_bytes(b"")
    for line in PRELUDE.get(path, []):
        user(*shlex.split(line)[1:]).ok()
    for line in command_at(path).example.strip().splitlines():
        program, *words = shlex.split(line)
        assert program == "tclog"
        if words[:1] == ["exec"] and shutil.which("make") is None:
            words[words.index("--") + 1 :] = ["true"]
        if AN_ID in words:
            newest = json.loads(user("log", "--json", "-n", "1").ok().out)["id"]
            words = [newest[: len(AN_ID)] if word == AN_ID else word for word in words]
        if begins and user.work.joinpath(".tclog").exists() and words[0] == "init":
            shutil.rmtree(user.work / ".tclog")
        done = user.process(*words, fresh=True)
        assert done.code == 0, (line, done)


# -- typing errors --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("words", "hint"),
    [
        (["clame", "s"], "tclog claim"),
        (["memmory", "get", "k"], "tclog memory"),
        (["inbx"], "tclog inbox"),
        (["waitfor", "a"], "tclog wait-for"),
        (["memory", "st", "k", "v"], "tclog memory set"),
        (["memory", "hist", "k"], "tclog memory history"),
        (["step", "ad", "s"], "tclog step add"),
        (["artifact", "upolad", "f"], "tclog artifact upload"),
        (["xyzzy"], "tclog --help"),
        (["memory", "xyzzy"], "tclog memory --help"),
        (["claim", "--laese", "5m", "s"], "tclog claim --help"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_a_typing_error_suggests_the_command(user: User, words: list[str], hint: str):
    assert user(*words, "--json").error(2)["hint"] == hint
    assert f"hint: {hint}" in user(*words).said(2)


def test_a_typing_error_in_an_option_suggests_the_option(user: User):
    assert "--lease" in user("claim", "s", "--laese", "5m").said(2)


def test_the_choices_of_a_missing_word_stand_in_one_line(user: User):
    error = user("completion", "--json").error(2)
    assert error["message"].endswith("Choose from: bash, zsh, fish")


def test_without_a_command_the_help_is_shown(user: User):
    for words in ([], ["memory"], ["step"]):
        done = user(*words)
        assert done.code == 2
        assert done.out == ""
        assert "Commands:" in done.err


def test_help_needs_no_project_and_writes_nothing(user: User):
    user.process("--help").ok()
    assert re.fullmatch(r"tclog \d+\.\d+\.\d+\S*\n", user.process("--version").ok().out)
    for path in (("claim",), ("memory", "set")):
        user.process(*path, "-h").ok()
    assert not any(user.work.iterdir())
    assert not (user.folder / "cache").exists()


# -- completion -----------------------------------------------------------------------------------


def completed(user: User, line: str) -> list[str]:
    """Ask as the shell's own script does; returns the words."""
    words = shlex.split(line) + ([""] if line.endswith(" ") else [])
    env = {
        "_TCLOG_COMPLETE": "bash_complete",
        "COMP_WORDS": line,
        "COMP_CWORD": str(len(words) - 1),
    }
    return [row.partition(",")[2] for row in user(env=env).lines()]


def test_completion_knows_commands_and_options(user: User):
    assert completed(user, "tclog cl") == ["claim", "clone"]
    assert set(completed(user, "tclog memory ")) >= {"set", "get", "list", "history", "incr"}
    assert set(completed(user, "tclog claim --l")) == {"--lease"}
    assert "Traceback" not in user(env={"_TCLOG_COMPLETE": "bash_complete"}).err
    completed(user, "tclog no-such-command cl")  # nothing sensible, but no error either
    assert completed(user, "tclog step list --state cl") == ["claimed"]


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_the_script_of_each_shell_loads(user: User, shell: str):
    script = user("completion", shell).ok().out
    assert json.loads(user("completion", shell, "--json").out)["script"].strip() == script.strip()
    program = shutil.which(shell)
    if program is None:
        pytest.skip(f"{shell} is not installed")
    (user.work / "script").write_text(script)
    check = {"bash": ["-n"], "zsh": ["-n"], "fish": ["--no-execute"]}[shell]
    assert user.process(*check, "script", program=program).ok().err == ""


def test_bash_completes_a_word(user: User):
    done = user.shell(
        """
        eval "$(tclog completion bash)"
        complete -p tclog
        COMP_WORDS=(tclog clai) COMP_CWORD=1
        _tclog_completion tclog
        echo "${COMPREPLY[@]}"
        """
    )
    assert done.lines()[-1] == "claim", done
    assert "_tclog_completion tclog" in done.out
