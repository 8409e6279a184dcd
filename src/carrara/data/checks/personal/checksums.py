"""Check digits of cards, bank accounts and national numbers. Each function takes the value without separators."""

from __future__ import annotations

import datetime
import string
from collections.abc import Sequence

_IBAN_COUNTRIES = {
    15: "NO",
    16: "BE",
    18: "DK FI FK FO GL NL SD",
    19: "MK SI",
    20: "AT BA EE KZ LT LU MN XK",
    21: "CH HR LI LV",
    22: "BG BH CR DE GB GE IE ME RS VA",
    23: "AE GI IL IQ OM SO TL",
    24: "AD CZ ES MD PK RO SA SE SK TN VG",
    25: "LY PT ST",
    26: "IS TR",
    27: "BI DJ FR GR IT MC MR SM",
    28: "AL AZ BY CY DO GT HU LB NI PL SV",
    29: "BR EG PS QA UA",
    30: "JO KW MU YE",
    31: "MT SC",
    32: "LC",
    33: "RU",
}
IBAN_LENGTHS = {code: length for length, codes in _IBAN_COUNTRIES.items() for code in codes.split()}

_DIHEDRAL = (
    "0123456789",
    "1234067895",
    "2340178956",
    "3401289567",
    "4012395678",
    "5987604321",
    "6598710432",
    "7659821043",
    "8765932104",
    "9876543210",
)
_PERMUTED = (
    "0123456789",
    "1576283094",
    "5803796142",
    "8916043527",
    "9453126870",
    "4286573901",
    "2793806415",
    "7046913258",
)
# Characters in odd positions of a codice fiscale (Decreto ministeriale 23 dicembre 1976); a digit counts as its letter.
_CODICE_ODD = dict(
    zip(
        string.ascii_uppercase,
        (1, 0, 5, 7, 9, 13, 15, 17, 19, 21, 2, 4, 18, 20, 11, 3, 6, 8, 12, 14, 16, 10, 22, 25, 24, 23),
    )
)


def luhn(digits: str) -> bool:
    """ISO/IEC 7812-1: every second digit from the right is doubled."""
    total = sum(int(digit) for digit in digits[-1::-2])
    return (total + sum(sum(divmod(2 * int(digit), 10)) for digit in digits[-2::-2])) % 10 == 0


def iban(value: str) -> bool:
    """ISO 13616: the length of its country, and remainder 1 modulo 97 with letters as 10 to 35."""
    if IBAN_LENGTHS.get(value[:2]) != len(value):
        return False
    return int("".join(str(int(character, 36)) for character in value[4:] + value[:4])) % 97 == 1


def verhoeff(digits: str) -> bool:
    """Verhoeff's code over the dihedral group of order 10 (Aadhaar)."""
    check = 0
    for position, digit in enumerate(reversed(digits)):
        check = int(_DIHEDRAL[check][int(_PERMUTED[position % 8][int(digit)])])
    return check == 0


def weighted(digits: str, weights: Sequence[int]) -> int:
    """The sum of digits times weights; digits beyond the weights do not count."""
    return sum(int(digit) * weight for digit, weight in zip(digits, weights))


def mod_11_10(digits: str) -> bool:
    """ISO 7064 MOD 11,10 (German tax number, Croatian OIB)."""
    product = 10
    for digit in digits[:-1]:
        product = ((int(digit) + product) % 10 or 10) * 2 % 11
    return (11 - product) % 10 == int(digits[-1])


def date(year: str, month: str, day: str) -> bool:
    """Whether such a day exists; a year of two digits may be of either century."""
    years = (int(year),) if len(year) == 4 else (1900 + int(year), 2000 + int(year))
    for candidate in years:
        try:
            datetime.date(candidate, int(month), int(day))
        except ValueError:
            continue
        return True
    return False


def us_ssn(value: str) -> bool:
    """No area 000, 666 or 9xx, no group 00, no serial 0000."""
    return value[:3] not in ("000", "666") and value[0] != "9" and value[3:5] != "00" and value[5:] != "0000"


def uk_nhs(value: str) -> bool:
    return (11 - weighted(value, range(10, 1, -1)) % 11) % 11 == int(value[9])


