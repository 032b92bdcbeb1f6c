"""The command group: commands load when called, errors become one line and an exit status."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import click

from tclog.cli import options
from tclog.cli.invocation import Invocation
from tclog.cli.output import open_streams, write_line
from tclog.config import TRUE_WORDS
from tclog.errors import EXIT_DONE, TclogError, UsageError
from tclog.version import __version__

COMPLETE_VARIABLE = "_TCLOG_COMPLETE"


# The commands in the order in which a user meets them. Each loads from the file of its name.
COMMANDS: Mapping[str, str] = {
    "init": "Set up a project on a folder or a bucket; safe to repeat.",
    "projects": "List the projects that a store holds.",
    "where": "Show which configuration was found, and from where.",
    "doctor": "Check the installation, the configuration, the store and the clock.",
    "status": "Show the project on one screen.",
    "memory": "Share facts: versioned values with conflict detection.",
    "send": "Send a message to an agent, several, or @all.",
    "inbox": "Read your messages, in one order for everybody.",
    "ack": "Acknowledge messages by number or id.",
    "step": "Define and look at steps and what they come after.",
    "claim": "Claim a step (or the next ready one) with a lease.",
    "renew": "Extend the lease of a step that you hold.",
    "note": "Say something about a step.",
    "release": "Give a claim back.",
    "reopen": "Make an ended or stuck step pending again.",
    "complete": "End the work on a step and hand it over.",
    "wait-for": "Wait until steps are complete.",
    "barrier": "Arrive, and wait until all parties have.",
    "artifact": "Hand over files by name and version.",
    "agents": "Show who is here: last seen, claims, lease left.",
    "exec": "Run a command while holding a step.",
    "batch": "Do many operations in one process: lines of JSON in and out.",
    "txn": "Do several operations together, or none of them.",
    "log": "Show what happened: all committed events, the newest first.",
    "show": "Show one event or version by its id.",
    "state": "Show everything as it was at a moment.",
    "diff": "Show what changed between two moments, and by whom.",
    "blame": "Show which event each line or field comes from.",
    "tag": "Name a moment, or list the names.",
    "revert": "Restore what an event changed, by one more event.",
    "replay": "Replay a run in the terminal, with its pauses.",
    "report": "Write a run as one web page, for people.",
    "watch": "Follow the log: each event when it is committed, once.",
    "sync": "Bring the local index of the history commands up to date.",
    "trust": "Decide whether to go on with a store that was set back.",
    "fsck": "Check every object in the store.",
    "void": "End a slot that holds junk, so that its chain goes on.",
    "pack": "Fold closed hours of history into packs.",
    "gc": "Show which event objects packs hold, or remove those.",
    "export": "Write the whole log as JSON lines or as a git repository.",
    "import": "Read an export back: the same project, the same bytes.",
    "clone": "Copy a project to another store; again, to copy what is new.",
    "conformance": "Try another client of the format against tclog.",
    "completion": "Print the shell completion for bash, zsh or fish.",
}
# Other words for the same commands: ours, and Tracecraft's where it differs.
ALIASES: Mapping[str, str] = {
    "done": "complete",
    "mail": "inbox",
    "mem": "memory",
    "unclaim": "release",
    "undo": "revert",
    "whoami": "where",
}
# Aliases of several words.
PHRASES: Mapping[str, Sequence[str]] = {"ready": ("step", "list", "--ready")}
HIDDEN: Mapping[str, str] = {"step-status": "Show the state of one step."}


class Example(click.Command):
    """A command whose help begins with an example; the tests run each of them."""

    def __init__(self, *args: Any, example: str, **settings: Any) -> None:
        super().__init__(*args, **settings)
        self.example = example

    def get_help_option(self, ctx: click.Context) -> click.Option | None:
        """Return the option for help, which is printed like all else: a full disk is no bug."""
        option = super().get_help_option(ctx)
        if option is not None:
            option.callback = _say_help
        return option

    def format_usage(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the examples, then the usage line."""
        with formatter.section("Example"):
            for line in self.example.strip().splitlines():
                formatter.write(f"{'':>{formatter.current_indent}}{line.strip()}\n")
        formatter.write("\n")
        super().format_usage(ctx, formatter)


