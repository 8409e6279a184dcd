"""Hard negatives: numbers and strings that look like personal data or secrets and are none."""

from __future__ import annotations

import hashlib
import random
import string
import uuid
from collections.abc import Callable

from tests.data.checks.personal.identities import digits, fill
from tests.data.checks.personal.numbers import luhn_digit

_OTHER_DIGIT = str.maketrans("0123456789", "1234567890")


def _order(rng: random.Random) -> str:
    number = fill(
        rng,
        rng.choice(
            (
                "Z#######",
                "Z#########",
                "###-#######-#######",
                "Z###-####-##",
                "2024-######",
                "SO-####-####",
                "Z##############",
                "####-####",
                "0########",
            )
        ),
    )
    return rng.choice(
        (
            "Order {} has shipped.",
            "order number {}",
            "Invoice no. {}",
            "Bestellnummer: {}",
            "Your ticket #{} was closed.",
            "tracking number {}",
            "Ref. {}",
            '{"order_id": "{}"}',
        )
    ).replace("{}", number)


def _version(rng: random.Random) -> str:
    parts = [str(rng.randint(0, 12)), str(rng.randint(0, 40)), str(rng.randint(0, 200)), str(rng.randint(0, 250))]
    return rng.choice(
        (
            "Upgrade to version {}.",
            "v{}",
            "numpy=={}",
            "Firmware {} is out.",
            "release {} fixes it",
            "driver version: {}",
            "Chrome/{}",
            "lib-{}.tar.gz",
            "see section {}",
            "build {}",
        )
    ).replace("{}", ".".join(parts))


def _hash(rng: random.Random) -> str:
    name = rng.choice(("md5", "sha1", "sha256", "sha512"))
    value = hashlib.new(name, rng.randbytes(8)).hexdigest()
    return (
        rng.choice(
            (
                "{name}: {}",
                "commit {}",
                "{}  file.tar.gz",
                "checksum {}",
                "fixed in {}",
                '"digest": "{name}:{}"',
                "ETag {}",
            )
        )
        .replace("{name}", name)
        .replace("{}", value)
    )


def _uuid(rng: random.Random) -> str:
    value = str(uuid.UUID(int=rng.getrandbits(128), version=4))
    return rng.choice(("{}", "request id {}", '{"id": "{}"}', "/items/{}/edit", "trace={} done", "UUID {}.")).replace(
        "{}", rng.choice((value, value.upper()))
    )


def _book(rng: random.Random) -> str:
    body = "978" + digits(rng, 9)
    check = str(-sum(int(d) * (1, 3)[i % 2] for i, d in enumerate(body)) % 10)
    return rng.choice(("ISBN {}", "ISBN-13: {}.", "isbn={}")).replace(
        "{}",
        rng.choice(
            (
                body + check,
                f"978-{body[3]}-{body[4:8]}-{body[8:]}-{check}",
                f"{rng.randint(0, 9)}-{body[3:6]}-{body[6:11]}-{rng.choice('0123456789X')}",
            )
        ),
    )


def _arithmetic(rng: random.Random) -> str:
    a, b, c = (rng.choice((rng.randint(2, 99), rng.randint(100, 999), 100 * rng.randint(1, 99))) for _ in range(3))
    return rng.choice(
        (
            f"{a}-{b}-{c}={a - b - c}",
            f"He has {a + b + c}-{a}-{b} = {c} left.",
            f"{a}*{b}*{c}=<<{a}*{b}*{c}={a * b * c}>>{a * b * c}",
            f"{a} + {b} + {c} = {a + b + c}",
            f"({a} - {b}) / {c}",
            f"It is {a}/{b}/{c} of it.",
            f"The calls cost {a}-{b}-{c} dollars.",
            f"{a}.{b} x {c}.{a} = {b}",
        )
    )


def _date_or_time(rng: random.Random) -> str:
    y, m, d = rng.randint(1950, 2030), rng.randint(1, 12), rng.randint(1, 28)
    return rng.choice(
        (
            f"The meeting is on {y}-{m:02}-{d:02}.",
            f"due {d:02}/{m:02}/{y}",
            f"{y}-{m:02}-{d:02}T08:15:{d:02}Z",
            f"from {y}-{y + 5}",
            f"valid {d:02}.{m:02}.{y} - {d:02}.{m:02}.{y + 1}",
            f"backup_{y}{m:02}{d:02}_0815{d:02}.zip",
            f"{d:02}:{m:02}:{d:02}.{y}",
            f"Call on {d:02}-{m:02}-{y} about it.",
            f"epoch {1_000_000_000 + rng.getrandbits(29)}",
            f"ms timestamp {1_500_000_000_000 + rng.getrandbits(37)}",
            f"The law of {d} March {y} applies.",
            f"The company was founded on {m:02}/{d:02}/{y}.",
            f"the years {y}, {y + 1}, {y + 2}",
            f"{y}/{str(y + 1)[2:]} season",
            f"Contact us before {y} {m:02} {d:02}",
        )
    )


