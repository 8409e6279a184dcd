"""Values that lead to a person: addresses, numbers and dates as people of many countries write them."""

from __future__ import annotations

import random
import string

# fmt: off
GENERAL = (
    "{}", "Please note {} for later.", "- {}", "| Jane Roe | {} | active |",
    "{\"customer\": \"Jane Roe\", \"value\": \"{}\"}", "Jane Roe ({})", "She wrote \"{}\" on the form.",
    "The form says: {}, and nothing else.", "first line\n{}\nlast line", "Kunde: Erika Muster, {}", "I have {}.",
    "Roe,Jane,{},2", "**{}**",
)
# fmt: on
_FIRST = str.split(
    "anna bob chloe dieter emma farid grace hugo ines jonas katja liam maria nils olga pablo rosa sven tara umar"
)
_LAST = str.split(
    "smith müller garcia dubois rossi jansen novak kim okafor singh larsen silva brown lopez wagner martin"
)


def digits(rng: random.Random, count: int) -> str:
    return "".join(rng.choice(string.digits) for _ in range(count))


def fill(rng: random.Random, mask: str) -> str:
    """# is any digit, N one from 2, Z one from 1, A a capital, a a small letter; all else stands."""
    choices = {
        "#": string.digits,
        "N": "23456789",
        "Z": "123456789",
        "A": string.ascii_uppercase,
        "a": string.ascii_lowercase,
    }
    return "".join(rng.choice(choices[character]) if character in choices else character for character in mask)


def email(rng: random.Random) -> tuple[str, tuple[str, ...]]:
    first, last = rng.choice(_FIRST), rng.choice(_LAST)
    ascii_last = last.replace("ü", "ue")
    local = rng.choice(
        (
            f"{first}.{ascii_last}",
            f"{first}_{ascii_last}{digits(rng, 2)}",
            f"{first[0]}{ascii_last}",
            f"{first}+news",
            f"{first}-{ascii_last}",
            first.title() + "." + ascii_last.title(),
            f"{first}{digits(rng, 4)}",
            f"{first}.{last}",
            f"{first}%dept",
            f"o'{ascii_last}",
            f"info.{first}",
        )
    )
    domain = rng.choice(
        (
            "example.com",
            "mail.example.co.uk",
            "example.org",
            "gmail.com",
            "web.de",
            "orange.fr",
            "correo.example.es",
            "xn--mller-kva.example",
            "münchen-post.de",
            "uni-x.ac.jp",
            "a.b.c.example.net",
            "startup.io",
            "firma.example.museum",
            "protonmail.ch",
            "EXAMPLE.COM",
            "例え.jp",
        )
    )
    frames = (
        *GENERAL,
        "mailto:{}",
        "[write](mailto:{})",
        "<{}>",
        "Write to {}!",
        "E-Mail: {};",
        "cc={}&x=1",
        "{}'s inbox",
        "to:{},",
    )
    return f"{local}@{domain}", frames


