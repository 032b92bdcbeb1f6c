"""docs/transfer.md names every code that ``fsck`` can tell."""

import re

from docs.reading import ROOT, table

TRANSFER = ROOT / "docs" / "transfer.md"
CODE = re.compile(r'"([a-z]+(?:-[a-z]+)+)"')
TELLING = ("fsck/*.py", "clocks.py")


def test_every_code_of_fsck_is_in_the_document_and_no_other() -> None:
    rows = [row["Code"] for row in table(TRANSFER, "Code")]
    codes = [code for row in rows for code in re.findall(r"`([a-z-]+)`", row)]
    assert len(codes) == len(set(codes)), "a code stands twice"
    told = {
        code for row in table(TRANSFER, "Code") for code in re.findall(r"`([a-z-]+)`", row["Code"])
    }
    folder = ROOT / "tclog" / "maintenance"
    sources = [path.read_text() for name in TELLING for path in folder.glob(name)]
    there = {code for source in sources for code in CODE.findall(source)}
    assert "version-damaged" in there
    assert told == there
