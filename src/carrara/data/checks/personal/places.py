"""Street addresses of known form, and dates of birth: dates beside a word that says so."""

from __future__ import annotations

import re
from collections.abc import Iterator

_WORD = r"[A-ZÀ-ÖØ-Þ][\w'’.\-]{0,30}"
_LOW = (
    r"(?:(?:of|the|de|de la|de las|de los|del|la|le|du|des|di|da|do|dos|della|dei|van|van der|van de|von|von der|y|e|"
    r"und|am) |d['’]|l['’]|dell['’])"
)
_NAMES = rf"{_LOW}{{0,2}}{_WORD}(?: {_LOW}{{0,2}}{_WORD}){{0,3}}"
_COMMA = r"(?:,? |,?\n|\\n| - )"
_FULL = (
    r"(?:[Ss]treet|[Aa]venue|[Rr]oad|[Bb]oulevard|[Ll]ane|[Dd]rive|[Cc]ourt|Place|Square|Terrace|Way|Parkway|Circle|"
    r"Highway|"
    r"Crescent|Close|Gardens|Grove|Mews|Row|Hill|Quay|Broadway|Trail|Walk|Alley|Loop)"
)
_SHORT = r"(?:St|Ave|Rd|Blvd|Ln|Dr|Ct|Pl|Sq|Ter|Pkwy|Cir|Hwy|Cres)"
_UNIT = r"(?:(?:,? (?:Apt|Apartment|Suite|Ste|Unit|Flat|Floor|Fl|Room|Rm)\.? ?#?|,? ?#)\w{1,6})"
_UK_CODE = r"[A-Z]{1,2}\d[A-Z\d]? ?\d[A-Z]{2}"
_TOWN = rf"{_WORD}(?: (?:(?:am|an der|ob der|upon|on|sur|sous|le|la|les|de|del|aan den|aan de) )?{_WORD}){{0,2}}"
_STATE = r"(?:[A-Z]{2}|[A-Z][a-z]+(?: [A-Z][a-z]+)?)"
_AFTER_ENGLISH = (
    rf"(?:{_COMMA}{_TOWN},? {_STATE},? \d{{5}}(?:-\d{{4}})?|{_COMMA}(?:{_TOWN}{_COMMA}){{1,2}}{_UK_CODE}|"
    rf"{_COMMA}{_TOWN},? [A-Z]{{2}},? [A-Z]\d[A-Z] ?\d[A-Z]\d|{_COMMA}{_TOWN},? (?:NSW|VIC|QLD|SA|WA|TAS|ACT|"
    rf"NT),? \d{{4}}|"
    rf",? {_TOWN}, [A-Z]{{2}}\b)"
)
_COMPASS = r"(?:(?:NE|NW|SE|SW|[NSEW])\.?|North|South|East|West|Northeast|Northwest|Southeast|Southwest)"
_EASY_POSTCODE = rf"(?:{_COMMA}(?:[A-Z]{{1,2}}[- ])?(?:\d{{4,5}}|\d{{3}} \d\d) (?:[A-Z]{{2}} )?{_TOWN})"

