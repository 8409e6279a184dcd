"""Published examples of each number, and that a changed digit is noticed."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from carrara.data.checks.personal import checksums as c

EXAMPLES: list[tuple[Callable[[str], bool], str]] = [
    (c.luhn, "4111111111111111"),
    (c.iban, "DE89370400440532013000"),
    (c.iban, "MT84MALT011000012345MTLCAST001S"),
    (c.verhoeff, "2363"),
    (c.uk_nhs, "9434765919"),
    (c.german_tax_id, "86095742719"),
    (c.german_id_card, "L01X00T471"),
    (c.french_nir, "255081416802538"),
    (c.spanish_dni, "12345678Z"),
    (c.spanish_dni, "X1234567L"),
    (c.codice_fiscale, "RSSMRA85T10A562S"),
    (c.dutch_bsn, "111222333"),
    (c.polish_pesel, "44051401359"),
    (c.swedish, "8112189876"),
    (c.finnish, "131052308T"),
    (c.danish, "2110625629"),
    (c.norwegian, "15108695088"),
    (c.belgian, "85073003328"),
    (c.brazilian_cpf, "52998224725"),
    (c.swiss_ahv, "7569217076985"),
    (c.austrian, "1237010180"),
    (c.portuguese_nif, "123456789"),
    (c.irish_pps, "1234567T"),
    (c.irish_pps, "1234567FA"),
    (c.czech, "7103192745"),
    (c.romanian, "1800101221144"),
    (c.baltic, "37605030299"),
    (c.turkish, "10000000146"),
    (c.chinese, "11010519491231002X"),
    (c.south_african, "8001015009087"),
    (c.japanese, "123456789018"),
    (c.singaporean, "S1234567D"),
    (c.hong_kong, "A1234563"),
    (c.chilean_rut, "123456785"),
    (c.australian_tfn, "123456782"),
    (c.mexican_curp, "BOXW310820HNERXN09"),
    (c.mod_11_10, "94577403194"),
]


@pytest.mark.parametrize(("check", "value"), EXAMPLES)
def test_a_published_example_passes_and_a_changed_last_digit_does_not(check: Callable[[str], bool], value: str) -> None:
    assert check(value)
    last_digit = max(index for index, character in enumerate(value) if character.isdigit())
    others = [
        value[:last_digit] + digit + value[last_digit + 1 :] for digit in "0123456789" if digit != value[last_digit]
    ]
    assert sum(map(check, others)) <= 1
