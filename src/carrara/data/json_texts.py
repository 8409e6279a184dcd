"""The texts inside a JSON value, wherever they stand."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any


def texts_in(value: Any) -> list[str]:
    """Every text of a value in the order of `map_texts`; the keys of objects are none."""
    texts: list[str] = []

    def keep(text: str) -> str:
        texts.append(text)
        return text

    map_texts(value, keep)
    return texts


def map_texts(value: Any, change: Callable[[str], str]) -> Any:
    """The value with every text changed, in the order in which it is written."""
    if isinstance(value, str):
        return change(value)
    if isinstance(value, Mapping):
        return {key: map_texts(inner, change) for key, inner in value.items()}
    return [map_texts(inner, change) for inner in value] if isinstance(value, (list, tuple)) else value