def german_tax_id(value: str) -> bool:
    """Of the first ten digits one or two are repeated, none more than three times."""
    counts = sorted(value[:10].count(digit) for digit in set(value[:10]))
    return value[0] != "0" and counts[-1] in (2, 3) and len(counts) in (8, 9) and mod_11_10(value)


def german_id_card(value: str) -> bool:
    """The check digit of ICAO 9303: weights 7, 3, 1."""
    numbers = [int(character, 36) for character in value]
    return sum(number * (7, 3, 1)[index % 3] for index, number in enumerate(numbers[:-1])) % 10 == numbers[-1]


def french_nir(value: str) -> bool:
    """The key is 97 less the remainder; Corsica's 2A and 2B count as 19 and 18."""
    return 97 - int(value[:13].replace("2A", "19").replace("2B", "18")) % 97 == int(value[13:])


def spanish_dni(value: str) -> bool:
    digits = value[:-1].translate(str.maketrans("XYZ", "012"))
    return "TRWAGMYFPDXBNJZSQVHLCKE"[int(digits) % 23] == value[-1]


def codice_fiscale(value: str) -> bool:
    letters = [string.ascii_uppercase[int(character)] if character.isdigit() else character for character in value]
    odd = sum(_CODICE_ODD[letter] for letter in letters[0:15:2])
    even = sum(string.ascii_uppercase.index(letter) for letter in letters[1:15:2])
    return string.ascii_uppercase[(odd + even) % 26] == value[-1]


def dutch_bsn(value: str) -> bool:
    return weighted(value, (9, 8, 7, 6, 5, 4, 3, 2, -1)) % 11 == 0 and int(value) > 0


def polish_pesel(value: str) -> bool:
    month = f"{int(value[2:4]) % 20:02}"
    return date(value[:2], month, value[4:6]) and weighted(value, (1, 3, 7, 9, 1, 3, 7, 9, 1, 3, 1)) % 10 == 0


def swedish(value: str) -> bool:
    """Luhn over the last ten digits; 60 is added to the day of a coordination number."""
    short = value[-10:]
    return date(short[:2], short[2:4], f"{int(short[4:6]) % 60:02}") and luhn(short)


def finnish(value: str) -> bool:
    digits = value[:6] + value[-4:-1]
    return date(value[4:6], value[2:4], value[:2]) and "0123456789ABCDEFHJKLMNPRSTUVWXY"[int(digits) % 31] == value[-1]


def danish(value: str) -> bool:
    """Numbers given out since 2007 need not pass this; they are found by context."""
    return danish_date(value) and weighted(value, (4, 3, 2, 7, 6, 5, 4, 3, 2, 1)) % 11 == 0


def danish_date(value: str) -> bool:
    return date(value[4:6], value[2:4], value[:2])


def norwegian(value: str) -> bool:
    first = weighted(value, (3, 7, 6, 1, 8, 9, 4, 5, 2, 1)) % 11
    second = weighted(value, (5, 4, 3, 2, 7, 6, 5, 4, 3, 2, 1)) % 11
    return first == 0 and second == 0 and date(value[4:6], value[2:4], f"{int(value[:2]) % 40:02}")


def belgian(value: str) -> bool:
    """97 less the remainder of nine digits, with a 2 before them for those born from 2000."""
    return int(value[9:]) in (97 - int(value[:9]) % 97, 97 - int("2" + value[:9]) % 97)


def brazilian_cpf(value: str) -> bool:
    first = weighted(value, range(10, 1, -1)) * 10 % 11 % 10
    second = weighted(value, range(11, 1, -1)) * 10 % 11 % 10
    return value[9:] == f"{first}{second}" and len(set(value)) > 1


def swiss_ahv(value: str) -> bool:
    return weighted(value, (1, 3) * 6 + (1,)) % 10 == 0


def austrian(value: str) -> bool:
    return (
        weighted(value, (3, 7, 9, 0, 5, 8, 4, 2, 1, 6)) % 11 == int(value[3])
        and value[0] != "0"
        and 1 <= int(value[4:6]) <= 31
    )


