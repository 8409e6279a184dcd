"""Bank accounts, cards and national numbers with check digits, made by formulas that are not the detectors' own."""

from __future__ import annotations

import random
import string

from tests.data.checks.personal.identities import GENERAL, digits, fill

_IBAN_FORMS = {
    **{
        "DE": "##################",
        "GB": "AAAA##############",
        "FR": "#######################",
        "NL": "AAAA##########",
        "MT": "AAAA#####AAAA##############",
    },
    **{
        "ES": "####################",
        "IT": "A######################",
        "CH": "#################",
        "PL": "########################",
        "NO": "###########",
    },
    **{
        "BE": "############",
        "SE": "####################",
        "AT": "################",
        "IE": "AAAA##############",
        "PT": "#####################",
    },
    **{
        "AE": "###################",
        "SA": "####################",
        "TR": "######################",
        "LU": "################",
        "BR": "#######################A#",
    },
}


def iban(rng: random.Random) -> tuple[str, tuple[str, ...]]:
    country = rng.choice(sorted(_IBAN_FORMS))
    body = fill(rng, _IBAN_FORMS[country])
    number = "".join(str(ord(c) - 55) if c.isalpha() else c for c in body + country + "00")
    value = f"{country}{98 - int(number) % 97:02}{body}"
    form = rng.random()
    if form < 0.45:
        value = " ".join(value[i : i + 4] for i in range(0, len(value), 4))
    elif form < 0.55:
        value = "-".join(value[i : i + 4] for i in range(0, len(value), 4))
    elif form < 0.65:
        value = value.lower()
    frames = (
        *GENERAL,
        "IBAN: {}",
        "Bitte überweisen Sie auf {} bei der Bank.",
        "account {} BIC ABCDDEFFXXX",
        "pay into {} by Friday",
        "to IBAN {}",
        "IBAN:{}",
        "bank details: {} (Jane Roe)",
    )
    return value, frames


def luhn_digit(body: str) -> str:
    doubled = [sum(divmod(int(d) * (2 if i % 2 == 0 else 1), 10)) for i, d in enumerate(reversed(body))]
    return str(-sum(doubled) % 10)


def card(rng: random.Random) -> tuple[str, tuple[str, ...]]:
    prefix, length = rng.choice(
        (
            ("4", 16),
            ("51", 16),
            ("55", 16),
            ("2221", 16),
            ("2720", 16),
            ("34", 15),
            ("37", 15),
            ("6011", 16),
            ("65", 16),
            ("36", 14),
            ("3530", 16),
            ("62", 16),
            ("4", 16),
        )
    )
    body = prefix + digits(rng, length - len(prefix) - 1)
    value = body + luhn_digit(body)
    groups = {16: (4, 8, 12), 15: (4, 10), 14: (4, 10)}[length]
    separator = rng.choice(("", " ", "-", " "))
    for place in reversed(groups):
        value = value[:place] + separator + value[place:]
    frames = (
        *GENERAL,
        "card number {}",
        "My Visa is {}, exp 12/29.",
        "Paid with {} yesterday.",
        "Kreditkarte: {}",
        "Tarjeta {}",
        "charge {} please",
        "CC {} CVV 123",
        "card#{}",
        "visa:{}",
        "Amex/Visa no. {} (Jane Roe)",
    )
    return value, frames


def _weights(value: str, weights: tuple[int, ...]) -> int:
    return sum(int(digit) * weight for digit, weight in zip(value, weights, strict=True))


def _birthday(rng: random.Random) -> tuple[str, str, str]:
    return f"{rng.randint(30, 99)}", f"{rng.randint(1, 12):02}", f"{rng.randint(1, 28):02}"


def _ssn(rng: random.Random) -> str:
    return f"{rng.choice((*range(1, 666), *range(667, 900))):03}-{rng.randint(1, 99):02}-{rng.randint(1, 9999):04}"


def _nhs(rng: random.Random) -> str:
    while True:
        body = fill(rng, "Z########")
        check = 11 - _weights(body, (10, 9, 8, 7, 6, 5, 4, 3, 2)) % 11
        if check != 10:
            value = body + str(check % 11)
            return rng.choice((value, f"{value[:3]} {value[3:6]} {value[6:]}"))


def _german_tax(rng: random.Random) -> str:
    order = rng.sample(string.digits, 9)
    body = [*order, order[0]] if order[0] != "0" else [*order[1:], order[1], "0"]
    if rng.random() < 0.5 and body[0] != "0":
        body = [body[0], *rng.sample(body[1:], 9)]
    check = 10
    for digit in body:
        total = (int(digit) + check) % 10
        check = 2 * (total if total else 10) % 11
    value = "".join(body) + str((11 - check) % 10)
    return rng.choice((value, f"{value[:2]} {value[2:5]} {value[5:8]} {value[8:]}"))