_ENGLISH = re.compile(
    rf"\d(?<![\w.,:/$€£-]\d)(?<!# \d)\d{{0,4}}[A-Za-z]?(?:[-/]\d{{1,5}})?,? (?:{_COMPASS} )?"
    rf"(?:(?:\d{{1,3}}(?:st|nd|rd|th)|{_WORD}(?: {_WORD}){{0,3}}?) (?:{_FULL}|{_SHORT}\b(?:\.|(?= (?:N|S|E|W|NE|NW|SE|"
    rf"SW|#|Apt|Suite|Unit|Ste|Apartment)\b)|(?=[,;:)\"'!?\n*|<\]}}]|$| [a-z(]|\. )|"
    rf"(?= [A-Z][\w ]{{1,30}},? [A-Z]{{2}}\b)))|Broadway)"
    rf"(?:,? (?:NE|NW|SE|SW|[NSEW])\b\.?)?(?!\w){_UNIT}?(?:,)?{_AFTER_ENGLISH}?"
)
# Any name will do before a British town and postcode.
_BRITISH = re.compile(
    rf"\d(?<![\w.,:/$€£-]\d)\d{{0,3}}[A-Za-z]?,? {_NAMES}{_COMMA}(?:{_TOWN}{_COMMA}){{0,2}}{_UK_CODE}\b"
)
_POST_BOX = re.compile(
    r"(?<!\w)(?:P\.? ?O\.? ?Box|Postfach|Postbus|Apartado(?: de Correos)?|Casella Postale|B\.?P\.?) \d{1,6}\b"
)
_FLAT_BEFORE = r"(?:(?:Flat|Unit|Apartment|Apt|Suite) \w{1,5},? )"
_GERMANIC = re.compile(
    r"(?<!\w)(?:(?:(?:Van|Von|De|Den|Het|Ter|Ten|Prins|Prinses|Koning|Koningin|Burgemeester|Dr\.|Prof\.|Sint|"
    r"St\.)(?: de[rn]?)? )?"
    r"[A-ZÄÖÜ][\wäöüß.]*(?:-[A-ZÄÖÜ][\wäöüß.]*){0,4}(?:straße|strasse|str\.|weg|platz|allee|gasse|damm|ufer|chaussee|"
    r"straat|laan|"
    r"plein|gracht|kade|singel|dijk|gatan|vägen|gade|vej|veien|gata|katu)|"
    r"(?!(?:Der|Die|Das|Den|Dem|Des|Ein|Eine|Einen|Kein|Mein|Dein|Sein|Ihr|Unser|Dieser|Diesen|Jeder|Vom|Beim|Auf) )"
    r"(?:[A-ZÄÖÜ][\wäöüß]+ ){1,2}(?:Straße|Strasse|Str\.|Weg|Platz|Allee|Gasse|Damm|Ufer|Chaussee|Ring|Markt)|"
    r"[A-ZÄÖÜ][\wäöüß-]*-(?:Straße|Strasse|Str\.|Weg|Platz|Allee|Ring|Damm|Ufer)) ?"
    rf"(?<![A-Za-zß]\d)\d{{1,4}}(?: ?[a-zA-Z]\b)?(?:[-/]\d{{1,3}}[a-z]?|-[A-Z]{{1,2}}\b)?(?![\w%]|[.,:]\d| (?:Uhr|"
    rf"Prozent|Euro|Mal|Jahr|Monat|Tag|Stunden|Minuten|Meter|km|m\b)){_EASY_POSTCODE}?"
)
_GERMAN_WITH_POSTCODE = re.compile(
    rf"(?<!\w)(?:(?:Am|An der|An den|An dem|Im|In der|In den|Auf der|Auf dem|Zum|Zur|Unter den|Hinter der|"
    rf"Beim) [A-ZÄÖÜ][\w-]+(?: [A-ZÄÖÜ][\w-]+)?|"
    rf"[A-ZÄÖÜ][\wäöüß-]+(?:ring|markt|hof|berg|pad|steig|stieg|park|graben)) \d{{1,4}} ?[a-z]?,? ?\n?(?:D-|A-|"
    rf"CH-)?\d{{4,5}} (?:[A-Z]{{2}} )?{_TOWN}"
)
_GERMAN_ANY_NAME = re.compile(
    rf"(?<!\w)[A-ZÄÖÜ][\wäöüß-]+(?: [A-ZÄÖÜ][\wäöüß-]+)? \d{{1,4}} ?[a-z]?,\s(?:D-)?\d{{5}} {_TOWN}"
)
_FRENCH = re.compile(
    r"\d(?<![\w.,/$€£-]\d)\d{0,3}(?: ?(?:bis|ter|quater|[A-C]))?,? (?i:rue|avenue|av\.|boulevard|bd\.?|place|chemin|"
    r"allée|impasse|quai|route|"
    rf"cours|passage|square|villa|faubourg|rond-point) {_NAMES}(?:,? \d{{1,3}}e étage)?{_EASY_POSTCODE}?"
)
_NAME_FIRST = re.compile(
    r"(?<!\w)(?:Calle|Gran Vía|C/|Avenida|Avda\.?|Av\.|Plaza|Pza\.?|Paseo|P\.º|Camino|Carrera|Ronda|Travesía|Carrer|"
    r"Via|Viale|Piazza|"
    rf"Corso|Largo|Vicolo|Piazzale|Rua|Travessa|Praça|Alameda|ul\.|al\.|os\.|pl\.|Rue|Strada) ?{_NAMES},? ?"
    rf"(?:n\.? ?[º°.]? ?|núm\.? ?|nº ?|#|No\.? ?)?\d{{1,4}}(?:/\d{{1,4}}|[a-zA-Z]\b)?(?![\w%]|"
    rf"[.,:]\d)(?:, ?\d{{1,2}}[.ºª°]+ ?\w{{0,3}})?"
    rf"(?:{_EASY_POSTCODE}|,? \d{{2}}-\d{{3}} {_TOWN}|,? \d{{4}}-\d{{3}} {_TOWN})?"
)
# What the patterns cost is spent only on texts that hold a word, in lower case, without which they cannot match.
_ENGLISH_WORDS = (
    *(
        "street",
        " st",
        "ave",
        "road",
        " rd",
        "blvd",
        "boulevard",
        "lane",
        " ln",
        "drive",
        " dr",
        "court",
        " ct",
        "place",
    ),
    *(" pl", "square", " sq", "terrace", " ter", " way", "parkway", "pkwy", "circle", " cir", "highway", "hwy", "cres"),
    *("close", "gardens", "grove", "mews", " row", "hill", "quay", "broadway", "trail", "walk", "alley", "loop"),
)
_GERMANIC_WORDS = (
    *("straße", "strasse", "str.", "weg ", "platz ", "allee", "gasse", "damm ", "ufer ", "chaussee", " ring", "markt"),
    *(
        "straat",
        "laan ",
        "plein",
        "gracht",
        "kade ",
        "singel",
        "dijk",
        "gatan",
        "vägen",
        "gade ",
        "vej",
        "veien",
        "gata ",
        "katu ",
    ),
)
_FRENCH_WORDS = (
    *("rue ", "avenue", " av.", "boulevard", " bd", "place", "chemin", "allée", "impasse", "quai", "route", "cours"),
    *("passage", "square", "villa", "faubourg", "rond-point"),
)
_NAME_FIRST_WORDS = (
    *("Calle", "C/", "Gran Vía", "Avenida", "Avda", "Av.", "Plaza", "Pza", "Paseo", "P.º", "Camino", "Carrer", "Ronda"),
    *(
        "Travesía",
        "Via",
        "Piazza",
        "Corso",
        "Largo",
        "Vicolo",
        "Rua ",
        "Travessa",
        "Praça",
        "Alameda",
        "Rue ",
        "Strada",
    ),
    *("ul. ", " al. ", "os. ", "pl. "),
)
_NUMBER_FIRST = re.compile(r"\d[A-Za-z]?,? (?:[A-ZÀ-Þ]|\d{1,3}(?:st|nd|rd|th)\b)")
_POSTCODE_LAST = re.compile(r"\d ?[a-z]?,? ?\n?(?:[A-Z]{1,2}-)?\d{4,5} (?:[A-Z]{2} )?[A-Z]")
_BOX_WORDS = ("box", "postfach", "postbus", "apartado", "casella postale", "b.p.", "bp ")


