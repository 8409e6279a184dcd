"""National identity, tax, health and social security numbers: the form of each, its checksum, and when it needs words.

A number is taken without words beside it only where its form and checksum together are rare by chance (a date and a
check digit within one number, letters, a fixed prefix); plain runs of digits need their name nearby.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass

from carrara.data.checks.personal import checksums

_SEPARATORS = str.maketrans("", "", " .-/+()")


@dataclass(frozen=True)
class NationalNumber:
    """One country's number. `words` is a pattern that must be found nearby; None where the form speaks for itself."""

    pattern: re.Pattern[str]
    check: Callable[[str], bool]
    words: re.Pattern[str] | None

    def accepts(self, value: str) -> bool:
        return self.check(value.translate(_SEPARATORS).upper())


def _any(value: str) -> bool:
    return True


def _number(form: str, check: Callable[[str], bool], words: str = "") -> NationalNumber:
    pattern = re.compile(rf"(?<![\w.+])(?<!\d[-/])(?:{form})(?!\w|[-./]\d| ?[=×÷%$€£]| dollars| euros)")
    return NationalNumber(pattern, check, re.compile(rf"(?<![^\W\d_])(?:{words})", re.I) if words else None)


_DAY = r"(?:0[1-9]|[12]\d|3[01])"
_MONTH = r"(?:0[1-9]|1[0-2])"