def _failed_checksum(rng: random.Random) -> str:
    body = rng.choice(("4", "51", "4")) + digits(rng, 14)
    card = (body + digits(rng, 1))[:15]
    card += luhn_digit(card).translate(_OTHER_DIGIT)
    bank = f"DE{rng.randint(10, 97)}" + digits(rng, 18)
    number = "".join(str(ord(c) - 55) if c.isalpha() else c for c in bank[4:] + bank[:4])
    bank = bank[:-1] + bank[-1].translate(_OTHER_DIGIT) if int(number) % 97 == 1 else bank
    grouped = " ".join(card[i : i + 4] for i in range(0, 16, 4))
    return rng.choice(
        (
            f"The sample {card} is wrong.",
            f"id {grouped}",
            f"Sample account {bank} does not exist.",
            f"meter {card}",
            f"{grouped}",
        )
    )


def _measure(rng: random.Random) -> str:
    a, b = rng.uniform(-90, 90), rng.uniform(-180, 180)
    return rng.choice(
        (
            f"Coordinates {a:.6f}, {b:.6f}",
            f"lat={a:.4f}&lon={b:.4f}",
            f"{abs(a):.0f}°{rng.randint(0, 59)}'{rng.randint(0, 59)}\"N",
            f"a price of ${rng.randint(1, 99)},{digits(rng, 3)},{digits(rng, 3)}.00",
            f"It costs EUR {rng.randint(1, 999)}.{digits(rng, 3)},{digits(rng, 2)}.",
            f"population {fill(rng, 'Z ### ###')}",
            f"resolution {fill(rng, '1#20x1#80')}",
            f"pi is 3.14159265{digits(rng, 6)}",
            f"{fill(rng, 'Z######')} tonnes",
            f"The score was {rng.randint(60, 120)}-{rng.randint(60, 120)}, then 7-6 6-4 3-6.",
            f"range {fill(rng, 'Z##-Z###')} pixels",
            f"{fill(rng, 'Z#,###,###,###')} people",
            f"{fill(rng, '#.########')}",
            f"{rng.randint(2, 9)} St. Bernards and {rng.randint(2, 9)} Great Danes",
        )
    )


def _part(rng: random.Random) -> str:
    value = fill(
        rng,
        rng.choice(
            (
                "AA-####-##",
                "####-AAA-###",
                "A##-####-A",
                "###-####-###",
                "AAA#####A",
                "##-###-####-#",
                "A#A#A#-####",
                "########-A",
                "#####-###-##",
            )
        ),
    )
    return rng.choice(
        (
            "Part number {}",
            "SKU: {}",
            "Model {} is sold out.",
            "serial {}",
            "Artikelnummer {}",
            "item {}, 3 pieces",
            "batch {}",
        )
    ).replace("{}", value)


def _words(rng: random.Random) -> str:
    return rng.choice(
        (
            "icon@2x.png",
            "git@github.com:org/repo.git",
            "npm install lodash@4.17.21",
            "actions/checkout@v4.1.0",
            "@decorator\ndef f(): ...",
            "5 apples @ 3.50 each",
            "getty@tty1.service",
            "x = a @ b.transpose()",
            "password: your_password_here",
            "api_key = os.environ['API_KEY']",
            "max_tokens: 4096",
            "token_type_ids = None",
            "password must be at least 12 characters",
            "PASSWORD=changeme",
            "secret: ${VAULT_SECRET}",
            "the token is expired",
            "https://example.com:8080/path@v2",
            "http://host:port/user@example",
            "std::vector<int>::iterator",
            "00:1A:2B:3C:4D:5E",
            "at 12:30:45 and 01:02:03",
            "192.168.1.1 is the router",
            "listen on 127.0.0.1:8000",
            "10.1.2.3/8",
            "fe80::1 and ::1",
            "subnet mask 255.255.255.0",
            "Bearer of bad news",
            "bearer certificates were abolished",
            "-----BEGIN PUBLIC KEY-----\nMIIB\n-----END PUBLIC KEY-----",
            "-----BEGIN CERTIFICATE-----\nMIIC\n-----END CERTIFICATE-----",
            "sk-learn-contrib-extra-packages",
            "task-force-and-other-words-here",
            "eyJust kidding",
            "the 2008 Wall Street crash",
            "In 2010 Sunset Boulevard was restored.",
            "3 Wall Street banks",
            "a 2016 Supreme Court ruling",
            "Spring 2010",
            "Platz 3 im Wettbewerb",
            "Sitzplatz 12",
            "20 Dr Pepper cans",
            "Top 10 Broadway shows",
            "Route 66",
            "Area 51 and Highway 101",
            "Chapter 12 Main Results",
            "He drove 50 miles",
            "born to run in 1975",
            "a newborn at 3/4 of the weight",
            "The band was reborn.",
            "Room 101",
            "5 King fans",
            "Via 3 routers",
            "Am 3. Mai 2020 war Regen.",
            "Im Jahr 1999 kam er.",
            "rue the day in 1990",
            "La plaza tiene 400 años",
            "calle ancha",
            "Windows 10 Drive C",
            "Studio 54 Way Back",
            "100 Great Places to Visit",
        )
    ) + rng.choice(("", ".", "\n", " " + "".join(rng.choice(string.ascii_lowercase) for _ in range(5))))


