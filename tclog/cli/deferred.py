"""Modules that libraries import and a command hardly ever uses: each loads when first touched.

``inspect`` alone, which click and ``dataclasses`` import, brings tools of the compiler with it, and
takes longer to load than obstore. What is to be deferred must be so before anybody imports it.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from importlib import import_module
from types import ModuleType
from typing import Any


class Deferred(ModuleType):
    """Stands for a module; whatever is asked of it is asked of the real one.

    Args:
        name: the module's name.
        known: functions that answer what is asked of it at every start.
    """

    def __init__(self, name: str, **known: Callable[..., Any]) -> None:
        super().__init__(name)
        self.__dict__.update(known)

    def __getattr__(self, name: str) -> Any:
        if name in ("__spec__", "__path__"):  # asked by the import system, which takes None for it
            raise AttributeError(name)
        return getattr(self.load(), name)

    def load(self) -> ModuleType:
        """Load the real module, for everybody who imports it from now on."""
        if sys.modules.get(self.__name__) is self:
            del sys.modules[self.__name__]
        return import_module(self.__name__)


def defer_unused() -> None:
    """Let the next imports of these modules load nothing yet."""

    def cleandoc(text: str) -> str:
        # Of one line, as the help of an option is, this makes what ``inspect`` makes of it.
        return inspect.load().cleandoc(text) if "\n" in text else text.expandtabs().lstrip()

    inspect = Deferred("inspect", cleandoc=cleandoc)
    deferred = (
        inspect,
        # click looks for translations of its own words, of which there are none.
        Deferred(
            "gettext",
            gettext=lambda message: message,
            ngettext=lambda one, many, count: one if count == 1 else many,
        ),
        # uuid asks it which system this is.
        Deferred("platform", system=lambda: os.uname().sysname),
    )
    for module in deferred:
        sys.modules.setdefault(module.__name__, module)
