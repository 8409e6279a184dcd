"""Forms that the generated corpus does not hold, and what must not be taken for any of them."""

from __future__ import annotations

import itertools
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from carrara.data.checks.personal import find_personal_data


def found(text: str) -> list[tuple[str, str]]:
    return [(finding.type, text[finding.start : finding.end]) for finding in find_personal_data(text, ())]


VALUES = {
    "email": (
        "user＠example.com",
        "jane (at) x.io",
        "jane [at] mail [dot] example [dot] org",
        "J.O'Hara+a@sub.dept.example.ac.uk",
    ),
    "phone": (
        *(
            "1-212-555-0142 x44",
            "+49/176/1234 5678",
            "(123) 456-7890",
            "+1 (555)555-1212",
            "+44(0)1632960001",
            "(+34) 915 55 12 34",
        ),
        *(
            "0043-1-5868888",
            "00 33 1 42 68 53 00",
            "0664/1234567",
            "+852 2345 6789",
            "+４９ 30 １２３４５６７",
            "+ 1 (790) 998-9545",
        ),
    ),
    "iban": ("DE89 3704 0044 0532 0130 00", "mt84malt011000012345mtlcast001s", "GB29-NWBK-6016-1331-9268-19"),
    "card": (
        "4012 8888 8888 1881",
        "3782-822463-10005",
        "6011111111111117",
        "4222222222222220 000"[:0] + "5105105105105100",
    ),
    "national_id": (
        *(
            "AB 12 34 56 C",
            "BOXW310820HNERXN09",
            "12.345.678-5",
            "S1234567D",
            "A123456(3)",
            "710319/2745",
            "756.9217.0769.85",
        ),
        *(
            "11010519491231002X",
            "15108695088",
            "131052-308T",
            "811218-9876",
            "RSSMRA85T10A562S",
            "2 55 08 14 168 025 38",
            "X1234567L",
        ),
    ),
    "ip": ("203.0.113.7", "2001:db8::ff00:42:8329", "2001:4860:4860:0:0:0:0:8888"),
    "address": (
        *(
            "221B Baker Street",
            "Goethestr. 12, 80336 München",
            "ul. Długa 5/7, 00-238 Warszawa",
            "al. Jerozolimskie 100",
            "Kaiser-Wilhelm-Ring 5",
            "Lindenweg3",
            "B.P 120",
            "Bahnhofstr. 3\n8001 Zürich",
        ),
        *(
            "15 Rue des Fleurs\n69002 Lyon",
            "Carrer de Balmes 114, 08008 Barcelona",
            "1600 Pennsylvania Ave NW, Washington, DC 20500",
        ),
    ),
    "api_key": ("AKIAIOSFODNN7EXAMPLE", "glpat-" + "a1B2" * 5),
    "url_credentials": (
        "postgresql://u:p%40ss@h",
        "redis://:s3cret@cache:6379",
        "https://tok3n:x-oauth-basic@github.com",
    ),
}


@pytest.mark.parametrize(("kind", "value"), [(kind, value) for kind, values in VALUES.items() for value in values])
@pytest.mark.parametrize("frame", ["{}", "Note: {}.", "({})", '"{}"', "first\n{}\nlast", "| {} |", "{}, thanks"])
def test_a_value_is_found_whole(kind: str, value: str, frame: str) -> None:
    assert found(frame.replace("{}", value)) == [(kind, value)]


