"""What can be changed in a module: one small change at a time, each in one place of its source."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from typing import NamedTuple

_COMPARED = {
    ast.Eq: (ast.NotEq,),
    ast.NotEq: (ast.Eq,),
    ast.Lt: (ast.LtE, ast.GtE),
    ast.LtE: (ast.Lt, ast.Gt),
    ast.Gt: (ast.GtE, ast.LtE),
    ast.GtE: (ast.Gt, ast.Lt),
    ast.Is: (ast.IsNot,),
    ast.IsNot: (ast.Is,),
    ast.In: (ast.NotIn,),
    ast.NotIn: (ast.In,),
}
_COMPUTED = {
    ast.Add: ast.Sub,
    ast.Sub: ast.Add,
    ast.Mult: ast.FloorDiv,
    ast.FloorDiv: ast.Mult,
    ast.Div: ast.Mult,
    ast.Mod: ast.Mult,
    ast.LShift: ast.RShift,
    ast.BitOr: ast.BitAnd,
    ast.BitAnd: ast.BitOr,
}
_CALLED = {"min": "max", "max": "min", "any": "all", "all": "any"}
_SHOWN_MAX = 300
_REMOVED = (
    ast.Assign, ast.AugAssign, ast.Break, ast.Continue, ast.Delete, ast.Expr, ast.Raise,
)  # fmt: skip


class Change(NamedTuple):
    """One change: ``first`` and ``last`` are the lines of its statement, ``start`` is in bytes.

    ``base`` is the first line of the function that it stands in; 0: it is run when the module is
    loaded.
    """

    line: int
    first: int
    last: int
    where: str
    before: str
    after: str
    start: int
    end: int
    base: int

    @property
    def shown(self) -> str:
        """What is changed to what, on one line."""
        return f"{' '.join(self.before.split())} -> {' '.join(self.after.split())}"


class _Place(NamedTuple):
    """Where a node stands: the function around it, its names so far, the lines of its statement."""

    where: str
    first: int
    last: int
    known: set[str]
    base: int = 0


def changed(source: str, change: Change) -> str:
    """Return the source with one change made."""
    raw = source.encode()
    return (raw[: change.start] + change.after.encode() + raw[change.end :]).decode()


def changes(source: str) -> list[Change]:
    """Return all changes that may be made in a module, in the order of its source.

    Not each of them is one: ``differs`` tells, and costs more.
    """
    raw = source.encode()
    offsets = [0]
    for line in raw.splitlines(keepends=True):
        offsets.append(offsets[-1] + len(line))
    found = set()
    for node, place, afters in _visit(ast.parse(source), _Place("", 1, 1, set())):
        start = offsets[node.lineno - 1] + node.col_offset
        end = offsets[node.end_lineno - 1] + node.end_col_offset
        found |= {
            Change(
                node.lineno, place.first, place.last, place.where,
                raw[start:end].decode(), after, start, end, place.base,
            )
            for after in afters
        }  # fmt: skip
    short = [change for change in found if len(change.shown) <= _SHOWN_MAX]
    return sorted(short, key=lambda change: (change.start, change.end, change.after))


def differs(source: str, change: Change) -> bool:
    """Whether a change makes another program."""
    try:
        after = ast.dump(ast.parse(changed(source, change)))
    except SyntaxError:
        return False
    return after != ast.dump(ast.parse(source))


def _visit(node: ast.AST, place: _Place) -> Iterator[tuple[ast.AST, _Place, list[str]]]:
    """Yield each node that can be changed, and what may stand there instead."""
    if isinstance(node, ast.FunctionDef | ast.ClassDef):
        where = f"{place.where}.{node.name}".strip(".")
        inner = place._replace(where=where, known=set())
        if isinstance(node, ast.FunctionDef):
            given = node.args
            inner.known.update(one.arg for one in (*given.args, *given.kwonlyargs))
            inner = inner._replace(base=min([node, *node.decorator_list], key=_line).lineno)
            for default in (*given.defaults, *filter(None, given.kw_defaults)):
                yield from _visit(
                    default, inner._replace(first=node.lineno, last=node.lineno, base=0)
                )
        for statement in node.body:
            yield from _visit(statement, inner)
        return
    if isinstance(node, ast.stmt):
        place = place._replace(first=node.lineno, last=_header_end(node))
        if _is_apart(node):
            return
        if isinstance(node, _REMOVED) and not _binds(node, place.known):
            yield node, place, ["pass"]
        if isinstance(node, ast.Return) and node.value is not None:
            yield node, place, ["return None"]
    if isinstance(node, ast.expr):
        afters = _instead(node)
        if afters:
            yield node, place, afters
    for child in _children(node):
        yield from _visit(child, place)


def _line(node: ast.stmt | ast.expr) -> int:
    return node.lineno


def _binds(node: ast.stmt, known: set[str]) -> bool:
    """Whether a statement makes a name, so that all would fail without it; notes the name."""
    targets = node.targets if isinstance(node, ast.Assign) else []
    inside = [inner for target in targets for inner in ast.walk(target)]
    names = {n.id for n in inside if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Store)}
    new = names - known
    known |= names
    return bool(new)


def _is_apart(node: ast.stmt) -> bool:
    """Whether a statement only documents, imports or declares."""
    match node:
        case ast.Expr(value=ast.Constant()) | ast.Import() | ast.ImportFrom():
            return True
        case ast.If(test=ast.Name(id="TYPE_CHECKING")):
            return True
        case ast.Assign(targets=[ast.Name(id="T" | "__all__")]):
            return True
    return False


def _header_end(node: ast.stmt) -> int:
    """Return the last line of a statement, without the statements in it."""
    body = getattr(node, "body", None)
    if not body or not isinstance(body, list):
        return node.end_lineno or node.lineno
    return max(node.lineno, body[0].lineno - 1)


def _children(node: ast.AST) -> Iterator[ast.AST]:
    """Yield what is below a node; not types, and not what is in an f-string (no exact places)."""
    if isinstance(node, ast.JoinedStr):
        return
    for name, value in ast.iter_fields(node):
        if name in {"annotation", "returns", "ctx", "op", "ops"}:
            continue
        for child in value if isinstance(value, list) else [value]:
            if isinstance(child, ast.AST):
                yield child


def _instead(node: ast.expr) -> list[str]:
    """Return what may stand in place of an expression."""
    match node:
        case ast.Compare(ops=[op]):
            return [_said(ast.Compare(node.left, [new()], node.comparators))
                    for new in _COMPARED[type(op)]]  # fmt: skip
        case ast.BoolOp():
            other = ast.Or() if isinstance(node.op, ast.And) else ast.And()
            fixed = ast.Constant(isinstance(node.op, ast.And))
            without = [
                ast.BoolOp(
                    node.op, [fixed if nth == at else v for nth, v in enumerate(node.values)]
                )
                for at in range(len(node.values))
            ]
            return [_said(ast.BoolOp(other, node.values)), *map(_said, without)]
        case ast.UnaryOp(op=ast.Not()):
            return [_said(node.operand)]
        case ast.Constant(value=bool()):
            return [str(not node.value)]
        case ast.Constant(value=int() | float()):
            return [f"({node.value + 1})", f"({node.value - 1})"]
        case ast.BinOp() if type(node.op) in _COMPUTED:
            return [_said(ast.BinOp(node.left, _COMPUTED[type(node.op)](), node.right))]
        case ast.IfExp():
            return [_said(node.body), _said(node.orelse)]
        case ast.Call(func=ast.Name(id=name)) if name in _CALLED:
            return [_said(ast.Call(ast.Name(_CALLED[name]), node.args, node.keywords))]
        case ast.Call(args=[one, other, *rest]) if not isinstance(one, ast.Starred):
            return [_said(ast.Call(node.func, [other, one, *rest], node.keywords))]
    return []


def _said(node: ast.expr) -> str:
    return f"({ast.unparse(ast.fix_missing_locations(node))})"