class Group(Example, click.Group):
    """A group whose commands load when asked for; it answers a typing error with the nearest.

    Args:
        package: where its commands are, each in the module of its name.
        names: its commands, in the order of the documentation.
        aliases: other words for the same commands.
    """

    def __init__(
        self,
        *args: Any,
        package: str,
        names: Sequence[str],
        aliases: Mapping[str, str],
        **settings: Any,
    ) -> None:
        super().__init__(*args, **settings)
        self.package, self.names, self.aliases = package, names, aliases

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """See click; the hint names what was probably meant."""
        name = args[0]
        if self.get_command(ctx, name) is None and not ctx.resilient_parsing:
            from tclog.cli.suggestions import hint_for

            path, names = ctx.command_path, self.list_commands(ctx)
            hint = hint_for(path, name, names, list(COMMANDS))
            raise UsageError(f"{path} has no command {name!r}", code="command-missing", hint=hint)
        return super().resolve_command(ctx, args)

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return all names, in the order of the alphabet."""
        del ctx
        return sorted([*self.names, *self.aliases])

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Load one command."""
        del ctx
        name = self.aliases.get(cmd_name, cmd_name)
        if name not in self.names:
            return None
        from importlib import import_module
        from keyword import iskeyword

        module = f"{self.package}.{name.replace('-', '_')}{'_' * iskeyword(name)}"
        held = vars(import_module(module)).values()
        return next(found for found in held if isinstance(found, Example) and found.name == name)


class Root(Group):
    """The top level."""

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """See ``Group``; replaces an alias by its several words."""
        return super().resolve_command(ctx, [*PHRASES.get(args[0], args[:1]), *args[1:]])

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the names in the order of the table: the way a user meets them."""
        del ctx
        return list(COMMANDS)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """List the commands without loading them."""
        del ctx
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))


def group(
    *names: str, example: str, aliases: Mapping[str, str] | None = None
) -> Callable[[Callable[..., None]], Group]:
    """Make a function of a package a group: its commands are the package's modules."""

    def decorate(function: Callable[..., None]) -> Group:
        return click.group(
            cls=Group,
            package=function.__module__,
            names=names,
            aliases=aliases or {},
            example=example,
            context_settings=SETTINGS,
        )(function)

    return decorate


def operation(
    name: str, *, example: str, hidden: bool = False
) -> Callable[[Callable[..., None]], Example]:
    """Make a function a command of an ``Invocation``; --json and --as come with it."""

    def decorate(function: Callable[..., None]) -> Example:
        def invoke(as_json: bool, as_agent: str | None, **arguments: Any) -> None:
            ctx = click.get_current_context()
            call = ctx.find_object(Invocation)
            assert call is not None  # noqa: S101 - the root sets it
            call.json = call.json or as_json
            if as_agent is not None:
                call.say(agent=as_agent)
                call.given["--as"] = as_agent
            try:
                function(call, **options.from_stdin(arguments))
            except TclogError as error:
                from tclog.cli.failures import hint_of

                error.hint = hint_of(error, ctx.command_path)
                if isinstance(error, UsageError) and hasattr(error, "rename"):
                    error.rename(lambda keyword: _option_of(ctx.command, keyword))
                raise
            finally:
                # Beside an error too: a claim that is refused may be where a clock is found wrong.
                call.finish()
            call.check_whole()

        invoke.__doc__ = function.__doc__
        invoke.__click_params__ = getattr(function, "__click_params__", [])  # type: ignore[attr-defined]
        # In listings --agent is a filter.
        filters = any("--agent" in parameter.opts for parameter in invoke.__click_params__)  # type: ignore[attr-defined]
        names = ("--as",) if filters else ("--agent", "--as")
        invoke = click.option(
            *names, "as_agent", metavar="NAME", help="Act as this agent (else TCLOG_AGENT)."
        )(invoke)
        invoke = click.option("--json", "as_json", is_flag=True, help="One JSON object per line.")(
            invoke
        )
        return click.command(
            name, cls=Example, example=example, hidden=hidden, context_settings=SETTINGS
        )(invoke)

    return decorate


