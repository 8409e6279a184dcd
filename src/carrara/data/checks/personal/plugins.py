"""Detectors that others install, such as for names of persons: entry points of the group carrara.personal_data."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cache
from importlib.metadata import EntryPoint, entry_points
from typing import Any, cast

from carrara.errors import Refusal

GROUP = "carrara.personal_data"
# The only types that become placeholders which are recognised again.
_TYPE = re.compile(r"[a-z]{2,20}(?:_[a-z]{1,20}){0,3}")

Find = Callable[[str], Iterable[tuple[str, int, int]]]


@dataclass(frozen=True)
class Plugin:
    """A detector by its entry point's name. What it finds is its own affair; no error rate is known for it."""

    name: str
    function: Find

    def find(self, text: str) -> list[tuple[str, int, int]]:
        """Findings as (type, start, end), checked; a Refusal names the plugin if it fails or answers otherwise."""
        try:
            found = [(kind, start, end) for kind, start, end in self.function(text)]
        except Exception as error:
            raise Refusal(
                f"The personal-data plugin '{self.name}' failed ({type(error).__name__}); repair or uninstall it."
            ) from None
        for kind, start, end in found:
            if not (isinstance(kind, str) and _TYPE.fullmatch(kind) and _is_span(start, end, len(text))):
                raise Refusal(
                    f"The personal-data plugin '{self.name}' answered with something other than (type, start, end) "
                    "within the text, the type in lower-case letters; repair or uninstall it."
                )
        return found


def _is_span(start: object, end: object, length: int) -> bool:
    return type(start) is int and type(end) is int and 0 <= start < end <= length


@cache
def load_plugins() -> tuple[Plugin, ...]:
    """Every installed plugin, sorted by name and loaded once in a process; a Refusal names one that does not load."""
    return tuple(_load(entry) for entry in sorted(entry_points(group=GROUP), key=lambda entry: entry.name))


def _load(entry: EntryPoint) -> Plugin:
    try:
        function: Any = entry.load()
    except Exception as error:
        raise Refusal(
            f"The personal-data plugin '{entry.name}' ({entry.value}) cannot be loaded ({type(error).__name__}); "
            "repair or uninstall it."
        ) from None
    if not callable(function):
        raise Refusal(
            f"The personal-data plugin '{entry.name}' ({entry.value}) is not callable; repair or uninstall it."
        )
    return Plugin(entry.name, cast(Find, function))
