"""The error tree: what scripts rely on."""

import ast
import re
from pathlib import Path

import pytest

import tclog
from tclog import errors
from tclog.errors import EXIT_BUG, EXIT_DONE, EXIT_INTERRUPTED, EXIT_STATUSES, TclogError

KEBAB = re.compile(r"[a-z]+(-[a-z]+)*")
CLASSES = [
    value
    for value in vars(errors).values()
    if isinstance(value, type) and issubclass(value, TclogError)
]


def test_the_exit_statuses_are_those_of_the_command_line_contract():
    assert set(EXIT_STATUSES) == {0, 1, 2, 3, 4, 5, 6, 7, 8, 70, 130}
    assert (EXIT_DONE, EXIT_BUG, EXIT_INTERRUPTED) == (0, 70, 130)
    assert {error.__name__: error.exit for error in CLASSES} == {
        "TclogError": 1,
        "FormatNewer": 1,
        "UsageError": 2,
        "BadName": 2,
        "ConfigNotYours": 2,
        "BadValue": 2,
        "NotFound": 3,
        "Refused": 4,
        "WaitTimeout": 5,
        "OutcomeUnknown": 6,
        "StoreError": 7,
        "StoreUnreachable": 7,
        "StoreDenied": 7,
        "StoreMissing": 7,
        "StoreFull": 7,
        "StoreUnfit": 7,
        "Damaged": 8,
        "Forked": 8,
        "RolledBack": 8,
    }


def test_each_exit_status_says_what_it_means():
    words = {1: "other", 2: "usage", 3: "not found", 4: "refused", 5: "timed out", 6: "unknown"}
    words |= {0: "done", 7: "store", 8: "damaged", 70: "bug", 130: "interrupted"}
    assert all(word in EXIT_STATUSES[status] for status, word in words.items())


def test_every_error_class_has_a_code_of_its_own_in_kebab_case():
    codes = [vars(error)["code"] for error in CLASSES]
    assert all(KEBAB.fullmatch(code) for code in codes)
    assert len(set(codes)) == len(codes)


def test_every_code_that_is_given_where_an_error_is_raised_is_in_kebab_case():
    names = {error.__name__ for error in CLASSES} | {"_Row"}  # a row of the table of S3's answers
    found = [
        keyword.value.value
        for path in Path(tclog.__file__).parent.rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Call) and ast.unparse(node.func).rpartition(".")[2] in names
        for keyword in node.keywords
        if keyword.arg == "code" and isinstance(keyword.value, ast.Constant)
    ]
    assert len(found) > 20
    assert [code for code in found if not KEBAB.fullmatch(code)] == []


def test_an_error_carries_its_message_code_hint_and_details():
    error = errors.Refused("no", code="step-held", hint="tclog claim a", holder="bob")
    assert (str(error), error.message, error.code) == ("no", "no", "step-held")
    assert (error.hint, error.details, error.exit) == ("tclog claim a", {"holder": "bob"}, 4)
    assert errors.Refused("no").code == errors.Refused.code == "refused"


@pytest.mark.parametrize("error", CLASSES)
def test_every_error_can_be_made_of_a_message_alone(error):
    assert (error("why").message, error("why").hint, error("why").details) == ("why", "", {})