# fmt: off
_CLEAR_PHONES = (
    "+1 N##-N##-####", "+1-N##-N##-####", "(N##) N##-####", "N##-N##-####", "N##.N##.####", "1-800-N##-####",
    "+1 (N##) N##-####", "+1N##N######", "+44 20 7### ####", "+44 (0)20 7946 0###", "+44 7### ######", "+447#########",
    "0044 20 7946 0###", "07### ### ###", "020 7### ####", "01### ######", "(020) 7946 0###", "+49 30 Z######",
    "+49 (0)89 / Z#####", "+49-171-Z######", "0049 171 Z######", "030/Z######", "(0221) Z######", "+33 6 ## ## ## ##",
    "01 ## ## ## ##", "06.##.##.##.##", "+33.1.##.##.##.##", "+33 (0)4 ## ## ## ##", "+34 6## ## ## ##",
    "+34 91 Z## ## ##", "+39 06 Z### ####", "+39 3## Z######", "+31 6 Z#######", "+31 (0)20 Z## ####", "06 ## ## ## ##",
    "+32 4## ## ## ##", "+41 44 Z## ## ##", "+43 1 Z######", "+46 70 Z## ## ##", "+45 Z# ## ## ##", "+358 40 Z######",
    "+47 9## ## ###", "+48 5## ### ###", "+351 91# ### ###", "+91 9#### #####", "+86 138 #### ####", "+81 3-Z###-####",
    "+81-90-Z###-####", "+82 10-Z###-####", "+55 11 9####-####", "(11) 9####-####", "+52 55 Z### ####",
    "+61 4## ### ###", "(02) 9### ####", "+61 2 9### ####", "+27 82 Z## ####", "+7 (495) ###-##-##",
    "+90 532 Z## ## ##", "+971 50 Z## ####", "+972 54-Z##-####", "+234 803 Z## ####", "+353 1 Z## ####", "03-Z###-####",
    "+1-201-N##-####", "+49301234####", "+1.N##.N##.####", "N##-N##-#### ext. ###", "+420 6## ### ###",
    "+36 20 Z## ####", "044 Z## ## ##", "+44.20.7946.0###", "(+49) 30 Z######", "N##-N##-####x##", "+358 9 Z### ####",
    "+370 6## #####", "+30 21# ### ####", "+40 7## ### ###", "+62 812-Z###-####", "+63 917 Z## ####", "+66 8 Z### ####",
    "+84 9# ### ## ##", "+54 9 11 Z###-####", "+57 30# Z## ####", "+20 10 Z### ####", "+254 7## ######",
    "0033 6 ## ## ## ##", "+886 9## ### ###", "(08) Z### ####", "0800 ### ####", "0345 ### ####", "+353 (0)87 Z## ####",
    "0711 / Z## ## ##", "02151 - Z#####", "+1 N## N## ####", "+1N## N## ####",
)
# fmt: on
# fmt: off
_NAMED_PHONES = (
    "N##N######", "N## N## ####", "N##-####", "6## ## ## ##", "91 Z## ## ##", "5## ### ###", "9#### #####",
    "0171 Z######", "0151Z#######", "06-Z#######", "070-Z## ## ##", "## ## ## ##", "8 (495) ###-##-##", "3## Z######",
    "0470/##.##.##", "N##/N##-####", "030 Z######", "08########", "Z### ####", "0### ### ####", "0Z########",
    "09-Z## ## ##", "138 #### ####", "040 Z## ####", "1300 ### ###", "N##.####", "9 Z### ####", "0Z## ### ###",
    "06########", "(0Z#) ### ## ##", "7## ### ###", "01#########",
)
# fmt: on
# fmt: off
_PHONE_FRAMES = (
    "Call me at {} after six.", "Phone: {}", "Tel. {}", "You can reach her on {}, she said.", "My mobile is {}.",
    "Text me: {}", "tel={}", "Meine Handynummer ist {}.", "Rufen Sie mich unter {} an.", "Téléphone : {}",
    "Appelez-moi au {}.", "Mi teléfono es el {}.", "Bel me op {}.", "Fax: {}", "WhatsApp {}", "phone=\"{}\"",
    "cell phone {}", "Mobil: {}", "Customer service hotline: {} (free).", "contact number {}", "Telefono: {}",
    "Please dial {} now!", "Our office phone number is {}.", "ph. {}", "My cell is {}", "Or phone {}",
    "mobile no. is {}", "Give Jane a call on {} tomorrow", "tel: {}", "Contact: Jane Roe, {}", "Kontakt: {}",
    "Numéro de portable : {}", "Whatsapp me at {}", "fax number {}", "leave a voicemail at {}.", "Cel. {}", "Tlf: {}",
)
# fmt: on


def phone(rng: random.Random) -> tuple[str, tuple[str, ...]]:
    """Half bare, in forms of their own; half of any form beside a word for it."""
    if rng.random() < 0.5:
        return fill(rng, rng.choice(_CLEAR_PHONES)), GENERAL
    return fill(rng, rng.choice(_CLEAR_PHONES + _NAMED_PHONES)), _PHONE_FRAMES


