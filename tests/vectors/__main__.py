"""Writes docs/vectors and the examples in docs/format-examples.md: see scripts/vectors.

With --check it writes nothing, and ends with 1 if something is out of date.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from vectors import examples, protocol, refused, states

FOLDER = Path(__file__).resolve().parents[2] / "docs" / "vectors"
EXAMPLES = FOLDER.parent / "format-examples.md"
# So deep a file is spread over lines; what is deeper stands on one.
DEPTH = 4


def vectors() -> dict[str, Any]:
    """Return what each file holds."""
    packs = FOLDER / "packs.json"
    known = json.loads(packs.read_text()) if packs.exists() else None
    return {
        "states": {"cases": states.cases()},
        "transactions": {"cases": list(protocol.transactions())},
        "merges": {"cases": list(protocol.merges())},
        "voids": {"cases": list(protocol.voids())},
        "keys": protocol.keys(),
        "once": {"cases": [protocol.once_objects()]},
        "canonical": protocol.canonical(),
        "refused": refused.refused(),
        "packs": protocol.packs(known),
    }


def spread(value: Any, depth: int = 0) -> str:
    """Write JSON, one element a line down to a depth."""
    pad = " " * (depth + 1)
    if depth < DEPTH and isinstance(value, dict) and value:
        rows = [
            f"{pad}{json.dumps(k, ensure_ascii=False)}: {spread(v, depth + 1)}"
            for k, v in value.items()
        ]
        return "{\n" + ",\n".join(rows) + f"\n{pad[1:]}}}"
    if depth < DEPTH and isinstance(value, list) and value:
        return "[\n" + ",\n".join(pad + spread(v, depth + 1) for v in value) + f"\n{pad[1:]}]"
    return json.dumps(value, ensure_ascii=False)


def main() -> int:
    """Write the files; with --check compare them."""
    stale = []
    texts = {FOLDER / f"{name}.json": spread(row) + "\n" for name, row in vectors().items()}
    texts[EXAMPLES] = examples.written(EXAMPLES.read_text())
    for path, text in texts.items():
        if path.exists() and path.read_text() == text:
            continue
        stale.append(path.name)
        if "--check" not in sys.argv[1:]:
            FOLDER.mkdir(exist_ok=True)
            path.write_text(text)
    print(f"{', '.join(stale) or 'nothing'} changed")
    return 1 if stale and "--check" in sys.argv[1:] else 0


if __name__ == "__main__":
    sys.exit(main())
