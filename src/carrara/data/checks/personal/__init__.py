"""Personal data and secrets in text: finding, redacting and masking them, with measured error rates."""

from __future__ import annotations

import json
from collections.abc import Sequence
from importlib.resources import files
from typing import Any

from carrara.data.checks.personal.find import Finding, find_personal_data
from carrara.data.checks.personal.plugins import Plugin, load_plugins
from carrara.data.checks.personal.redact import Redactor, display, mask

# What each built-in detector looks for and how it makes sure.
TYPES = {
    "email": "local part, @ and domain by pattern, also spelled out as [at]; not image files, git remotes or units",
    "phone": "international by country code and length, North American and trunk-0 forms by pattern, others by context",
    "iban": "country's length and remainder modulo 97",
    "card": "issuer's prefix, length and grouping, Luhn's check digit",
    "national_id": "numbers of 35 countries by form and checksum, plain runs of digits only beside their name",
    "ip": "public IPv4 and IPv6 addresses; private, loopback and reserved ones name no one; not versions",
    "address": "street with house number in English, German, French, Spanish, Dutch or Italian form, and some others",
    "birth_date": "day, month and year beside a word for birth in 15 languages, months written out in 9 of them",
    "api_key": "prefixes that services give their keys, and values of high entropy assigned to a secret's name",
    "private_key": "PEM and PGP private key blocks",
    "token": "JSON web tokens with a readable header, bearer tokens of high entropy",
    "url_credentials": "user and password before the host of a URL",
}


def detectors(plugins: Sequence[Plugin]) -> list[str]:
    """The names of the detectors used, fit for the key of an artefact: the built-in types, then the plugins."""
    return [*TYPES, *(f"plugin {plugin.name}" for plugin in plugins)]


def descriptions(plugins: Sequence[Plugin]) -> list[str]:
    """A sentence for each of the detectors: what it looks for and how it makes sure."""
    return [
        *(f"{kind.replace('_', ' ')}: {how}" for kind, how in TYPES.items()),
        *(f"plugin {plugin.name}: not measured" for plugin in plugins),
    ]


def error_rates() -> dict[str, dict[str, Any]]:
    """By type: recall, precision, positives and negatives, as measured by benchmarks/personal_data.py."""
    return json.loads(files(__name__).joinpath("error_rates.json").read_text(encoding="utf-8"))


__all__ = [
    "TYPES",
    "Finding",
    "Plugin",
    "Redactor",
    "descriptions",
    "detectors",
    "display",
    "error_rates",
    "find_personal_data",
    "load_plugins",
    "mask",
]