@pytest.mark.parametrize(
    ("text", "kind", "value"),
    [
        ("Ph: 555-1234 today", "phone", "555-1234"),
        ("ring me on 01632 960 001", "phone", "01632 960 001"),
        ("Mobil 0664 1234567", "phone", "0664 1234567"),
        ("ssn 078 05 1120", "national_id", "078 05 1120"),
        ("NHS no. 943 476 5919", "national_id", "943 476 5919"),
        ("Steuer-ID 86095742719", "national_id", "86095742719"),
        ("TFN 123 456 782", "national_id", "123 456 782"),
        ("maestro 6759649826438453", "card", "6759649826438453"),
        ("her birthday is on the 4th of July 1976", "birth_date", "4th of July 1976"),
        ("nato a Roma il 3 maggio 1980", "birth_date", "3 maggio 1980"),
        ("född 1970-02-03", "birth_date", "1970-02-03"),
        ("geb. 3.4.71", "birth_date", "3.4.71"),
        ("Jan Nowak (ur. 3.4.1980)", "birth_date", "3.4.1980"),
        ("Jane Roe, b. 3 May 1980", "birth_date", "3 May 1980"),
        ("the password is correct-horse-7-battery", "api_key", "correct-horse-7-battery"),
        ("pwd = 'Tr0ub4dor&3'", "api_key", "Tr0ub4dor&3"),
        ("Authorization: Basic dXNlcjpwYXNzd29yZDEyMw==", "token", "dXNlcjpwYXNzd29yZDEyMw=="),
        ('{"text": "one\\nbob@x.com"}', "email", "bob@x.com"),
        ("[write](mailto:bob@x.com)", "email", "bob@x.com"),
    ],
)
def test_a_value_is_found_by_what_stands_beside_it(text: str, kind: str, value: str) -> None:
    assert found(text) == [(kind, value)]


@pytest.mark.parametrize(
    "text",
    [
        *("1000-200-400=400", "He had 500-120-1000 left", "from 2010-2015", "call on 12-05-2024", "ISBN 0-306-40615-2"),
        *(
            "icon@2x.png",
            "git@github.com:o/r.git",
            "pip install a==1.22.33.44",
            "v1.22.33.44",
            "192.168.1.17",
            "::1",
            "ab::cd",
        ),
        *(
            "4111 1111 1111 1112",
            "DE89 3704 0044 0532 0130 01",
            "dog is 10 years old then in his first year",
            "Order 943 476 5919",
        ),
        *(
            "a 2016 Supreme Court case",
            "On June 26 , 2007 Stone sang",
            "3 Wall Street banks",
            "born in 1975",
            "12345678A is part 4",
        ),
        *(
            "api_key = os.environ['KEY']",
            "password: ********",
            "max_tokens: 4096",
            "550e8400-e29b-41d4-a716-446655440000",
        ),
        *("<EMAIL_1> and <PHONE_2> 5551234", "eyJhbGciOi.notjson.atall", "-----BEGIN PUBLIC KEY-----"),
    ],
)
def test_what_looks_alike_is_left_alone(text: str) -> None:
    assert found(text) == []


def test_of_two_that_overlap_the_longer_is_kept() -> None:
    text = "https://bob:s3cret@example.com/x bob@example.com"
    assert [kind for kind, _ in found(text)] == ["url_credentials", "email"]


def test_a_private_key_without_its_end_is_found_to_where_it_breaks_off() -> None:
    assert found("-----BEGIN EC PRIVATE KEY-----\nMIIEabc123\n") == [
        ("private_key", "-----BEGIN EC PRIVATE KEY-----\nMIIEabc123\n")
    ]


@pytest.mark.parametrize(
    "unit",
    [
        "0",
        "a@",
        "1-",
        "(((",
        " ",
        "a.",
        "+1 ",
        "A1",
        "12 Main ",
        "-----BEGIN PRIVATE KEY-----",
        "::",
        "a://b:",
        "born ",
        "born_",
        "é1\n",
        "\\n",
        "<EMAIL_1>",
        "eyJ",
        "Straße ",
        "password is ",
    ],
)
def test_time_is_linear_in_the_length(unit: str) -> None:
    def seconds(length: int) -> float:
        text = unit * (length // len(unit)) + "@"
        start = time.process_time()
        find_personal_data(text, ())
        return time.process_time() - start

    seconds(1_000)
    assert seconds(80_000) < 16 * seconds(20_000) + 0.05


@given(st.text(alphabet=st.sampled_from("a1@.-+ /:()<>_\\n0987DE\u0661\uff11é\0\n'\""), max_size=120))
@settings(max_examples=300, deadline=None)
def test_findings_are_in_order_and_apart(text: str) -> None:
    findings = find_personal_data(text, ())
    assert all(0 <= finding.start < finding.end <= len(text) for finding in findings)
    assert all(one.end <= other.start for one, other in itertools.pairwise(findings))
