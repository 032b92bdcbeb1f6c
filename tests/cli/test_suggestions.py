"""What agents try as a command, and what they are told: one line for each word."""

from __future__ import annotations

import pytest

from tclog.cli.app import ALIASES, COMMANDS, HIDDEN, PHRASES
from tclog.cli.suggestions import MEANT, MEANT_IN

from .conftest import User

# What was typed; the commands that the hint names: with their help where the word means them, bare
# where it is a slip of the hand. "" is the help of all.
WORDS = """
prime            |
verify           | fsck --help
lock             | claim --help, exec --help
unlock           | release --help
history          | log --help, memory history --help
next             | claim --help, step list --help
tasks            | step list --help, step add --help
task             | step list --help, step add --help
todo             | step add --help
list             | step list --help, memory list --help
ls               | step list --help, memory list --help
get              | memory get --help
set              | memory set --help
put              | memory set --help, artifact put --help
read             | memory get --help, inbox --help
write            | memory set --help
delete           | memory delete --help
rm               | memory delete --help
incr             | memory incr --help
append           | memory append --help
remember         | memory set --help
recall           | memory get --help
forget           | memory delete --help
keys             | memory --help
add              | step add --help
create           | step add --help, init --help
new              | step add --help, init --help
depends          | step add --help
start            | claim --help
take             | claim --help
acquire          | claim --help
begin            | claim --help
checkout         | claim --help
pick             | claim --help
assign           | claim --help
mutex            | claim --help, exec --help
drop             | release --help
abandon          | release --help
yield            | release --help
heartbeat        | renew --help
keepalive        | renew --help
extend           | renew --help
finish           | complete --help
close            | complete --help
end              | complete --help
handoff          | complete --help
fail             | complete --help
block            | complete --help
retry            | reopen --help
open             | reopen --help
comment          | note --help
annotate         |
wait             | wait-for --help, barrier --help
await            | wait-for --help
join             | wait-for --help, barrier --help
rendezvous       | barrier --help
message          | send --help
msg              | send --help
tell             | send --help
notify           | send --help
broadcast        | send --help
reply            | send --help
messages         | inbox --help
receive          | inbox --help
unread           | inbox --help
acknowledge      | ack --help
upload           | artifact --help
download         | artifact --help
share            | artifact --help
who              | agents --help
team             | agents --help
workers          | agents --help
run              | exec --help
do               | exec --help
transaction      | txn --help
atomic           | txn --help
bulk             | batch --help
events           | log --help
audit            | log --help
journal          | log --help
changes          | diff --help
cat              | show --help
inspect          | show --help
snapshot         | state --help, export --help
check            | doctor --help, fsck --help
validate         | fsck --help
health           | doctor --help
rollback         | revert --help
restore          | revert --help, import --help
bookmark         | tag --help
backup           | clone --help, export --help
copy             | clone --help
load             | import --help
dump             | export --help
compact          | pack --help
prune            | gc --help
cleanup          | gc --help
follow           | watch --help
tail             | watch --help
subscribe        | watch --help
dashboard        | report --help
timeline         | replay --help
info             | status --help
overview         | status --help
config           | where --help
setup            | init --help
pull             | sync --help
LOCK             | claim --help, exec --help
mark_read        | ack --help
clame            | claim
claims           | claim
statsu           | status
inbx             | inbox
memmory          | memory
fsk              | fsck
comit            |
compl            | complete --help, completion --help
re               |
xyzzy            |
frobnicate       |
ask              | send --help
reserve          |
mcp              |
iam              |
hook             |
ui               |
memory put       | memory set --help
memory write     | memory set --help
memory read      | memory get --help
memory show      | memory get --help
memory keys      | memory list --help
memory ls        | memory list --help
memory remove    | memory delete --help
memory log       | memory history --help
memory increment | memory incr --help
memory st        | memory set
memory hist      | memory history
memory claim     | claim --help
memory xyzzy     | memory
step create      | step add --help
step new         | step add --help
step next        | step list --help
step ready       | step list --help
step status      | step show --help
step done        | complete --help
step complete    | complete --help
step claim       | claim --help
step release     | release --help
step note        | note --help
step wait        | wait-for --help
step ad          | step add
step xyzzy       | step
artifact ls      | artifact list --help
artifact add     | artifact put --help
artifact fetch   | artifact get --help
artifact show    | show --help
artifact upolad  | artifact upload
trust yes        | trust accept --help
"""


def rows() -> list[tuple[str, str]]:
    """Return each word, and the hint that it gets."""
    found = []
    for line in WORDS.strip().splitlines():
        word, _, meant = line.partition("|")
        commands = [command.strip() for command in meant.split(",")]
        if commands == [""] or (" " in word.strip() and commands == word.split()[:1]):
            commands = [f"{commands[0]} --help".strip()]
        found.append((word.strip(), " && ".join(f"tclog {command}" for command in commands)))
    return found


@pytest.mark.parametrize(("word", "hint"), rows(), ids=[word for word, _ in rows()])
def test_a_word_is_answered_with_what_was_meant(user: User, word: str, hint: str) -> None:
    told = user(*word.split(" "), "--json").error(2)
    assert (told["code"], told["hint"]) == ("command-missing", hint)


def test_every_hint_runs(user: User) -> None:
    hints = {one for _, hint in rows() for one in hint.split(" && ") if one.endswith("--help")}
    for hint in sorted(hints):
        user(*hint.split()[1:]).ok()


def test_no_word_that_has_a_meaning_is_a_command_or_has_two() -> None:
    for group, table in [("", MEANT), *MEANT_IN.items()]:
        words = [word for line in table.strip().splitlines() for word in line.split("|")[1].split()]
        assert sorted(words) == sorted(set(words)), group
        if not group:
            assert not set(words) & {*COMMANDS, *ALIASES, *PHRASES, *HIDDEN}


@pytest.mark.parametrize(
    ("words", "same"),
    [
        ("ready", "step list --ready"),
        ("mail", "inbox"),
        ("whoami", "where"),
        ("inbox --limit 1", "inbox -n 1"),
        ("inbox --agent bob", "inbox --as bob"),
        ("--agent bob inbox", "--as bob inbox"),
        ("log --agent alice", "log --agent alice"),
        ("step list --limit 1", "step list -n 1"),
    ],
)
def test_words_that_mean_one_thing_are_taken(project: User, words: str, same: str) -> None:
    for name in ("a", "b"):
        project("step", "add", name).ok()
        project("send", "bob", name).ok()
        project("send", "alice", name, agent="bob").ok()
    assert project(*words.split()).ok().out == project(*same.split()).ok().out != ""


def test_other_words_for_options_and_writes(project: User) -> None:
    project("step", "add", "a").ok()
    added = project("step", "add", "b", "--depends-on", "a", "--json").object()
    assert added["after"] == ["a"]
    project("claim", "a", "--agent", "bob").ok()
    project("unclaim", "a", "--agent", "bob").ok()
    noted = project("note", "a", "-m", "half done", "--json").object()
    assert noted["note"] == "half done"
    assert project("send", "bob", "--message", "hi", "--json").object()["text"] == "hi"
    project("claim", "a").ok()
    assert project("done", "a", "-m", "all", "--json").object()["handoff"]["note"] == "all"
    project("memory", "set", "k", "1").ok()
    newest = project("log", "--json", "--limit", "1").object()["id"]
    project("undo", newest).ok()
    assert project("memory", "get", "k").code == 3
    for words in (["note", "a"], ["note", "a", "x", "-m", "y"], ["send", "bob"]):
        assert project(*words, "--json").error(2)["code"] == "value-missing"