def _catalogue(rng: random.Random) -> str:
    """Numbers with a grammar of their own: chemicals, papers, patents, devices, barcodes, colours."""
    imei = "35" + digits(rng, 12)
    # fmt: off
    frames = (
        "CAS ###-##-#", "doi:10.####/j.####.##.###", "arXiv:##0#.#####v2", "US patent Z,###,### B2",
        "UPS 1Z###AA#########", "EAN Z############", "OID 1.3.6.1.4.1.###.#.#", "#Z#####; color", "rs######## (SNP)",
        "LOT ######-####", "GPS 5#.###### N 1#.###### E", "port Z####/tcp", "Psalm 1##:##-##", "sha-####### on main",
        "RFC ####, section #.#.#.#", "Lotto: ## ## ## ## ## ##", "WKN ######, ISIN US#########0",
        "VIN 1HGCM8##33A######", "pages ###-###, 20##", "temp ##.#, ##.#, ##.#", "grid ####-####-####",
        "PMID: ########", "ICD-10 A##.#", "B07#######", "catalogue no. ### ### ###", "data-id='##########'",
        "user_id=#########", "row ### of #######", "key=Z#######", "ASIN B0########", "Unix time 1#########",
        "size=#########", "GET /item/######## 200 ####", "PID Z####: exit 0", "[2024-0#-1# 1#:##:##,###] info",
        "x=#.######e-05", "0x########", "n = ##########",
    )
    # fmt: on
    return rng.choice(
        (
            f"IMEI {imei}{luhn_digit(imei)}",
            "".join(
                rng.choice(string.digits)
                if character == "#"
                else rng.choice("123456789")
                if character == "Z"
                else character
                for character in rng.choice(frames)
            ),
        )
    )


def _history(rng: random.Random) -> str:
    day, year = rng.randint(1, 28), rng.randint(1700, 2020)
    return rng.choice(
        (
            f"It was signed on {day} July {year}.",
            f"He died on {day}/11/{year}.",
            f"Hired: {day}.3.{year}",
            f"exp. date {day:02}/{year % 100:02}",
            f"The store opened on May {day}, {year}.",
            f"{day} Beautiful Gardens to visit",
            f"a {day} Hour Drive",
            f"{day + 1} Ways Close Friends help",
            f"On May {day}, {year}, Park Place closed.",
            f"Article {day} Court Rules",
            f"In {year} Queen Street fell.",
            f"{day} Fresh Grove oranges",
            f"They sold {day} Happy Hill farms",
            f"Avenue Q ran for {day} years",
            f"Platz {day}, Runde 2",
            f"am {day}. März {year}",
            f"calle sin número desde {year}",
            f"la rue était vide en {year}",
            f"The {day} Largest Way Stations",
            f"Via Skype um {day} Uhr",
            f"Der Weg {day} ist neu",
            f"Plaza {year}",
        )
    )


_MAKERS: tuple[Callable[[random.Random], str], ...] = (
    *(
        _order,
        _version,
        _hash,
        _uuid,
        _book,
        _arithmetic,
        _date_or_time,
        _failed_checksum,
        _measure,
        _part,
        _words,
        _catalogue,
        _history,
    ),
)


def lookalike(rng: random.Random) -> str:
    """One sentence without personal data; each family is as likely as the others."""
    return rng.choice(_MAKERS)(rng)