NATIONAL_NUMBERS = (
    # United States: social security number
    _number(r"\d{3}-\d{2}-\d{4}", checksums.us_ssn),
    _number(r"\d{3}[ .]?\d{2}[ .]?\d{4}", checksums.us_ssn, r"ssn|social sec|soc\.? sec"),
    # United States: individual taxpayer number
    _number(r"9\d{2}[- ]?(?:5\d|6[0-5]|[78]\d|9[0-24-9])[- ]?\d{4}", _any, r"itin|taxpayer|tax id"),
    # United Kingdom: national insurance number
    _number(r"(?!BG|GB|KN|NK|NT|TN|ZZ)[A-CEGHJ-PR-TW-Z][A-CEGHJ-NPR-TW-Z] ?\d{2} ?\d{2} ?\d{2} ?[A-D]", _any),
    _number(r"(?i:[a-z]{2})[ -]?\d{2}[ -]?\d{2}[ -]?\d{2}[ -]?(?i:[a-d])", _any, r"nino\b|national insurance|ni n"),
    # United Kingdom: health service number
    _number(r"\d{3}[ -]?\d{3}[ -]?\d{4}", checksums.uk_nhs, r"nhs|patient|health service"),
    # Germany: tax number
    _number(r"[1-9]\d \d{3} \d{3} \d{3}", checksums.german_tax_id),
    _number(
        r"[1-9]\d[ /]?\d{3}[ /]?\d{3}[ /]?\d{3}",
        checksums.german_tax_id,
        r"steuer|id-?nr|tin\b|tax|st\.?-?id|identifikationsn",
    ),
    # Germany: identity card
    _number(r"[CFGHJKLMNPRTVWXYZ0-9]{9}\d", checksums.german_id_card, r"ausweis|reisepass|pass-?n|id card"),
    # Germany: pension insurance number
    _number(rf"\d{{2}} ?{_DAY}{_MONTH}\d{{2}} ?[A-Z] ?\d{{3}}", _any),
    # France: NIR
    _number(
        r"[12][ .-]?\d{2}[ .-]?(?:0[1-9]|1[0-2]|[2-9]\d)[ .-]?(?:\d{2}|2[AB])[ .-]?\d{3}[ .-]?\d{3}[ .-]?\d{2}",
        checksums.french_nir,
    ),
    # Spain: DNI and NIE
    _number(r"\d{2}\.?\d{3}\.?\d{3}[- ]?[A-HJ-NP-TV-Z]|[XYZ][- ]?\d{7}[- ]?[A-HJ-NP-TV-Z]", checksums.spanish_dni),
    _number(
        r"(?i:\d{8}[- ]?[a-hj-np-tv-z]|[xyz][- ]?\d{7}[- ]?[a-hj-np-tv-z])", checksums.spanish_dni, r"dni|nie\b|nif"
    ),
    # Italy: codice fiscale
    _number(
        r"(?i:[a-z]{3} ?[a-z]{3} ?[\dlmnp-v]{2}[abcdehlmprst][\dlmnp-v]{2} ?[a-z][\dlmnp-v]{3}[a-z])",
        checksums.codice_fiscale,
    ),
    # Netherlands: BSN
    _number(r"\d{4}[ .]?\d{2}[ .]?\d{3}|\d{3}[ .]\d{3}[ .]\d{3}", checksums.dutch_bsn, r"bsn|burgerservice|sofi"),
    # Poland: PESEL
    _number(r"\d{11}", checksums.polish_pesel, r"pesel"),
    # Sweden: personnummer
    _number(r"(?:19|20)?\d{2}(?:0\d|1[0-2])\d{2}[-+]\d{4}", checksums.swedish),
    _number(r"(?:19|20)?\d{10}", checksums.swedish, r"person ?num|personnr|samordning|swedish"),
    # Finland: henkilötunnus
    _number(r"(?i:[0-3]\d[01]\d{3}[-+a-fu-y]\d{3}[0-9a-y])", checksums.finnish),
    # Denmark: CPR number
    _number(rf"{_DAY}{_MONTH}\d{{2}}-\d{{4}}", checksums.danish),
    _number(rf"{_DAY}{_MONTH}\d{{2}}[- ]?\d{{4}}", checksums.danish_date, r"cpr|person ?num|danish"),
    # Norway: fødselsnummer
    _number(r"[0-7]\d[01]\d{3} ?\d{5}", checksums.norwegian),
    # Belgium: national register number
    _number(r"\d{2}\.\d{2}\.\d{2}-\d{3}[.-]\d{2}", checksums.belgian),
    _number(
        r"\d{2}[ .]?\d{2}[ .]?\d{2}[- ]?\d{3}[- .]?\d{2}",
        checksums.belgian,
        r"rijksreg|registre nat|insz|niss|nrn|belgi",
    ),
    # Brazil: CPF
    _number(r"\d{3}\.\d{3}\.\d{3}-\d{2}", checksums.brazilian_cpf),
    _number(r"\d{3}[ .]?\d{3}[ .]?\d{3}[- ]?\d{2}", checksums.brazilian_cpf, r"cpf"),
    # India: Aadhaar
    _number(r"[2-9]\d{3}[ -]?\d{4}[ -]?\d{4}", checksums.verhoeff, r"aadha?ar|uidai|uid\b"),
    # India: PAN
    _number(r"[A-Z]{3}[PCHFATBLJG][A-Z]\d{4}[A-Z]", _any, r"pan\b|permanent account|income tax"),
    # Canada: SIN
    _number(r"\d{3}[ -]?\d{3}[ -]?\d{3}", checksums.luhn, r"sin\b|social ins|nas\b|assurance soc"),
    # Switzerland: AHV number
    _number(r"756[. ]?\d{4}[. ]?\d{4}[. ]?\d{2}", checksums.swiss_ahv),
    # Austria: social insurance number
    _number(
        rf"[1-9]\d{{3}}[ -/]?{_DAY}(?:0[1-9]|1[0-5])\d{{2}}", checksums.austrian, r"sv-?n|svnr|sozialvers|vers.{0,12}n"
    ),
    # Portugal: NIF
    _number(r"[1-35689]\d{2}[ .]?\d{3}[ .]?\d{3}", checksums.portuguese_nif, r"nif\b|contribuinte|nipc"),
    # Ireland: PPS number
    _number(r"\d{7}[A-W][A-IW]?", checksums.irish_pps, r"pps|irish|revenue"),
    # Czechia: rodné číslo
    _number(r"\d{2}[0-35-8]\d[0-3]\d/\d{4}", checksums.czech),
    # Romania: CNP
    _number(rf"[1-8]\d{{2}}{_MONTH}{_DAY}\d{{6}}", checksums.romanian, r"cnp|cod numeric|romanian"),
    # Croatia: OIB
    _number(r"\d{11}", checksums.mod_11_10, r"oib"),
    # Estonia and Lithuania: personal code
    _number(rf"[1-6]\d{{2}}{_MONTH}{_DAY}\d{{4}}", checksums.baltic, r"isikukood|asmens kod|personal code"),
    # Turkey: kimlik
    _number(r"[1-9]\d{10}", checksums.turkish, r"tckn|kimlik|t\.?c\.? "),
    # China: resident identity card
    _number(rf"[1-9]\d{{5}}(?:19|20)\d{{2}}{_MONTH}{_DAY}\d{{3}}[\dXx]", checksums.chinese),
    # South Korea: resident registration number
    _number(rf"\d{{2}}{_MONTH}{_DAY}-[1-8]\d{{6}}", checksums.korean),
    # South Africa: identity number
    _number(
        rf"\d{{2}}{_MONTH}{_DAY} ?\d{{4}} ?[012]\d{{2}}", checksums.south_african, r"id n|identity|south afr|sa id"
    ),
    # Japan: My Number
    _number(r"\d{4}[ -]?\d{4}[ -]?\d{4}", checksums.japanese, r"my ?number|マイナンバー|個人番号|kojin"),
    # Singapore: NRIC
    _number(r"[STFGM]\d{7}[A-Z]", checksums.singaporean),
    # Hong Kong: identity card
    _number(r"[A-Z]{1,2}\d{6}\([\dA]\)", checksums.hong_kong),
    # Chile: RUT
    _number(r"\d{1,2}\.\d{3}\.\d{3}-[\dkK]", checksums.chilean_rut),
    # Australia: tax file number
    _number(r"\d{3}[ -]?\d{3}[ -]?\d{3}", checksums.australian_tfn, r"tfn|tax file"),
    # Mexico: CURP
    _number(r"[A-Z][AEIOUX][A-Z]{2}\d{6}[HMX][A-Z]{2}[B-DF-HJ-NP-TV-ZÑ]{3}[A-Z\d]\d", checksums.mexican_curp),
)