def _option_of(command: click.Command, keyword: str) -> str:
    """Return what a keyword of an operation is called on the command line."""
    option = "--" + keyword.removesuffix("_s").replace("_", "-")
    if any(option in parameter.opts for parameter in command.params):
        return option
    argument = next(one for one in command.params if isinstance(one, click.Argument))
    return argument.make_metavar(click.get_current_context()).strip("[]")


SETTINGS: dict[str, Any] = {"help_option_names": ["-h", "--help"], "max_content_width": 100}


def _say_help(ctx: click.Context, _: click.Parameter, asked: bool) -> None:
    if asked and not ctx.resilient_parsing:
        write_line(ctx.get_help())
        ctx.exit()


def _say_version(ctx: click.Context, _: click.Parameter, asked: bool) -> None:
    if asked and not ctx.resilient_parsing:
        write_line(f"tclog {__version__}")
        ctx.exit()


@click.group(
    cls=Root,
    package="tclog.cli.commands",
    names=(*COMMANDS, *HIDDEN),
    aliases=ALIASES,
    context_settings=SETTINGS,
    example="""
    tclog init
    tclog claim design --as alice
    """,
)
@click.option("-C", "folder", metavar="DIR", help="Work as if started in this folder.")
@click.option("--store", metavar="STORE", help="The store, instead of the configured one.")
@click.option("--project", metavar="NAME", help="The project, instead of the configured one.")
@click.option("--agent", "--as", "as_agent", metavar="NAME", help="Act as this agent.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object per line.")
@click.option(
    "--version",
    is_flag=True,
    is_eager=True,
    expose_value=False,
    callback=_say_version,
    help="Show the version and exit.",
)
@click.pass_obj
def root(
    call: Invocation,
    folder: str | None,
    store: str | None,
    project: str | None,
    as_agent: str | None,
    as_json: bool,
) -> None:
    """Coordinate agents over a folder or a bucket: nothing is overwritten, everything is kept."""
    call.json = call.json or as_json
    call.say(agent=as_agent, store=store, project=project)
    given = {"-C": folder, "--store": store, "--project": project, "--as": as_agent}
    call.given = {option: word for option, word in given.items() if word is not None}
    if folder is not None:
        call.move(folder)


def run_command(argv: Sequence[str]) -> int:
    """Run one command and return its exit status; prints its own errors."""
    words = list(argv)
    before = words[: words.index("--")] if "--" in words else words
    wanted = os.environ.get("TCLOG_JSON", "").lower() in TRUE_WORDS
    # The form of errors must be known before the arguments are parsed. A text may be --json too.
    as_json = wanted or "--json" in before
    open_streams()
    call = Invocation(os.environ, wanted, words)
    try:
        return _run(words, call)
    except click.exceptions.Exit as leave:
        return leave.exit_code
    except BaseException as error:  # noqa: BLE001 - end_of raises what is not for the user
        from tclog.cli.failures import end_of

        return end_of(error, call, as_json=as_json)


def _run(words: list[str], call: Invocation) -> int:
    asked = os.environ.get(COMPLETE_VARIABLE)
    if asked:
        from click.shell_completion import shell_complete

        return shell_complete(root, {"obj": call}, "tclog", COMPLETE_VARIABLE, asked)
    with root.make_context("tclog", words, obj=call) as ctx:
        root.invoke(ctx)
    return EXIT_DONE
