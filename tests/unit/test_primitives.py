"""Each primitive states all that the other layers ask of it; each forgotten entry is found here."""

from __future__ import annotations

import ast
import inspect
from collections.abc import Callable, Iterator
from importlib import import_module
from pathlib import Path

import pytest
from support.primitives import KINDS, OPS

import tclog
from tclog.domain import MODULES, misfit_body, misfit_state, op_of
from tclog.domain.decision import Kind, NoWayBack, Op, silent
from tclog.event import Event, EventId
from unit.test_schema import BODY_SAMPLES

PACKAGE = Path(tclog.__file__).parent
# Their op and their chain say it all.
SILENT = {
    "barrier.leave", "memory.delete", "pack.add", "pack.floor", "step.reopen", "step.withdraw",
    "tag.delete",
}  # fmt: skip
# These have no object of their own in a list or in a git export.
SHOWN_ELSEWHERE = {"agent", "pack"}


def written(module: str) -> set[str]:
    """Return the ops that the rules of a module make or fold."""
    tree = ast.parse(inspect.getsource(import_module(f"tclog.domain.{module}")))
    rules = [one for one in tree.body if isinstance(one, ast.FunctionDef)]
    texts = {
        node.value
        for rule in rules
        for node in ast.walk(rule)
        if isinstance(node, ast.Constant) and isinstance(node.value, str)
    }
    prefixes = {op.partition(".")[0] for op in OPS}
    return {
        text
        for text in texts
        if text.partition(".")[0] in prefixes and text.partition(".")[2].isalpha()
    }


def gaps(name: str, kind: Kind) -> Iterator[str]:
    """Say what a kind of chain does not state."""
    if not kind.group and name != "pack":
        yield "group"
    if not kind.file and name not in SHOWN_ELSEWHERE:
        yield "file"
    packed = kind.pack(kind.empty, ())
    if kind.unpack(packed, ()) != kind.empty or misfit_state(name, packed) is not None:
        yield "state"
    for op, known in kind.ops.items():
        yield from op_gaps(op, known)


def sample_of(op: str) -> dict[str, object]:
    return dict(BODY_SAMPLES.get(op, {}))


def op_gaps(op: str, known: Op) -> Iterator[str]:
    sample = sample_of(op)
    if known.body is not True and set(known.body.get("required", ())) - sample.keys():
        yield f"{op}: sample"
        return
    event = Event(EventId("0" * 64), {"op": op, "body": sample, "host": "box"})
    if (known.words is silent) != (op in SILENT) or bool(known.words(event)) == (op in SILENT):
        yield f"{op}: words"
    if isinstance(known.undo, NoWayBack) and not known.undo.why:
        yield f"{op}: undo"
    if known.body is True:
        yield f"{op}: body"


@pytest.mark.parametrize("name", MODULES)
def test_a_kind_states_everything(name: str):
    assert list(gaps(name, KINDS[name])) == []


@pytest.mark.parametrize("module", sorted(set(MODULES.values())))
def test_each_op_of_the_rules_is_stated(module: str):
    stated = {op for kind in MODULES if MODULES[kind] == module for op in KINDS[kind].ops}
    assert written(module) == stated
    assert all(op_of(op) is OPS[op] for op in stated)


def test_each_module_of_the_domain_is_listed_or_is_no_primitive():
    modules = {path.stem for path in (PACKAGE / "domain").glob("*.py")}
    assert modules - set(MODULES.values()) == {"__init__", "content", "decision", "documents"}


def test_each_op_has_a_schema_that_a_wrong_body_breaks():
    for op in OPS:
        assert misfit_body(op, sample_of(op)) is None
        assert misfit_body(op, {"reverts": 7}) is not None


def forget(op: str, **changes: object) -> Callable[[Kind], Kind]:
    return lambda kind: kind._replace(ops={**kind.ops, op: kind.ops[op]._replace(**changes)})


@pytest.mark.parametrize(
    ("name", "broken", "found"),
    [
        ("memory", lambda kind: kind._replace(group=""), "group"),
        ("memory", lambda kind: kind._replace(file=""), "file"),
        ("barrier", lambda kind: kind._replace(pack=lambda *_: {}), "KeyError"),
        ("tag", lambda kind: kind._replace(pack=lambda *_: {"at": 1}), "state"),
        ("memory", forget("memory.incr", words=silent), "memory.incr: words"),
        ("memory", forget("memory.incr", words=lambda _: ""), "memory.incr: words"),
        ("step", forget("step.note", undo=NoWayBack("")), "step.note: undo"),
        ("step", forget("step.note", body=True), "step.note: body"),
        ("step", lambda kind: kind._replace(ops={**kind.ops, "step.max": kind.ops["step.note"]}),
         "step.max: sample"),
    ],
)  # fmt: skip
def test_what_is_forgotten_is_found(name: str, broken: Callable[[Kind], Kind], found: str):
    try:
        told = list(gaps(name, broken(KINDS[name])))
    except KeyError:
        told = ["KeyError"]
    assert found in told


@pytest.mark.parametrize("field", ["body", "words", "undo"])
def test_an_op_without_an_entry_cannot_be_made(field: str):
    whole = {name: getattr(OPS["memory.set"], name) for name in ("body", "words", "undo")}
    Op(**whole)
    with pytest.raises(TypeError, match=field):
        Op(**{name: value for name, value in whole.items() if name != field})


# -- the layers that know no kind -----------------------------------------------------------------

# What commands show of each kind is made here; nothing that reads or commits asks them.
SHOWING = {"chain/results.py", "chain/show.py"}
# The index derives who held which step, and asks the rules of steps for it.
ASKING = {"index/derived.py": {"steps"}}


def literals(source: str) -> Iterator[str]:
    """Yield the kinds and ops that code compares with, and the primitives that it imports."""
    for node in ast.walk(ast.parse(source)):
        compared: list[ast.expr] = []
        if isinstance(node, ast.Compare):
            compared = [node.left, *node.comparators]
        elif isinstance(node, ast.MatchValue):
            compared = [node.value]
        elif isinstance(node, ast.Call) and "chain" in ast.unparse(node.func):
            compared = node.args
        for one in compared:
            for leaf in getattr(one, "elts", [one]):
                if isinstance(leaf, ast.Constant) and leaf.value in {*MODULES, *OPS}:
                    yield leaf.value
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            text = node.value
            if any(f"kind='{kind}'" in text or text.startswith(f"{kind}/") for kind in MODULES):
                yield text
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("tclog.domain"):
            names = {node.module.rpartition(".")[2], *(alias.name for alias in node.names)}
            yield from names & set(MODULES.values())


def test_chain_and_index_know_no_kind_by_name():
    found = {
        f"{name}: {text}"
        for package in ("chain", "index")
        for path in sorted((PACKAGE / package).glob("*.py"))
        if (name := path.relative_to(PACKAGE).as_posix()) not in SHOWING
        for text in literals(path.read_text())
        if text not in ASKING.get(name, ())
    }
    assert found == set()


@pytest.mark.parametrize(
    "source",
    [
        'chain_kind(chain) == "inbox"',
        'event.op in ("step.claim", "step.takeover")',
        'match chain_kind(chain):\n    case "memory":\n        pass',
        "db.execute(\"SELECT 1 FROM chains WHERE chains.kind='step'\")",
        'chain_id("step", name)',
        'chain.startswith("inbox/")',
        "from tclog.domain.memory import blobs_of",
        "def late():\n    from tclog.domain import inbox",
    ],
)
def test_a_new_literal_would_be_found(source: str):
    assert list(literals(source))
