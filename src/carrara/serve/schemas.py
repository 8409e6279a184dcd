"""Which JSON schemas of clients an answer can be held to, at a cost that others do not feel."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from carrara.serve.protocol import MOST_LEVELS, ApiError, encode, is_deeper

_LONGEST = 64 << 10  # bytes
_MOST_REPEATED = 20_000  # items, characters and places of patterns in all; for a hundred million, grammars take 12 GB
_MOST_LEFT_OUT = 200  # parts in a row that may be missing; llama.cpp silently forgets a grammar with 300 of them

_COUNTS = ("minItems", "maxItems", "minLength", "maxLength")
_PIECE = re.compile(r"\\.|\[(?:\\.|[^\]\\])*\]|\{(?P<least>\d*),?(?P<most>\d*)\}|.", re.DOTALL)


def check_schema(schema: Mapping[str, Any], field: str) -> None:
    """Refuse what costs too much to make a grammar or a prompt of; nothing may be fetched for it, either."""
    if fault := _fault(schema):
        raise ApiError(400, "invalid_value", f"'{field}' is not usable: {fault}", field)


def _fault(schema: Mapping[str, Any]) -> str | None:
    if is_deeper(schema, MOST_LEVELS):
        return f"the schema is nested deeper than {MOST_LEVELS} levels; send a flatter one."
    if len(encode(schema)) > _LONGEST:
        return f"the schema is longer than {_LONGEST >> 10} KiB; shorten it."
    parts = list(_parts(schema))
    if any(isinstance(part.get("$ref"), str) and not part["$ref"].startswith("#") for part in parts):
        return "a $ref of the schema leads out of it; only those that begin with # can be followed."
    if sum(map(_repeated, parts)) > _MOST_REPEATED:
        return f"{', '.join(_COUNTS)} and patterns ask for more than {_MOST_REPEATED:,} repetitions in all; lower them."
    if any(_left_out(part) > _MOST_LEFT_OUT for part in parts):
        return f"more than {_MOST_LEFT_OUT} properties, or parts of a pattern, may be missing; require some."
    return None


def _parts(value: Any) -> Iterator[Mapping[str, Any]]:
    """Every object in a schema."""
    if isinstance(value, dict):
        yield value
    for each in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
        yield from _parts(each)


def _repeated(part: Mapping[str, Any]) -> float:
    counts = [part[name] for name in _COUNTS if isinstance(part.get(name), int | float)]
    return sum(max(0, count) for count in counts) + _written_out(_pattern(part))


def _written_out(pattern: str) -> int:
    """The places of a pattern once what it repeats is written out."""
    groups, last = [0], 0  # places of each group that is open, and of what came last
    for piece in _PIECE.finditer(pattern):
        if piece[0] == "(":
            groups.append(0)
        elif piece[0] == ")" and len(groups) > 1:
            last = groups.pop()
            groups[-1] += last
        elif most := piece["most"] or piece["least"]:
            groups[-1] += last * (int(most[:9]) - 1)
            last *= int(most[:9])
        elif piece[0] not in ("?", "*", "+"):
            groups[-1], last = groups[-1] + 1, 1
    return sum(groups)


def _left_out(part: Mapping[str, Any]) -> int:
    """How many properties, or parts of a pattern, may be missing."""
    pieces = [piece[0] for piece in _PIECE.finditer(_pattern(part))]
    properties, required = part.get("properties"), part.get("required")
    names = {name for name in required if isinstance(name, str)} if isinstance(required, list) else set()
    free = properties.keys() - names if isinstance(properties, dict) else ()
    return max(len(free), sum(piece in ("?", "*") or piece.startswith("{0") for piece in pieces))


def _pattern(part: Mapping[str, Any]) -> str:
    pattern = part.get("pattern")
    return pattern if isinstance(pattern, str) else ""
