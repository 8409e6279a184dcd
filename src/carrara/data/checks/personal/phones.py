"""Phone numbers: international, North American and national forms; arithmetic, dates and part numbers are none.

A form that nothing else has is taken by itself; the others need a word such as "call" or "Tel." close by. A word that
names another kind of number ("order", "ISBN") and stands closer than such a word speaks against it.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator

from carrara.data.checks.personal import patterns as p

_BEFORE = 48
_AFTER = 16
_NOT_DIGIT = re.compile(r"\D")
_DATE = re.compile(
    r"(?:(?:19|20)\d\d[-./ ](?:0?[1-9]|1[0-2])[-./ ]\d{1,2}|\d{1,2}([-./])\d{1,2}\1(?:19|20)?\d\d|"
    r"\d{1,2} \d{1,2} (?:19|20)\d\d)(?:[ T]\d{1,2})?|"
    r"(?:19|20)\d\d ?[-/ ] ?(?:19|20)?\d\d"
)
_ARITHMETIC = re.compile(r"(?:(?<![A-Za-z_\"'])=|(?<!\*)\*|[/×÷+<>$€£^]|[\d)] ?[-–])\s?$")


def find_phones(text: str, start: int, end: int) -> Iterator[tuple[int, int]]:
    """Spans of phone numbers that begin within text[start:end]."""
    for match in p.PHONE_INTERNATIONAL.finditer(text, start, end):
        if _is_international(match, text):
            yield _balanced(match)
    for match in p.PHONE_NORTH_AMERICAN.finditer(text, start, end):
        plain = match["separator"] in (" ", "/")
        if _may_be(text, match) and (not plain or has_phone_word(text, match)):
            yield _balanced(match)
    for pattern in (p.PHONE_TRUNK, p.PHONE_AREA):
        for match in pattern.finditer(text, start, end):
            if 9 <= _count(match[0]) <= 12 and not _DATE.fullmatch(match[0]) and _may_be(text, match):
                yield _balanced(match)
    for match in p.PHONE_LABELLED.finditer(text, start, end):
        if _is_labelled(match[0]) and has_phone_word(text, match) and not _ARITHMETIC.search(_before(text, match, 4)):
            yield _balanced(match)


def _balanced(match: re.Match[str]) -> tuple[int, int]:
    """The span without a parenthesis that belongs to the sentence around it."""
    value, inner = match[0], match[0][1:-1]
    wrapped = value[0] == "(" and value[-1] == ")" and inner.count("(") == inner.count(")")
    if wrapped and inner.find("(") <= inner.find(")"):
        return match.start() + 1, match.end() - 1
    unmatched = value.count("(") - value.count(")")
    return match.start() + (unmatched > 0 and value[0] == "("), match.end() - (unmatched < 0 and value[-1] == ")")


def nearest(pattern: re.Pattern[str], text: str, start: int) -> float:
    """How many characters before `start` the last match ends, at most 48; infinity where there is none."""
    before = text[max(0, start - _BEFORE) : start]
    if pattern is p.OTHER_NUMBER_WORDS:
        before = before.rpartition("\n")[2]
    return min((len(before) - match.end() for match in pattern.finditer(before)), default=math.inf)


def _before(text: str, match: re.Match[str], length: int) -> str:
    return text[max(0, match.start() - length) : match.start()]


def _count(value: str) -> int:
    return len(_NOT_DIGIT.sub("", re.split(r"[a-zA-Z]", value, maxsplit=1)[0]))


def _is_international(match: re.Match[str], text: str) -> bool:
    """An assigned country code, and a national number of fitting length that keeps no trunk 0 outside parentheses."""
    digits = _NOT_DIGIT.sub("", match["number"].replace("(0)", ""))
    code = p.COUNTRY_CODE.match(digits)
    if code is None or re.search(r"[\d)] ?$", _before(text, match, 2)):
        return False
    national = digits[code.end() :]
    if code[0] == "1":
        return len(national) == 10 and national[0] in "23456789"
    if not 6 <= len(national) <= 12 or (national[0] == "0" and code[0] not in ("39", "225", "241", "44", "49")):
        return False
    if "+" in match[0]:
        return True
    return len(digits) >= 9 and (_has_groups(match["number"]) or has_phone_word(text, match))


def _has_groups(number: str) -> bool:
    return len(re.findall(r"\d+", number)) >= 3


def _may_be(text: str, match: re.Match[str]) -> bool:
    """Not within arithmetic, and not named as another kind of number."""
    if has_phone_word(text, match):
        return True
    return not _ARITHMETIC.search(_before(text, match, 4)) and nearest(p.OTHER_NUMBER_WORDS, text, match.start()) > 24


def has_phone_word(text: str, match: re.Match[str]) -> bool:
    """A word for phones before the number, closer than a word for another kind of number, or right behind it."""
    if nearest(p.PHONE_WORDS, text, match.start()) < nearest(p.OTHER_NUMBER_WORDS, text, match.start()):
        return True
    return bool(
        re.match(
            r" ?\((?:mobile|cell|phone|home|work|office|fax|tel|m|h|w|handy|mobil|privat)",
            text[match.end() : match.end() + _AFTER],
            re.I,
        )
    )


def _is_labelled(value: str) -> bool:
    """Seven to thirteen digits in groups that are no date, no range of years and no list of small numbers."""
    groups = re.findall(r"\d+", re.split(r"[a-zA-Z]", value, maxsplit=1)[0])
    count = sum(map(len, groups))
    if not 7 <= count <= 13 or _DATE.fullmatch(value):
        return False
    return len(groups) == 1 or (
        (sum(len(group) == 1 for group in groups) <= 1 and set(value) & set(" .-/()") != {"."}) or len(groups) > 2
    )
