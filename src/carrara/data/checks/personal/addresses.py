"""Street addresses with a house number, in the forms of several languages.

Each list of words is named once: the pattern is built from it, and so is the cheap look whether the pattern can match.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator


def _one_of(words: Iterable[str]) -> str:
    return f"(?:{'|'.join(map(re.escape, words))})"


# Words that a British or North American street ends with: these in either case, the others only with a capital.
_EITHER_CASE = str.split("street avenue road boulevard lane drive court")
_CAPITAL = str.split("Parkway Highway Broadway")
# They end the names of many things that are no streets too: "a 24 Hour Drive", "8 Beautiful Gardens to visit".
_WEAK = str.split(
    "Lane Drive Court Place Square Terrace Way Circle Crescent Close Gardens Grove Mews Row Hill Quay Trail Walk Alley "
    "Loop"
)
_SHORT = str.split("St Ave Rd Blvd Ln Dr Ct Pl Sq Ter Pkwy Cir Hwy Cres")
_FRENCH_FIRST = str.split(
    "rue avenue av. boulevard bd bd. place chemin allée impasse quai route cours passage square villa faubourg "
    "rond-point"
)
# Words of their own or behind a hyphen; of a compound, Ring and Markt are the end only where a postcode follows.
_GERMAN = str.split("Straße Strasse Str. Weg Platz Allee Gasse Damm Ufer Chaussee")
_GERMAN_APART = ["Ring", "Markt"]
_COMPOUND_ENDS = [
    *map(str.lower, _GERMAN),
    *str.split("straat laan plein gracht kade singel dijk"),  # Dutch
    *str.split("gatan vägen"),  # Swedish
    *str.split("gade vej"),  # Danish
    *str.split("veien gata"),  # Norwegian
    "katu",  # Finnish
]
# Before a name, the number behind it.
_NAME_FIRST_WORDS = [
    *("Gran Vía", "C/", "P.º"),
    *str.split("Calle Avenida Avda. Avda Av. Plaza Pza. Pza Paseo Camino Carrera Ronda Travesía Carrer"),  # Spanish
    *str.split("Viale Via Piazzale Piazza Corso Largo Vicolo Strada"),  # Italian
    *str.split("Rua Travessa Praça Alameda"),  # Portuguese
    *str.split("ul. al. os. pl."),  # Polish
    "Rue",
]
# What must be in the text, and the form.
_BOXES = {
    "Box": r"P\.? ?O\.? ?Box",
    "Postfach": "Postfach",
    "Postbus": "Postbus",
    "Apartado": "Apartado(?: de Correos)?",
    "Casella Postale": "Casella Postale",
    "B.P": r"B\.P\.?",
    "BP": r"BP\.?",
}

_WORD = r"[A-ZÀ-ÖØ-Þ][\w'’.\-]{0,30}"
_PARTICLES = [
    *("of", "the", "de", "de la", "de las", "de los", "del", "la", "le", "du", "des", "di", "da", "do", "dos", "della"),
    *("dei", "van", "van der", "van de", "von", "von der", "y", "e", "und", "am"),
]
_LOW = rf"(?:{_one_of(_PARTICLES)} |(?:d|l|dell)['’])"
# Victor Hugo, de la Constitución, Vittorio Emanuele II
_NAMES = rf"{_LOW}{{0,2}}{_WORD}(?: {_LOW}{{0,2}}{_WORD}){{0,3}}"
# Frankfurt am Main, Stratford upon Avon
_IN_TOWN = r"(?:am|an der|ob der|upon|on|sur|sous|le|la|les|de|del|aan den|aan de)"
_TOWN = rf"{_WORD}(?: (?:{_IN_TOWN} )?{_WORD}){{0,2}}"
_COMMA = r"(?:,? |,?\n|\\n| - )"
# 10115 Berlin, CH-8001 Zürich, 111 51 Stockholm, 1015 CJ Amsterdam
_POSTCODE_TOWN = rf"(?:{_COMMA}(?:[A-Z]{{1,2}}[- ])?(?:\d{{4,5}}|\d{{3}} \d\d) (?:[A-Z]{{2}} )?{_TOWN})"

_COMPASS = r"(?:NE|NW|SE|SW|[NSEW])"
_COMPASS_BEFORE = rf"(?:{_COMPASS}\.?|North|South|East|West|Northeast|Northwest|Southeast|Southwest)"
_UNIT_WORDS = str.split("Apt Apartment Suite Ste Unit Flat Floor Fl Room Rm")
_UNIT = rf"(?:(?:,? {_one_of(_UNIT_WORDS)}\.? ?#?|,? ?#)\w{{1,6}})"
_STATE = r"(?:[A-Z]{2}|[A-Z][a-z]+(?: [A-Z][a-z]+)?)"
_UK_CODE = r"[A-Z]{1,2}\d[A-Z\d]? ?\d[A-Z]{2}"
_AUSTRALIAN_STATE = _one_of(str.split("NSW VIC QLD SA WA TAS ACT NT"))
_AFTER_ENGLISH = "|".join(
    (
        rf"{_COMMA}{_TOWN},? {_STATE},? \d{{5}}(?:-\d{{4}})?",  # Austin, TX 78701
        rf"{_COMMA}(?:{_TOWN}{_COMMA}){{1,2}}{_UK_CODE}",  # Mayfair, London W1K 2ND
        rf"{_COMMA}{_TOWN},? [A-Z]{{2}},? [A-Z]\d[A-Z] ?\d[A-Z]\d",  # Toronto, ON M5V 1J2
        rf"{_COMMA}{_TOWN},? {_AUSTRALIAN_STATE},? \d{{4}}",  # Sydney NSW 2000
        rf",? {_TOWN}, [A-Z]{{2}}\b",  # Encino, CA
    )
)
_FULL = "|".join([*(f"[{word[0].upper()}{word[0]}]{word[1:]}" for word in _EITHER_CASE), *_CAPITAL, *_WEAK])
# "St" and "Dr" begin names as well, so that something must show that they end this one.
_SHORT_ENDS = "|".join(
    (
        r"\.",
        rf"(?= (?:{_COMPASS}|#|Apt|Suite|Unit|Ste|Apartment)\b)",
        r"(?=[,;:)\"'!?\n*|<\]}]|$| [a-z(]|\. )",
        r"(?= [A-Z][\w ]{1,30},? [A-Z]{2}\b)",  # Elm Dr Austin, TX
    )
)
_ENGLISH = re.compile(
    r"\d(?<![\w.,:/$€£-]\d)(?<!# \d)\d{0,4}[A-Za-z]?(?:[-/]\d{1,5})?,? "  # 1600, 221B, 12-14
    rf"(?:{_COMPASS_BEFORE} )?"
    rf"(?:(?:\d{{1,3}}(?:st|nd|rd|th)|{_WORD}(?: {_WORD}){{0,3}}?) "  # 42nd, Martin Luther King Jr.
    rf"(?:{_FULL}|{_one_of(_SHORT)}\b(?:{_SHORT_ENDS}))|Broadway)"
    rf"(?:,? {_COMPASS}\b\.?)?(?!\w){_UNIT}?(?:,)?(?:{_AFTER_ENGLISH})?"
)
# Any name will do before a British town and postcode.
_BRITISH = re.compile(
    rf"\d(?<![\w.,:/$€£-]\d)\d{{0,3}}[A-Za-z]?,? {_NAMES}{_COMMA}(?:{_TOWN}{_COMMA}){{0,2}}{_UK_CODE}\b"
)
_POST_BOX = re.compile(rf"(?<!\w)(?:{'|'.join(_BOXES.values())}) \d{{1,6}}\b")
# 12 bis avenue Victor Hugo, 2e étage, 75001 Paris
_FRENCH = re.compile(
    rf"\d(?<![\w.,/$€£-]\d)\d{{0,3}}(?: ?(?:bis|ter|quater|[A-C]))?,? (?i:{_one_of(_FRENCH_FIRST)}) "
    rf"{_NAMES}(?:,? \d{{1,3}}e étage)?{_POSTCODE_TOWN}?"
)

_HONOURS = str.split("Van Von De Den Het Ter Ten Prins Prinses Koning Koningin Burgemeester Dr. Prof. Sint St.")
# A sentence's beginning, not a street's: "Der Weg 3 ist neu".
_NO_NAMES = str.split(
    "Der Die Das Den Dem Des Ein Eine Einen Kein Mein Dein Sein Ihr Unser Dieser Diesen Jeder Vom Beim Auf"
)
_COUNTED_UNITS = str.split("Uhr Prozent Euro Mal Jahr Monat Tag Stunden Minuten Meter km")
_STREET_WORD = _one_of([*_GERMAN, *_GERMAN_APART])
_GERMANIC_NAMES = "|".join(
    (
        # Hauptstraße, Van Goghlaan, Karl-Marxstr.
        rf"(?:{_one_of(_HONOURS)}(?: de[rn]?)? )?[A-ZÄÖÜ][\w.]*(?:-[A-ZÄÖÜ][\w.]*){{0,4}}{_one_of(_COMPOUND_ENDS)}",
        rf"(?!{_one_of(_NO_NAMES)} )(?:[A-ZÄÖÜ]\w+ ){{1,2}}{_STREET_WORD}",  # Berliner Straße
        rf"[A-ZÄÖÜ][\w-]*-{_STREET_WORD}",  # Karl-Marx-Allee
    )
)
_GERMANIC = re.compile(
    rf"(?<!\w)(?:{_GERMANIC_NAMES}) ?"
    r"(?<![A-Za-zß]\d)\d{1,4}(?: ?[a-zA-Z]\b)?(?:[-/]\d{1,3}[a-z]?|-[A-Z]{1,2}\b)?"  # 12, 12 a, 12-14, 12-H
    rf"(?![\w%]|[.,:]\d| (?:{_one_of(_COUNTED_UNITS)}|m\b)){_POSTCODE_TOWN}?"
)
_PREPOSITIONS = [
    *("Am", "An der", "An den", "An dem", "Im", "In der", "In den", "Auf der", "Auf dem", "Zum", "Zur", "Unter den"),
    *("Hinter der", "Beim"),
]
_ONLY_WITH_POSTCODE = _one_of(str.split("ring markt hof berg pad steig stieg park graben"))
# Am Markt 3, 54290 Trier
_GERMAN_WITH_POSTCODE = re.compile(
    rf"(?<!\w)(?:{_one_of(_PREPOSITIONS)} [A-ZÄÖÜ][\w-]+(?: [A-ZÄÖÜ][\w-]+)?|[A-ZÄÖÜ][\w-]+{_ONLY_WITH_POSTCODE}) "
    rf"\d{{1,4}} ?[a-z]?,? ?\n?(?:D-|A-|CH-)?\d{{4,5}} (?:[A-Z]{{2}} )?{_TOWN}"
)
# Große Bleichen 12, 20354 Hamburg
_GERMAN_ANY_NAME = re.compile(rf"(?<!\w)[A-ZÄÖÜ][\w-]+(?: [A-ZÄÖÜ][\w-]+)? \d{{1,4}} ?[a-z]?,\s(?:D-)?\d{{5}} {_TOWN}")
_NAME_FIRST = re.compile(
    rf"(?<!\w){_one_of(_NAME_FIRST_WORDS)} ?{_NAMES},? ?"
    r"(?:n\.? ?[º°.]? ?|núm\.? ?|nº ?|#|No\.? ?)?"
    r"\d{1,4}(?:/\d{1,4}|[a-zA-Z]\b)?(?![\w%]|[.,:]\d)(?:, ?\d{1,2}[.ºª°]+ ?\w{0,3})?"  # 114, 5/7, 12, 3º B
    rf"(?:{_POSTCODE_TOWN}|,? \d{{2}}-\d{{3}} {_TOWN}|,? \d{{4}}-\d{{3}} {_TOWN})?"
)

# What the patterns cost is spent only on texts that hold, in lower case where it says so, what they cannot do without.
_ENGLISH_SIGNS = tuple(f" {word.lower()}" for word in (*_EITHER_CASE, *_CAPITAL, *_WEAK, *_SHORT))
_FRENCH_SIGNS = tuple(f" {word} " for word in _FRENCH_FIRST)
_GERMANIC_SIGNS = (*_COMPOUND_ENDS, *(f"{mark}{word.lower()}" for word in _GERMAN_APART for mark in " -"))
_NUMBER_FIRST = re.compile(r"\d[A-Za-z]?,? (?:[A-ZÀ-Þ]|\d{1,3}(?:st|nd|rd|th)\b)")
_POSTCODE_LAST = re.compile(r"\d ?[a-z]?,?\s?\n?(?:[A-Z]{1,2}-)?\d{4,5} (?:[A-Z]{2} )?[A-Z]")

# Places in a building, a contest or a list, not in a town.
_NOT_A_STREET = re.compile(
    r"(?:Arbeits|Sitz|Park|Stell|Steh|Studien|Ausbildungs|Kita|Lager|Speicher|Rück|Hin|Schul|Fahrt|Lebens)"
    r"(?:platz|weg) ?\d"
)
# "2016 Supreme Court" has the form of an address but for a town after it or a word before it.
_YEAR_ALONE = re.compile(r"(?:1[5-9]|20)\d\d,? [^,\d]*,?")
_WEAK_END = re.compile(rf"{_one_of(_WEAK)}$")
_COUNTED = re.compile(r"\b(?:an?|the|these|those|some|top|all|over|about) $", re.I)
# "3 Wall Street banks" counts them.
_FEW = re.compile(r"\d{1,2} [^,\d]*$")
_WORD_AFTER = re.compile(r" [A-Za-z]")
_THINGS = re.compile(r" [a-z]{3,}s\b")
_AT = re.compile(r"(?:\bat|\bto|\bin der|address|located|lives?|residing|near|home|:)[ :]{1,3}$", re.I)


def find_addresses(text: str, lower: str) -> Iterator[tuple[int, int]]:
    """Spans of street addresses with a house number; `lower` is the text in lower case, of any length."""
    for pattern in _possible(text, lower):
        for match in pattern.finditer(text):
            if not _looks_otherwise(text, match):
                yield match.start(), match.start() + len(match[0].rstrip(" ,.\n"))


def _possible(text: str, lower: str) -> Iterator[re.Pattern[str]]:
    """The patterns that may match at all."""
    if _NUMBER_FIRST.search(text):
        yield _BRITISH
        if any(map(lower.__contains__, _ENGLISH_SIGNS)):
            yield _ENGLISH
    if any(map(lower.__contains__, _FRENCH_SIGNS)):
        yield _FRENCH
    if any(map(lower.__contains__, _GERMANIC_SIGNS)):
        yield _GERMANIC
    if any(map(text.__contains__, _NAME_FIRST_WORDS)):
        yield _NAME_FIRST
    if any(map(text.__contains__, _BOXES)):
        yield _POST_BOX
    if _POSTCODE_LAST.search(text):
        yield _GERMAN_WITH_POSTCODE
        yield _GERMAN_ANY_NAME


def _looks_otherwise(text: str, match: re.Match[str]) -> bool:
    if _NOT_A_STREET.match(match[0]) or (_FEW.match(match[0]) and _THINGS.match(text, match.end())):
        return True
    before = text[max(0, match.start() - 16) : match.start()]
    if (
        _WEAK_END.search(match[0])
        and not _AT.search(before)
        and (_COUNTED.search(before) or _WORD_AFTER.match(text, match.end()))
    ):
        return True
    return bool(_YEAR_ALONE.fullmatch(match[0]) and not _AT.search(before))
