"""All kinds of chains and ops of this release, as their primitives state them."""

from __future__ import annotations

from tclog.domain import MODULES, kind_of
from tclog.domain.decision import NoWayBack

KINDS = {kind: kind_of(kind) for kind in MODULES}
OPS = {op: known for kind in KINDS.values() for op, known in kind.ops.items()}
# Those that agents write themselves: `tclog pack` and `tclog gc` write the others.
NO_WAY_BACK = {
    op: known.undo
    for op, known in OPS.items()
    if isinstance(known.undo, NoWayBack) and not op.startswith("pack.")
}