def _nir(rng: random.Random) -> str:
    year, month, _ = _birthday(rng)
    body = f"{rng.choice('12')}{year}{month}{rng.randint(1, 95):02}{digits(rng, 6)}"
    key = f"{97 - int(body) % 97:02}"
    return rng.choice((body + key, f"{body[0]} {year} {month} {body[5:7]} {body[7:10]} {body[10:]} {key}"))


def _dni(rng: random.Random) -> str:
    if rng.random() < 0.3:
        letter, body = rng.choice("XYZ"), digits(rng, 7)
        return f"{letter}{body}" + "TRWAGMYFPDXBNJZSQVHLCKE"[int(str("XYZ".index(letter)) + body) % 23]
    body = digits(rng, 8)
    return body + rng.choice(("", "-")) + "TRWAGMYFPDXBNJZSQVHLCKE"[int(body) % 23]


def _codice(rng: random.Random) -> str:
    odd = {
        **dict(zip("0123456789", (1, 0, 5, 7, 9, 13, 15, 17, 19, 21))),
        **dict(zip("ABCDEFGHIJ", (1, 0, 5, 7, 9, 13, 15, 17, 19, 21))),
    }
    odd |= dict(zip("KLMNOPQRSTUVWXYZ", (2, 4, 18, 20, 11, 3, 6, 8, 12, 14, 16, 10, 22, 25, 24, 23)))
    body = (
        fill(rng, "AAAAAA##")
        + rng.choice("ABCDEHLMPRST")
        + f"{rng.choice((0, 40)) + rng.randint(1, 28):02}"
        + fill(rng, "A###")
    )
    total = sum(odd[c] if i % 2 == 0 else (int(c) if c.isdigit() else ord(c) - 65) for i, c in enumerate(body))
    return body + chr(65 + total % 26)


def _bsn(rng: random.Random) -> str:
    while True:
        body = fill(rng, "Z#######")
        check = _weights(body, (9, 8, 7, 6, 5, 4, 3, 2)) % 11
        if check < 10:
            return body + str(check)


def _pesel(rng: random.Random) -> str:
    body = "".join(_birthday(rng)) + digits(rng, 4)
    return body + str(-_weights(body, (1, 3, 7, 9, 1, 3, 7, 9, 1, 3)) % 10)


def _personnummer(rng: random.Random) -> str:
    day, serial = "".join(_birthday(rng)), digits(rng, 3)
    return rng.choice(("", "19")) + f"{day}-{serial}{luhn_digit(day + serial)}"


def _hetu(rng: random.Random) -> str:
    year, month, day = _birthday(rng)
    serial = f"{rng.randint(2, 899):03}"
    return f"{day}{month}{year}-{serial}" + "0123456789ABCDEFHJKLMNPRSTUVWXY"[int(day + month + year + serial) % 31]


def _cpr(rng: random.Random) -> str:
    year, month, day = _birthday(rng)
    return f"{day}{month}{year}-{digits(rng, 4)}"


def _nrn(rng: random.Random) -> str:
    year, month, day = _birthday(rng)
    serial = f"{rng.randint(1, 997):03}"
    return f"{year}.{month}.{day}-{serial}.{97 - int(year + month + day + serial) % 97:02}"


def _cpf(rng: random.Random) -> str:
    value = digits(rng, 9)
    for _ in range(2):
        total = sum(int(d) * w for d, w in zip(reversed(value), range(2, 12)))
        value += str(0 if total % 11 < 2 else 11 - total % 11)
    return f"{value[:3]}.{value[3:6]}.{value[6:9]}-{value[9:]}"


def _aadhaar(rng: random.Random) -> str:
    def times(a: int, b: int) -> int:
        if a < 5:
            return (a + b) % 5 if b < 5 else (a + b) % 5 + 5
        return (a - b) % 5 + 5 if b < 5 else (a - b) % 5

    permutation = (1, 5, 7, 6, 2, 8, 3, 0, 9, 4)
    body = fill(rng, "N##########")
    for check in string.digits:
        state = 0
        for place, character in enumerate(reversed(body + check)):
            digit = int(character)
            for _ in range(place % 8):
                digit = permutation[digit]
            state = times(state, digit)
        if state == 0:
            value = body + check
            return rng.choice((value, f"{value[:4]} {value[4:8]} {value[8:]}"))
    raise AssertionError


