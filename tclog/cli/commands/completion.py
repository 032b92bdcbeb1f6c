"""tclog completion."""

from __future__ import annotations

import click

from tclog.cli.app import operation, root
from tclog.cli.invocation import Invocation


@operation(
    "completion",
    example="""
    tclog completion bash
    """,
)
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
def completion(call: Invocation, shell: str) -> None:
    """Print the shell completion for bash, zsh or fish.

    Load it with: eval "$(tclog completion bash)".
    """
    from click.shell_completion import get_completion_class

    kind = get_completion_class(shell)
    assert kind is not None  # noqa: S101 - the choice above allows no other
    script = kind(root, {}, "tclog", "_TCLOG_COMPLETE").source_template % {
        "complete_func": "_tclog_completion",
        "complete_var": "_TCLOG_COMPLETE",
        "prog_name": "tclog",
    }
    call.emit({"type": "completion", "shell": shell, "script": script}, script)
