"""The stores of the stories: a folder and a bucket of Ceph's."""

from __future__ import annotations

import signal

import pytest
from support.places import given_project, given_seeds

__all__ = ["given_project", "given_seeds", "heed_interrupts"]


@pytest.fixture(scope="session", autouse=True)
def heed_interrupts() -> None:
    """Let what is started heed SIGINT, also where a shell runs the tests in the background."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