# Places in a building, a contest or a list, not in a town.
_NOT_A_STREET = re.compile(
    r"(?:Arbeits|Sitz|Park|Stell|Steh|Studien|Ausbildungs|Kita|Lager|Speicher|Rück|Hin|Schul|Fahrt|Lebens)(?:platz|"
    r"weg) ?\d"
)
# "2016 Supreme Court" has the form of an address but for a town after it or a word before it.
_YEAR_ALONE = re.compile(r"(?:1[5-9]|20)\d\d,? [^,\d]*,?")
# Words that end the names of many things that are no streets: "a 24 Hour Drive", "8 Beautiful Gardens to visit".
_WEAK = re.compile(
    r"(?:Way|Close|Gardens|Drive|Place|Court|Hill|Row|Walk|Trail|Loop|Circle|Square|Grove|Crescent|Terrace|Quay|Mews|"
    r"Lane|Alley)$"
)
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

    def holds(words: tuple[str, ...]) -> bool:
        return any(map(lower.__contains__, words))

    if _NUMBER_FIRST.search(text):
        yield _BRITISH
        if holds(_ENGLISH_WORDS):
            yield _ENGLISH
    if holds(_FRENCH_WORDS):
        yield _FRENCH
    if holds(_GERMANIC_WORDS):
        yield _GERMANIC
    if any(map(text.__contains__, _NAME_FIRST_WORDS)):
        yield _NAME_FIRST
    if holds(_BOX_WORDS):
        yield _POST_BOX
    if _POSTCODE_LAST.search(text):
        yield _GERMAN_WITH_POSTCODE
        yield _GERMAN_ANY_NAME