def portuguese_nif(value: str) -> bool:
    check = 11 - weighted(value, range(9, 1, -1)) % 11
    return (0 if check > 9 else check) == int(value[8])


def irish_pps(value: str) -> bool:
    extra = "WABCDEFGHI".index(value[8]) * 9 if len(value) == 9 else 0
    return "WABCDEFGHIJKLMNOPQRSTUV"[(weighted(value[:7], range(8, 1, -1)) + extra) % 23] == value[7]


def czech(value: str) -> bool:
    """Divisible by 11; 50 (or 20, or 70) is added to the month."""
    month = int(value[2:4]) % 50
    month = month - 20 if month > 20 else month
    return len(value) == 10 and int(value) % 11 == 0 and date(value[:2], f"{month:02}", value[4:6])


def romanian(value: str) -> bool:
    check = weighted(value, (2, 7, 9, 1, 4, 6, 3, 5, 8, 2, 7, 9)) % 11
    return (1 if check == 10 else check) == int(value[12]) and date(value[1:3], value[3:5], value[5:7])


def baltic(value: str) -> bool:
    """Estonian and Lithuanian personal codes: a second row of weights where the first gives 10."""
    check = weighted(value, (1, 2, 3, 4, 5, 6, 7, 8, 9, 1)) % 11
    check = weighted(value, (3, 4, 5, 6, 7, 8, 9, 1, 2, 3)) % 11 % 10 if check == 10 else check
    return check == int(value[10]) and date(value[1:3], value[3:5], value[5:7])


def turkish(value: str) -> bool:
    odd, even = (sum(int(digit) for digit in value[start:9:2]) for start in (0, 1))
    return (7 * odd - even) % 10 == int(value[9]) and sum(int(digit) for digit in value[:10]) % 10 == int(value[10])


def chinese(value: str) -> bool:
    weights = [2 ** (17 - index) % 11 for index in range(17)]
    return date(value[6:10], value[10:12], value[12:14]) and "10X98765432"[weighted(value, weights) % 11] == value[17]


def korean(value: str) -> bool:
    """The day only: since October 2020 the last digits are drawn at random."""
    return date(value[:2], value[2:4], value[4:6])


def south_african(value: str) -> bool:
    return date(value[:2], value[2:4], value[4:6]) and luhn(value)


def japanese(value: str) -> bool:
    remainder = weighted(value, (6, 5, 4, 3, 2, 7, 6, 5, 4, 3, 2)) % 11
    return (0 if remainder <= 1 else 11 - remainder) == int(value[11])


def singaporean(value: str) -> bool:
    offset, letters = {
        "S": (0, "JZIHGFEDCBA"),
        "T": (4, "JZIHGFEDCBA"),
        "F": (0, "XWUTRQPNMLK"),
        "G": (4, "XWUTRQPNMLK"),
        "M": (3, "XWUTRQPNJLK"),
    }[value[0]]
    return letters[(weighted(value[1:8], (2, 7, 6, 5, 4, 3, 2)) + offset) % 11] == value[8]


def hong_kong(value: str) -> bool:
    """One or two letters, six digits, and 0 to 9 or A; a missing first letter counts as 36."""
    letters, rest = value[:-7], value[-7:]
    numbers = [36] * (2 - len(letters)) + [int(character, 36) for character in letters + rest]
    return sum(number * weight for number, weight in zip(numbers, range(9, 0, -1))) % 11 == 0


def chilean_rut(value: str) -> bool:
    body = value[:-1][::-1]
    return "0K987654321"[weighted(body, (2, 3, 4, 5, 6, 7) * 2) % 11] == value[-1]


def australian_tfn(value: str) -> bool:
    return weighted(value, (1, 4, 3, 7, 5, 8, 6, 9, 10)) % 11 == 0


def mexican_curp(value: str) -> bool:
    alphabet = "0123456789ABCDEFGHIJKLMNÑOPQRSTUVWXYZ"
    total = sum(alphabet.index(character) * weight for character, weight in zip(value, range(18, 1, -1)))
    return (10 - total % 10) % 10 == int(value[17]) and date(value[4:6], value[6:8], value[8:10])