def ip(rng: random.Random) -> tuple[str, tuple[str, ...]]:
    if rng.random() < 0.35:
        groups = [f"{rng.randint(0, 65535):x}" for _ in range(8)]
        groups[0] = rng.choice(("2001", "2a02", "2606", "2001"))
        value = ":".join(groups) if rng.random() < 0.5 else f"{groups[0]}:{groups[1]}::{rng.choice(groups[2:])}"
        return rng.choice((value, value.upper())), (*GENERAL, "from {}", "[{}]:443", "IPv6 {}.", "ping6 {}")
    first = rng.choice((23, 45, 81, 93, 104, 151, 185, 203, 212))
    value = f"{first}.{rng.randint(0, 255)}.{rng.randint(0, 255)}.{rng.randint(1, 254)}"
    frames = (
        *GENERAL,
        "login from {}",
        "http://{}/index.html",
        "{}:8080",
        "{}/24",
        '{} - - "GET / HTTP/1.1" 200',
        "The server at {} is down.",
        "IP={}",
        "ssh root@{}",
    )
    return value, frames


# fmt: off
_PLACES = (
    "N## Main Street", "Z### Oak Avenue", "N# W. 4#th St., New York, NY 100##", "12## Elm Dr, Austin, TX 787##",
    "N### Sunset Blvd Apt 4B, Los Angeles, CA 900##", "Z## Baker Street, London NW1 6XE",
    "Z# Church Road, Leeds LS1 4AB", "Z# The Crescent", "N#A High Street", "Z### Martin Luther King Jr. Blvd",
    "Hauptstraße Z#, 101## Berlin", "Lindenweg Z", "Berliner Str. Z#a, 603## Frankfurt am Main", "Karl-Marx-Allee Z##",
    "Schulgasse Z, A-1010 Wien", "Am Markt Z, 553## Trier", "Z# rue de Rivoli, 75001 Paris", "Z bis avenue Victor Hugo",
    "Z##, boulevard Saint-Michel, 75006 Paris", "Z# place du Marché", "Z# chemin des Vignes, 1009 Pully",
    "Calle Mayor Z#, 28013 Madrid", "Avenida de la Constitución, Z#", "C/ Alcalá Z##, 3º B", "Plaza de España, n.º Z",
    "Paseo de Gracia Z#", "Keizersgracht Z##, 1015 CJ Amsterdam", "Kerkstraat Z#", "Van Goghlaan Z#-2",
    "Stationsplein Z, 3511 ED Utrecht", "Via Roma Z#, 00184 Roma", "Piazza Garibaldi, Z", "Rua Augusta, Z###",
    "Storgatan Z#", "Vestergade Z#, 8000 Aarhus", "ul. Marszałkowska Z#/1#", "Z## Fifth Avenue", "PO Box Z###",
    "Z### N Lake Shore Drive, Chicago, IL 606##", "Z## King St W, Toronto, ON M5V 1J2", "Z# George St, Sydney NSW 2000",
    "Z### Industrial Pkwy Suite 200", "Z# Rosewood Close, Bristol BS3 1AA", "Z# Clapham Rise, London SW4 7UB",
    "Königstraße Z#", "Z## East 29th Avenue", "Friedrich-Ebert-Str. Z##", "Z# quai des Grands-Augustins",
    "Z, impasse des Lilas, 69003 Lyon", "An der Alster Z#, 20099 Hamburg",
    "Z## rue du Faubourg Saint-Honoré, 75008 Paris", "Z# Avenue des Champs-Élysées", "Sonnenallee Z##, 12047 Berlin",
    "Große Bleichen Z#, 20354 Hamburg", "Ottilienstr. Z#", "Prinsengracht Z##-H", "Gran Vía Z#, 28013 Madrid",
    "Corso Vittorio Emanuele II, Z#", "Z### Old Mill Rd, Unit 7, Boise, ID 837##", "Z## S. State Street, Suite 4##",
    "Z# Upper Grosvenor Street, Mayfair, London W1K 2ND", "Z# The Green, Richmond TW9 1PL", "Av. Paulista, Z###",
    "Drottninggatan Z#, 111 51 Stockholm", "Z## W 42nd St, Apt 5B", "Z#-5# Harley Street",
    "Rosenweg Z#b, 8400 Winterthur", "al. Jerozolimskie Z##", "Z# Station Approach, Guildford GU1 4UT",
    "Z#### Ventura Blvd., Encino, CA",
)
# fmt: on