def _sin(rng: random.Random) -> str:
    body = fill(rng, "Z#######")
    value = body + luhn_digit(body)
    return f"{value[:3]}{(mark := rng.choice(('-', ' ')))}{value[3:6]}{mark}{value[6:]}"


def _ahv(rng: random.Random) -> str:
    body = "756" + digits(rng, 9)
    value = body + str(-_weights(body, (1, 3) * 6) % 10)
    return f"756.{value[3:7]}.{value[7:11]}.{value[11:]}"


def _nino(rng: random.Random) -> str:
    value = rng.choice(("AB", "CE", "JG", "PX", "SA", "YZ", "NP")) + digits(rng, 6) + rng.choice("ABCD")
    return rng.choice((value, f"{value[:2]} {value[2:4]} {value[4:6]} {value[6:8]} {value[8]}"))


def _chinese(rng: random.Random) -> str:
    year, month, day = _birthday(rng)
    body = fill(rng, "Z#####") + "19" + year + month + day + digits(rng, 3)
    total = _weights(body, (7, 9, 10, 5, 8, 4, 2, 1, 6, 3, 7, 9, 10, 5, 8, 4, 2))
    return body + "10X98765432"[total % 11]


def _norwegian(rng: random.Random) -> str:
    while True:
        year, month, day = _birthday(rng)
        body = day + month + year + digits(rng, 3)
        first = -_weights(body, (3, 7, 6, 1, 8, 9, 4, 5, 2)) % 11
        second = -_weights(body + str(first % 10), (5, 4, 3, 2, 7, 6, 5, 4, 3, 2)) % 11
        if first < 10 and second < 10:
            return f"{body}{first}{second}"


def _turkish(rng: random.Random) -> str:
    body = fill(rng, "Z########")
    tenth = (_weights(body, (7, -1, 7, -1, 7, -1, 7, -1, 7))) % 10
    return f"{body}{tenth}{(sum(map(int, body)) + tenth) % 10}"


def _portuguese(rng: random.Random) -> str:
    body = rng.choice("12") + digits(rng, 7)
    rest = _weights(body, (9, 8, 7, 6, 5, 4, 3, 2)) % 11
    return body + str(0 if rest < 2 else 11 - rest)


def _rut(rng: random.Random) -> str:
    body = fill(rng, "Z#######")
    check = -_weights(body, (3, 2, 7, 6, 5, 4, 3, 2)) % 11
    return f"{body[:2]}.{body[2:5]}.{body[5:]}-{'K' if check == 10 else check}"


def _south_african(rng: random.Random) -> str:
    body = "".join(_birthday(rng)) + digits(rng, 4) + "08"
    return body + luhn_digit(body)


_NATIONAL = (
    (_ssn, (*GENERAL, "SSN: {}", "Her social security number is {}.")),
    (_nino, (*GENERAL, "NI number {}", "National Insurance: {}")),
    (_nhs, ("NHS number: {}", "The patient's NHS No. is {}.", "NHS {}")),
    (_german_tax, ("Steuer-ID: {}", "Meine Steueridentifikationsnummer lautet {}.", "IdNr. {}")),
    (_nir, (*GENERAL, "Numéro de sécurité sociale : {}")),
    (_dni, (*GENERAL, "DNI {}", "Con NIF {} y domicilio en Madrid")),
    (_codice, (*GENERAL, "Codice fiscale: {}")),
    (_bsn, ("BSN: {}", "Mijn burgerservicenummer is {}.")),
    (_pesel, ("PESEL: {}", "Numer PESEL {}.")),
    (_personnummer, (*GENERAL, "Personnummer {}")),
    (_hetu, (*GENERAL, "Henkilötunnus: {}")),
    (_cpr, ("CPR-nr. {}", "Hendes CPR nummer er {}.")),
    (_nrn, (*GENERAL, "Rijksregisternummer {}")),
    (_cpf, (*GENERAL, "CPF: {}")),
    (_aadhaar, ("Aadhaar number {}", "My Aadhaar is {}.")),
    (_sin, ("SIN: {}", "Social Insurance Number {}")),
    (_ahv, (*GENERAL, "AHV-Nr. {}")),
    (_chinese, (*GENERAL, "ID card {}")),
    (_norwegian, (*GENERAL, "Fødselsnummer {}")),
    (_turkish, ("TC Kimlik No: {}", "TCKN {}")),
    (_portuguese, ("NIF: {}", "Contribuinte n.º {}")),
    (_rut, (*GENERAL, "RUT {}")),
    (_south_african, ("SA ID {}", "Identity number: {}", "South African ID number {}")),
)


def national_id(rng: random.Random) -> tuple[str, tuple[str, ...]]:
    maker, frames = rng.choice(_NATIONAL)
    return maker(rng), frames
