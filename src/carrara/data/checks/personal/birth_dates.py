"""Dates of birth: dates beside a word that says so.

The words are listed once: the pattern is built from them, and so is the cheap look whether it can match.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

# One language a line; * stands for any ending.
_BIRTH_WORDS = [
    *("born*", "birth*", "bday*", "b-day*", "dob", "d.o.b", "d. o. b"),  # English
    *("geboren*", "geb.", "geburt*"),  # German
    *("né", "née", "nés", "nées", "nait", "naissance*"),  # French
    *("nacid*", "nació*", "nacimiento*"),  # Spanish
    *("nascid*", "nasceu*", "nascimento*"),  # Portuguese
    *("nato", "nata", "nacque*", "nascita*"),  # Italian
    "geboorte*",  # Dutch, besides "geboren" and "geb."
    *("född*", "födt*", "födelse*"),  # Swedish
    "fød*",  # Danish and Norwegian
    *("syntynyt*", "syntymä*"),  # Finnish
    *("urodz*", "ur."),  # Polish
    "narozen*",  # Czech
    *("出生*", "生年月日*"),  # Chinese and Japanese
]
# One only right before a day: "(b. 3 May 1980)".
_ABBREVIATED = "b. "
_MONTH_NAMES = str.split(
    # English, and the first letters, which several languages share
    "january february march april may june july august september october november december "
    "jan feb mar apr jun jul aug sep sept oct okt nov dec dez "
    # German
    "januar jänner februar märz mai juni juli oktober dezember "
    # French
    "janvier février févr mars avril juin juillet août septembre octobre novembre décembre "
    # Spanish
    "enero febrero marzo abril mayo junio julio agosto septiembre octubre noviembre diciembre "
    # Italian
    "gennaio febbraio aprile maggio giugno luglio settembre ottobre dicembre "
    # Portuguese
    "janeiro fevereiro março maio junho julho setembro outubro novembro dezembro "
    # Dutch and Swedish
    "januari februari maart mei maj augustus augusti "
    # Polish, as they stand behind a day
    "stycznia lutego marca kwietnia maja czerwca lipca sierpnia września października listopada grudnia"
)

_MONTH = rf"(?:{'|'.join(sorted(_MONTH_NAMES, key=len, reverse=True))})\.?"
_YEAR = r"(?:18|19|20)\d\d"
_DATE_FORMS = "|".join(
    (
        rf"(?P<y1>{_YEAR})[-/. ](?P<m1>\d{{1,2}})[-/. ](?P<d1>\d{{1,2}})",  # 1980-05-03
        rf"(?P<a>\d{{1,2}})(?P<sep>\. ?|[-/ ])(?P<b>\d{{1,2}})(?P=sep)(?:{_YEAR}|'?\d\d)",  # 3. 5. 1980, 05/03/80
        rf"{_MONTH} \d{{1,2}}(?:st|nd|rd|th)?,? {_YEAR}",  # May 3rd, 1980
        # 3rd of May 1980, 3 de mayo de 1980, 03-May-80
        rf"\d{{1,2}}(?:st|nd|rd|th|er|\.|º)?[ -](?:of |de |di )?{_MONTH}(?:,? |-)(?:de |del )?(?:{_YEAR}|\d\d)",
        rf"{_YEAR}[- ]{_MONTH}[- ]\d{{1,2}}",  # 1980 May 3
    )
)
_DATE = rf"(?:{_DATE_FORMS})(?!\w|[-/]\d)"


def _form(word: str) -> str:
    """The pattern of a word of the list."""
    if word.endswith("*"):
        return re.escape(word[:-1]) + r"\w{0,20}"
    return re.escape(word) + (r"\b\.?" if word[-1].isalpha() else "")


_BIRTH = rf"(?<![^\W_])(?:{'|'.join(map(_form, _BIRTH_WORDS))}|{re.escape(_ABBREVIATED)}(?=\d))"
_BIRTH_SIGNS = (*(word.rstrip("*") for word in _BIRTH_WORDS), _ABBREVIATED)
_BORN = re.compile(rf"{_BIRTH}[^\d\n.!?]{{0,45}}?(?:\bthe )?(?<![\d/.-]){_DATE}", re.I)
_BORN_AFTER = re.compile(rf"(?<![\w/.-])(?P<date>{_DATE})[ ,(:-]{{1,4}}(?:is |was |as |\w+ ){{0,2}}{_BIRTH}", re.I)
_ANY_DATE = re.compile(_DATE, re.I)


def find_birth_dates(text: str, lower: str) -> Iterator[tuple[int, int]]:
    """Spans of the dates themselves, day, month and year, with the word for birth close before or after."""
    if not any(map(lower.__contains__, _BIRTH_SIGNS)):
        return
    for match in _BORN.finditer(text):
        dates = _ANY_DATE.finditer(text, match.start(), match.end())
        date = next((found for found in dates if found.end() == match.end()), None)
        if date and _exists(date):
            yield date.span()
    for match in _BORN_AFTER.finditer(text):
        if _exists(match):
            yield match.span("date")


def _exists(match: re.Match[str]) -> bool:
    """Numbers must make a day and a month in one order or the other; written-out months stand for themselves."""
    first, second = (match["m1"], match["d1"]) if match["y1"] else (match["a"], match["b"])
    if first is None:
        return True
    low, high = sorted((int(first), int(second)))
    return 1 <= low <= 12 and high <= 31
