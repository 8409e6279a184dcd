"""Which language a row is in, by py3langid (Lui and Baldwin 2012), whose model comes with the package."""

from __future__ import annotations

import re
from functools import cache
from typing import Any

_READ = 200  # characters; more change the answer rarely and cost time
_FEWEST = 20  # letters below which a guess would be one
_NO_LETTERS = re.compile(r"[\W\d_]+")


def language_of(text: str) -> str:
    """The ISO 639-1 code of the text's beginning, or `unknown` where there are too few letters to tell."""
    beginning = text[:_READ]
    if len(_NO_LETTERS.sub("", beginning)) < _FEWEST:
        return "unknown"
    return str(_identifier().classify(beginning)[0])


@cache
def _identifier() -> Any:
    """Loading takes half a second, once for each process."""
    from py3langid.langid import MODEL_FILE, LanguageIdentifier

    return LanguageIdentifier.from_model_file(MODEL_FILE)
