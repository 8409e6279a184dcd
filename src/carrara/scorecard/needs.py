"""What a user asks of a model: the task and the limits, read from the words of the command line."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Literal, get_args

from carrara.errors import Refusal

Task = Literal["classify", "generate", "similarity", "chat"]

_MEMORY: Mapping[str, float] = MappingProxyType(
    {"MB": 1e6, "GB": 1e9, "TB": 1e12, "MIB": 2.0**20, "GIB": 2.0**30, "TIB": 2.0**40}
)
_TOKENS: Mapping[str, int] = MappingProxyType({"": 1, "K": 1024, "M": 1024**2})
_AMOUNT = re.compile(r"(\d{1,15}(?:\.\d{1,9})?)\s*(\D*)")


@dataclass(frozen=True)
class Needs:
    """What a model is for, and what it must keep to; None where there is no limit.

    `memory` in bytes, `budget` in the currency of the prices, `context` in tokens, `language` an ISO 639-1 code.
    """

    task: Task
    memory: float | None = None
    budget: float | None = None
    commercial: bool = False
    context: int | None = None
    language: str | None = None


def read_needs(
    task: str,
    memory: str | None,
    budget: str | None,
    licence: str | None,
    context: str | None,
    language: str | None,
    currency: str,
) -> Needs:
    """The needs in a user's words; raises Refusal for a word, a number or a unit that is none."""
    return Needs(
        task=_task(task),
        memory=read_memory(memory) if memory is not None else None,
        budget=read_money(budget, currency, "--budget") if budget is not None else None,
        commercial=_commercial(licence),
        context=_context(context) if context is not None else None,
        language=_language(language) if language is not None else None,
    )


def read_memory(text: str) -> float:
    """Bytes in a text such as `16GB` or `16 GiB`; raises Refusal."""
    number, unit = _amount(text)
    if unit.upper() not in _MEMORY or number <= 0:
        raise Refusal(f"--memory is an amount above 0 with its unit, such as 16GB or 16GiB, not '{text}'.")
    return number * _MEMORY[unit.upper()]


def read_money(text: str, currency: str, option: str) -> float:
    """An amount in the currency of the prices, such as `5EUR`; raises Refusal for any other."""
    number, unit = _amount(text.strip().replace("€", "EUR").replace("$", "USD").replace("£", "GBP"))
    if number < 0 or not re.fullmatch(r"[A-Za-z]{3}", unit):
        raise Refusal(f"{option} is an amount of money such as 5{currency}, not '{text}'.")
    if unit.upper() != currency:
        raise Refusal(
            f"{option} is in {unit.upper()} and the prices are in {currency}; give both in one currency "
            f"(--currency {unit.upper()} says that --per-hour and --per-kwh are)."
        )
    return number


def _amount(text: str) -> tuple[float, str]:
    """A number and what stands behind it; -1 where there is none."""
    found = _AMOUNT.fullmatch(text.strip())
    return (float(found[1]), found[2].strip()) if found else (-1.0, "")


def _task(text: str) -> Task:
    for task in get_args(Task):
        if text == task:
            return task
    raise Refusal(f"there is no task '{text}'; --task takes {', '.join(get_args(Task))}.")


def _commercial(licence: str | None) -> bool:
    if licence not in (None, "commercial", "any"):
        raise Refusal(f"--licence takes commercial or any, not '{licence}'.")
    return licence == "commercial"


def _context(text: str) -> int:
    number, unit = _amount(text)
    if unit.upper() not in _TOKENS or number <= 0 or number * _TOKENS[unit.upper()] % 1:
        raise Refusal(f"--context is a number of tokens above 0, such as 8192 or 8k, not '{text}'.")
    return round(number * _TOKENS[unit.upper()])


def _language(text: str) -> str:
    if not re.fullmatch(r"[A-Za-z]{2}", text):
        raise Refusal(f"--language is a code of two letters, such as de for German, not '{text}'.")
    return text.lower()