def address(rng: random.Random) -> tuple[str, tuple[str, ...]]:
    """Only # and a Z or N that begins a number are filled."""
    mask = rng.choice(_PLACES)
    parts = []
    for index, character in enumerate(mask):
        following = mask[index + 1 : index + 2]
        begins = (
            character in "ZN" and (index == 0 or mask[index - 1] in " ") and (not following or following in "#, aA-")
        )
        is_compass = character == "N" and index > 0
        parts.append(fill(rng, character) if character == "#" or (begins and not is_compass) else character)
    frames = (
        *GENERAL,
        "I live at {}.",
        "Ship it to {}, please.",
        "Address: {}",
        "Adresse: {}\nTel.",
        "wohnhaft in der {}.",
        "He moved to {} last year.",
    )
    return "".join(parts), tuple(frame for frame in frames if frame != "Roe,Jane,{},2")


_MONTHS = {
    "en": str.split("January February March April May June July August September October November December"),
    "de": str.split("Januar Februar März April Mai Juni Juli August September Oktober November Dezember"),
    "fr": str.split("janvier février mars avril mai juin juillet août septembre octobre novembre décembre"),
    "es": str.split("enero febrero marzo abril mayo junio julio agosto septiembre octubre noviembre diciembre"),
    "it": str.split("gennaio febbraio marzo aprile maggio giugno luglio agosto settembre ottobre novembre dicembre"),
    "pt": str.split("janeiro fevereiro março abril maio junho julho agosto setembro outubro novembro dezembro"),
    "nl": str.split("januari februari maart april mei juni juli augustus september oktober november december"),
}
_BORN = {
    "en": (
        "She was born on {} in Leeds.",
        "DOB: {}",
        "Date of birth: {}",
        "born {}",
        "(born {}, Paris)",
        "birth date is {}.",
        "D.O.B. {}",
        '"date_of_birth": "{}"',
        "Birthday: {}",
    ),
    "de": ("geboren am {} in Köln", "Geburtsdatum: {}", "geb. {}", "Sie ist am {} geboren.", "Geburtstag {}"),
    "fr": ("née le {} à Lyon", "Né(e) le {}", "Date de naissance : {}", "né le {}"),
    "es": ("nacida el {} en Sevilla", "Fecha de nacimiento: {}", "Nació el {}.", "nacido el {}"),
    "it": ("nata il {} a Roma", "Data di nascita: {}", "nato a Milano il {}"),
    "pt": ("nascido em {}", "Data de nascimento: {}"),
    "nl": ("geboren op {} te Utrecht", "Geboortedatum: {}", "geb. {}"),
}


def birth_date(rng: random.Random) -> tuple[str, tuple[str, ...]]:
    language = rng.choice(sorted(_BORN))
    year, month, day = rng.randint(1925, 2012), rng.randint(1, 12), rng.randint(1, 28)
    name = _MONTHS[language][month - 1]
    numbers = (f"{day:02}/{month:02}/{year}", f"{day:02}.{month:02}.{year}", f"{day}.{month}.{year}")
    english = (
        *(f"{name} {day}, {year}", f"{day} {name} {year}", f"{day}th {name}, {year}", f"{month}/{day}/{year}"),
        *(f"{year}-{month:02}-{day:02}", f"{name[:3]} {day}, {year}", f"{month:02}/{day:02}/{year % 100:02}"),
        *(f"{day:02}-{name[:3].upper()}-{year}", f"{day}th of {name} {year}", f"{day} {name[:3]} {year % 100:02}"),
    )
    forms = {
        "en": english,
        "de": (f"{day}. {name} {year}", *numbers[1:], f"{day:02}.{month:02}.{year % 100:02}"),
        "fr": (f"{day} {name} {year}", *numbers[:2]),
        "es": (f"{day} de {name} de {year}", numbers[0], f"{day:02}-{month:02}-{year}"),
        "it": (f"{day} {name} {year}", numbers[0], numbers[2]),
        "pt": (f"{day} de {name} de {year}", numbers[0]),
        "nl": (f"{day} {name} {year}", f"{day:02}-{month:02}-{year}"),
    }[language]
    return rng.choice(forms), _BORN[language]
