"""Replacing personal data: numbered placeholders for a row, plain ones for display."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from ipaddress import ip_address

from carrara.data.checks.personal.find import Finding, find_personal_data
from carrara.data.checks.personal.plugins import Plugin, load_plugins
from carrara.data.checks.personal.view import View

_NUMBERED = re.compile(r"<([A-Z]+(?:_[A-Z]+)*)_([1-9]\d{0,5})>")


@dataclass(frozen=True)
class Redactor:
    """Redacts rows with the built-in detectors and the plugins given."""

    plugins: tuple[Plugin, ...]

    def redact(self, texts: Sequence[str]) -> tuple[list[str], list[list[Finding]]]:
        """The texts of one row with placeholders for values, and what was found in each, by its original positions.

        The same value, whatever its case and separators, has the same placeholder (<EMAIL_1>) in all texts of the
        row; numbers go on after those that the texts hold already. What lies outside the findings is unchanged, and
        redacting again changes nothing.
        """
        found = [find_personal_data(text, self.plugins) for text in texts]
        if not any(found):
            return list(texts), found
        numbers = _highest_numbers(texts)
        names: dict[tuple[str, str], str] = {}
        redacted = []
        for text, findings in zip(texts, found):
            for finding in findings:
                key = (finding.type, _normal_form(finding.type, text[finding.start : finding.end]))
                if key not in names:
                    numbers[finding.type] = numbers.get(finding.type, 0) + 1
                    names[key] = f"<{finding.type.upper()}_{numbers[finding.type]}>"
            redacted.append(
                _replace(text, [(f, names[f.type, _normal_form(f.type, text[f.start : f.end])]) for f in findings])
            )
        return redacted, found


def mask(text: str, plugins: Sequence[Plugin]) -> str:
    """The text with <TYPE> for every value, fit for a log or a report."""
    return _replace(text, [(finding, f"<{finding.type.upper()}>") for finding in find_personal_data(text, plugins)])


def display(show_values: bool) -> Callable[[str], str]:
    """How texts of rows may be shown: as they are, or with every value masked, plugins' findings too."""
    return str if show_values else partial(mask, plugins=load_plugins())


def _replace(text: str, findings: Sequence[tuple[Finding, str]]) -> str:
    parts, position = [], 0
    for finding, placeholder in findings:
        parts += (text[position : finding.start], placeholder)
        position = finding.end
    return "".join((*parts, text[position:]))


def _highest_numbers(texts: Sequence[str]) -> dict[str, int]:
    highest: dict[str, int] = {}
    for text in texts:
        for match in _NUMBERED.finditer(text):
            kind = match[1].lower()
            highest[kind] = max(highest.get(kind, 0), int(match[2]))
    return highest


def _normal_form(kind: str, value: str) -> str:
    """What two ways of writing one value have in common."""
    value = View.of(value, ()).text.strip()
    if kind in ("iban", "card", "national_id"):
        return re.sub(r"[\W_]", "", value).upper()
    if kind == "phone":
        return re.sub(r"\D", "", value.replace("(0)", "")).removeprefix("00")
    if kind == "ip":
        return str(ip_address(value))
    if kind in ("email", "address", "birth_date"):
        return re.sub(r"[\s,]+", " ", value).casefold()
    return value
