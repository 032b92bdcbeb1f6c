"""docs/architecture.md says in which order the modules of chain/ are built on each other."""

from __future__ import annotations

import ast
import re

from docs.reading import ROOT

PAGE = ROOT / "docs" / "architecture.md"
CHAIN = ROOT / "tclog" / "chain"


def imported(module: str) -> set[str]:
    """Return the modules of ``chain`` that a module imports, inside functions too."""
    found: set[str] = set()
    for node in ast.walk(ast.parse((CHAIN / f"{module}.py").read_text())):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("tclog.chain."):
            found.add(str(node.module).split(".")[2])
        elif isinstance(node, ast.ImportFrom) and node.module == "tclog.chain":
            found |= {name.name for name in node.names}
    return found


def test_each_module_of_the_protocol_uses_only_those_before_it() -> None:
    text = PAGE.read_text()
    part = text.split("the main modules of `chain/`.")[1].split("No package has import cycles")[0]
    listed = re.findall(r"`(\w+)`", part)
    assert len(listed) > 10
    for number, module in enumerate(listed):
        assert not imported(module) & set(listed[number:]), module