def _looks_otherwise(text: str, match: re.Match[str]) -> bool:
    if _NOT_A_STREET.match(match[0]) or (_FEW.match(match[0]) and _THINGS.match(text, match.end())):
        return True
    before = text[max(0, match.start() - 16) : match.start()]
    if (
        _WEAK.search(match[0])
        and not _AT.search(before)
        and (_COUNTED.search(before) or _WORD_AFTER.match(text, match.end()))
    ):
        return True
    return bool(_YEAR_ALONE.fullmatch(match[0]) and not _AT.search(before))


_MONTHS = (
    r"(?:jan(?:uary|uar|vier|uari|eiro)?|jänner|enero|gennaio|feb(?:ruary|ruar|ruari|rero|braio)?|févr(?:ier)?|"
    r"fevereiro|"
    r"mar(?:ch|s|zo|ço|et)?|märz|maart|apr(?:il|ile)?|avril|abril|may|mai|mei|mayo|maggio|maio|maj|june?|juni|juin|"
    r"junio|giugno|junho|"
    r"july?|juli|juillet|julio|luglio|julho|aug(?:ust|ustus|usti)?|août|agosto|sept?(?:ember|embre|iembre|tembre)?|"
    r"settembre|setembro|"
    r"o[ck]t(?:ober|obre|ubre)?|ottobre|outubro|nov(?:ember|embre|iembre)?|novembro|de[cz](?:ember|iembre|embro)?|"
    r"décembre|dicembre|diciembre|"
    r"stycznia|lutego|marca|kwietnia|maja|czerwca|lipca|sierpnia|września|października|listopada|grudnia)\.?"
)
_DATE = (
    r"(?:(?P<y1>(?:18|19|20)\d\d)[-/. ](?P<m1>\d{1,2})[-/. ](?P<d1>\d{1,2})|"
    r"(?P<a>\d{1,2})(?P<sep>\. ?|[-/ ])(?P<b>\d{1,2})(?P=sep)(?:(?:18|19|20)\d\d|'?\d\d)|"
    rf"{_MONTHS} \d{{1,2}}(?:st|nd|rd|th)?,? (?:18|19|20)\d\d|"
    rf"\d{{1,2}}(?:st|nd|rd|th|er|\.|º)?[ -](?:of |de |di )?{_MONTHS}(?:,? |-)(?:de |del )?(?:(?:18|19|20)\d\d|\d\d)|"
    rf"(?:18|19|20)\d\d[- ]{_MONTHS}[- ]\d{{1,2}})(?!\w|[-/]\d)"
)
_BIRTH = (
    r"(?<![^\W_])(?:born|b\.(?= ?\d)|birth(?:day|date|s)?|b-?day|d\.? ?o\.? ?b\b\.?|geboren\w*|geb\.|geburt\w*|"
    r"née?s?\b|nait\b|naissance|nacid[oa]s?|nació|nacimiento|"
    r"nascid[oa]s?|nasceu|nascimento|nat[oa]\b|nacque|nascita|geboorte\w*|född|fødd?t?|födelse\w*|fødsels\w*|syntynyt|"
    r"syntymä\w*|urodz\w+|ur\.|narozen\w*|"
    r"出生|生年月日)"
)
_BORN = re.compile(rf"{_BIRTH}[^\d\n.!?]{{0,45}}?(?:\bthe )?(?<![\d/.-]){_DATE}", re.I)
_BORN_AFTER = re.compile(rf"(?<![\w/.-])(?P<date>{_DATE})[ ,(:-]{{1,4}}(?:is |was |as |\w+ ){{0,2}}{_BIRTH}", re.I)
_BIRTH_WORDS = (
    *(
        "born",
        "birth",
        "bday",
        "b-day",
        "dob",
        "b. ",
        "d.o.b",
        "d. o. b",
        "geb",
        "née",
        "né ",
        "né(",
        "nés ",
        "nait",
        "naiss",
    ),
    *(
        "nacid",
        "naci",
        "nascid",
        "nasc",
        "nato ",
        "nata ",
        "nacque",
        "föd",
        "fød",
        "synty",
        "urodz",
        " ur.",
        "narozen",
        "出生",
    ),
    "生年月日",
)
_FIRST_DATE = re.compile(_DATE, re.I)


def find_birth_dates(text: str, lower: str) -> Iterator[tuple[int, int]]:
    """Spans of the dates themselves, day, month and year, with the word for birth close before or after."""
    if not any(map(lower.__contains__, _BIRTH_WORDS)):
        return
    for match in _BORN.finditer(text):
        date = next(
            (found for found in _FIRST_DATE.finditer(text, match.start(), match.end()) if found.end() == match.end()),
            None,
        )
        if date and _exists(date):
            yield date.start(), date.end()
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
