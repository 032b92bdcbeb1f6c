"""Which command an unknown word probably means; loaded only for an unknown word.

The hint names a command that is close by meaning, or by a letter or two. It names two commands if
the word may mean either. For any other word it names the help: a wrong guess costs more.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from tclog.log.nearby import nearest

# Commands, and the words that agents try for them.
MEANT = """
ack                    | acknowledge read-all mark-read
agents                 | peers ps team users who workers
artifact               | attach download file files share upload
barrier                | gather meet rendezvous sync-point
batch                  | bulk pipe pipeline
blame                  | origin who-changed
claim                  | acquire assign begin checkout grab own pick pickup start take work
clone                  | copy mirror
complete               | close end finish handoff hand-off resolve submit block fail review
diff                   | changed changes compare
doctor                 | diagnose health selftest test
exec                   | do run with
export                 | dump
fsck                   | integrity validate verify
gc                     | cleanup clean prune vacuum
import                 | load
inbox                  | messages poll receive recv unread
init                   | bootstrap new-project setup
log                    | audit events journal reflog
memory                 | fact facts keys kv
memory append          | append
memory delete          | delete forget remove rm unset
memory get             | get recall
memory incr            | incr increment
memory set             | remember save set store write
note                   | comment progress
pack                   | compact compress
release                | abandon drop give-back giveup unassign unlock yield
renew                  | extend heartbeat keepalive ping refresh touch
reopen                 | open redo reset-step restart retry
replay                 | play timeline
report                 | dashboard html page web
revert                 | rollback unsend
send                   | announce ask broadcast dm email message msg notify reply tell
show                   | cat describe inspect view
status                 | info overview stat summary
step                   | issue issues job jobs steps ticket tickets
step add               | add after depend depends deps plan todo
sync                   | fetch pull
tag                    | bookmark checkpoint label milestone
trust                  | accept
txn                    | atomic multi transaction tx
wait-for               | await block-on
watch                  | follow listen stream subscribe tail
where                  | config configure env pwd settings
claim, exec            | lease lock mutex
log, memory history    | history versions
claim, step list       | next queue
step list, step add    | task tasks todos
step list, memory list | list ls
memory get, inbox      | read
memory set, artifact put | put
doctor, fsck           | check
wait-for, barrier      | join wait
clone, export          | backup
revert, import         | restore
step add, init         | create new
state, export          | snapshot
"""
# The same within a group of commands.
MEANT_IN: Mapping[str, str] = {
    "memory": """
memory append          | add push
memory delete          | clear del drop forget remove unset
memory get             | cat fetch read recall show view
memory history         | log versions
memory incr            | add-one increment inc counter
memory list            | all dump find keys ls scan search
memory set             | create new put remember save store update write
""",
    "step": """
step add               | create define new plan
step list              | all ls next ready status-all
step show              | describe get info status view
complete               | block close done end fail finish
claim                  | assign begin start take
release                | drop unassign unclaim
reopen                 | open restart retry
wait-for               | wait
""",
    "artifact": """
artifact get           | fetch read
artifact history       | log versions
artifact list          | ls
artifact put           | add attach create push save set store
show                   | cat info view
""",
    "trust": """
trust accept           | confirm go-on ok yes
""",
}


def hint_for(path: str, word: str, names: Sequence[str], commands: Sequence[str]) -> str:
    """Return the hint for an unknown command.

    Args:
        path: the program, and the group in which the word was looked up.
        word: the unknown word.
        names: the commands that are valid there.
        commands: the commands of the program.
    """
    group = path.removeprefix("tclog").strip()
    meant = _meant(MEANT_IN.get(group, "") if group else MEANT, word.lower().replace("_", "-"))
    if not meant and group and word in commands:
        meant = [word]
    if meant:
        return " && ".join(f"tclog {one} --help" for one in meant)
    near = [name for name in names if word and name.startswith(word)]
    if len(near) == 2:
        return " && ".join(f"{path} {one} --help" for one in near)
    one = near[0] if len(near) == 1 else nearest(word, names)
    return f"{path} {one}" if one else f"{path} --help"


def _meant(table: str, word: str) -> list[str]:
    for line in table.strip().splitlines():
        commands, _, words = line.partition("|")
        if word in words.split():
            return [command.strip() for command in commands.split(",")]
    return []
