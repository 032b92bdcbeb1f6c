"""Close names for an unknown one, from what this machine remembers; sends no request.

An unknown name may be right: the machine has seen only a part of the project. So a write under it
goes through, with a note. Only a command that needs the thing is refused.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from tclog.chain.client import Client
from tclog.errors import NotFound, to_run
from tclog.event.names import ALL, chain_kind, chain_name

# Words for everybody that agents try as a recipient.
EVERYBODY = ("*", "all", "anybody", "anyone", "broadcast", "everybody", "everyone", "team")
# For each code word: the kind of the missing chain, the field of its name, a command to see one.
_LOOKS: Mapping[str, tuple[str, str, str]] = {
    "step-missing": ("step", "step", "tclog step show"),
    "key-missing": ("memory", "key", "tclog memory get"),
    "artifact-missing": ("artifact", "name", "tclog artifact history"),
    "tag-missing": ("tag", "name", "tclog show"),
}


def nearest(name: str, names: Iterable[str]) -> str | None:
    """Return the name that is close by case, punctuation, or a letter or two."""
    plain = {_plain(other): other for other in sorted(names) if other != name}
    word = _plain(name)
    # A different number is not a typing error: step-2 is not step-3.
    near = [other for other in plain if _digits(other) == _digits(word)]
    # The first letter is seldom wrong: a wrong one counts as one more error.
    near.sort(key=lambda other: other[:1] != word[:1])
    for slips in range(2 if len(word) < 5 else 3):
        for other in near:
            if within(word, other, slips - (other[:1] != word[:1])):
                return plain[other]
    return None


def within(word: str, other: str, slips: int) -> bool:
    """Whether two words differ by so many letters: one extra, missing, wrong, or two swapped."""
    same = 0
    for one, two in zip(word, other, strict=False):
        if one != two:
            break
        same += 1
    word, other = word[same:], other[same:]
    if not word or not other:
        return len(word) + len(other) <= slips
    if slips <= 0:
        return False
    turned = word[:2] == other[1::-1]
    return (
        within(word[1:], other, slips - 1)
        or within(word, other[1:], slips - 1)
        or within(word[1:], other[1:], slips - 1)
        or (turned and within(word[2:], other[2:], slips - 1))
    )


def _plain(name: str) -> str:
    return "".join(filter(str.isalnum, name.casefold())) or name


def _digits(name: str) -> str:
    return "".join(filter(str.isdigit, name))


def suggest(client: Client, missing: NotFound) -> None:
    """Add a close name to the error for a thing that does not exist."""
    kind, field, look = _LOOKS.get(missing.code, ("", "", ""))
    name = missing.details.get(field)
    near = like(client, kind, name) if isinstance(name, str) else None
    if near is not None:
        missing.message += meant(near)
        missing.details["nearest"] = near
        missing.hint = to_run(look, near)


def like(client: Client, kind: str, name: str) -> str | None:
    """Return the thing of a kind whose name is close."""
    begin = f"{kind}/"
    chains = (chain for chain, _ in client.heads.remembered())
    return nearest(name, [chain[len(begin) :] for chain in chains if chain.startswith(begin)])


def meant(near: str | None) -> str:
    """Return words that suggest a close name, or ""."""
    return "" if near is None else f"; did you mean {near}?"


def note_unknown_steps(client: Client, names: Sequence[str], because: str) -> None:
    """Note steps that do not exist; ``because`` says why they are named."""
    for name in names:
        client.warn(
            f"{because} {name}, which does not exist yet{meant(like(client, 'step', name))}"
        )


def note_unseen(client: Client, names: Iterable[str]) -> None:
    """Note agents that this machine has never seen act."""
    seen = _seen(client) | {client.agent}
    for name in names:
        if name in seen:
            client.heads.remember_agent(name)
            continue
        near = "@all" if name.casefold() in EVERYBODY else nearest(name, seen)
        client.warn(f"this machine has never seen an agent {name}{meant(near)}")


def note_misnamed(client: Client) -> None:
    """Note that the client's own name, which never got a message, is close to another's."""
    seen = _seen(client)
    chains = [chain for chain, _ in client.heads.remembered()]
    sent_to = {
        chain_name(chain) for chain in chains if chain_kind(chain) == "inbox" and chain != ALL
    }
    near = None if client.agent in seen else nearest(client.agent, seen | sent_to)
    if near is not None:
        client.warn(f"no message was ever sent to {client.agent}{meant(near)}")


def _seen(client: Client) -> set[str]:
    """Return the agents that this machine has seen act."""
    seen: set[str] = set()
    for chain, agents in client.heads.remembered():
        seen.update(agents)
        if chain_kind(chain) in ("agent", "read"):
            seen.add(chain_name(chain))
    return seen


def note_new_step(client: Client, name: str) -> None:
    """Note that a claim's new step has a name close to another step's."""
    near = like(client, "step", name)
    if near is not None:
        client.warn(f"step {name} is new{meant(near)}")
