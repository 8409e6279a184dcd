"""The built-in detectors one after the other, from the cheapest sign to the checksum."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from ipaddress import IPv4Address, IPv4Network, IPv6Address

from carrara.data.checks.personal import checksums
from carrara.data.checks.personal import patterns as p
from carrara.data.checks.personal.addresses import find_addresses
from carrara.data.checks.personal.birth_dates import find_birth_dates
from carrara.data.checks.personal.national import NATIONAL_NUMBERS
from carrara.data.checks.personal.phones import find_phones, nearest
from carrara.data.checks.personal.secrets import (
    find_assigned,
    find_prefixed_keys,
    find_private_keys,
    find_tokens,
    find_url_credentials,
)

_Span = tuple[int, int]
_DIGIT = re.compile(r"\d")
_SHORTEST_KEY = 16
# Networks that name no one: private, loopback, link-local, shared, multicast, reserved (RFC 6890).
_NOT_PERSONAL = tuple(
    IPv4Network(network)
    for network in (
        *("0.0.0.0/8", "10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "169.254.0.0/16", "172.16.0.0/12"),
        *("192.168.0.0/16", "224.0.0.0/4", "240.0.0.0/4"),
    )
)


def detect(text: str) -> Iterator[tuple[str, _Span]]:
    """Spans with their types, the more specific types first; spans may overlap."""
    lower = text.lower()
    yield from _typed("private_key", find_private_keys(text))
    yield from _typed("url_credentials", find_url_credentials(text))
    has_long_word = max(map(len, text.split()), default=0) >= _SHORTEST_KEY
    if has_long_word:
        yield from _typed("token", find_tokens(text, lower))
        yield from _typed("api_key", find_prefixed_keys(text))
    yield from _typed("api_key", find_assigned(text, lower))
    if "@" in text or "at" in lower or "ät" in lower:
        yield from _typed("email", _find_emails(text, lower))
    if "::" in text or text.count(":") > 5:
        yield from _typed("ip", _find_ipv6(text))
    if _DIGIT.search(text):
        yield from _detect_numbers(text, lower)


def _typed(kind: str, spans: Iterator[_Span]) -> Iterator[tuple[str, _Span]]:
    return ((kind, span) for span in spans)


def _detect_numbers(text: str, lower: str) -> Iterator[tuple[str, _Span]]:
    regions = [(max(0, match.start() - 12), match.end() + 12) for match in p.REGION.finditer(text)]
    if regions:
        yield from _typed("iban", _find_ibans(text))
    for finder, kind in ((_find_cards, "card"), (_find_national_numbers, "national_id"), (find_phones, "phone")):
        for start, end in regions:
            yield from _typed(kind, finder(text, start, end))
    if p.DOTTED.search(text):
        yield from _typed("ip", _find_ipv4(text))
    yield from _typed("birth_date", find_birth_dates(text, lower))
    yield from _typed("address", find_addresses(text, lower))


def _find_emails(text: str, lower: str) -> Iterator[_Span]:
    if "@" in text:
        for match in p.EMAIL.finditer(text):
            ending = match[0].rsplit(".", 1)[1].lower()
            if ending not in p.NOT_A_DOMAIN and not match[0].startswith("git@"):
                yield match.span()
    if any(
        sign in lower for sign in ("[at]", "(at)", "{at}", "[ at ]", "( at )", "(ät)", "[ät]", "[arroba]", "(arroba)")
    ):
        yield from (match.span() for match in p.EMAIL_SPELLED.finditer(text))


def _find_ipv6(text: str) -> Iterator[_Span]:
    """Global unicast addresses only, 2000::/3 (RFC 4291): the others name no one."""
    for match in p.IPV6.finditer(text):
        value = match[0].rstrip(":") if not match[0].endswith("::") else match[0]
        try:
            IPv6Address(value)
        except ValueError:
            continue
        yield match.start(), match.start() + len(value)


def _find_ipv4(text: str) -> Iterator[_Span]:
    """Public addresses that are no version; four small numbers need a word such as "server" before them."""
    for match in p.IPV4.finditer(text):
        before = text[max(0, match.start() - 30) : match.start()]
        small = all(int(octet) < 30 for octet in match[0].split("."))
        if p.VERSION_WORDS.search(before) or (small and not p.IP_WORDS.search(before)):
            continue
        if not any(IPv4Address(match[0]) in network for network in _NOT_PERSONAL):
            yield match.span()


def _find_ibans(text: str) -> Iterator[_Span]:
    for head in p.IBAN_HEAD.finditer(text):
        length = checksums.IBAN_LENGTHS.get(head[0][:2].upper())
        stop = _end_of_characters(text, head.start(), length) if length else None
        if stop and _is_written_iban(text[head.start() : stop]):
            yield head.start(), stop


def _is_written_iban(value: str) -> bool:
    """In one piece or in groups of four; in others only with capitals and mostly digits, as words pass by chance."""
    groups = re.split("[ -]", value)
    usual = len(groups) == 1 or all(len(group) == 4 for group in groups[:-1])
    mostly_digits = value.isupper() and 3 * sum(map(str.isdigit, value)) >= 2 * len(value)
    return (usual or mostly_digits) and checksums.iban("".join(groups).upper())


def _end_of_characters(text: str, start: int, count: int) -> int | None:
    """Where `count` letters and digits end that have at most one space or hyphen between each two of them."""
    position, separated = start, True
    while count:
        character = text[position : position + 1]
        if character.isascii() and character.isalnum():
            count, separated = count - 1, False
        elif character in (" ", "-") and not separated:
            separated = True
        else:
            return None
        position += 1
    return None if text[position : position + 1].isalnum() else position


def _find_cards(text: str, start: int, end: int) -> Iterator[_Span]:
    """Issuers' prefixes and lengths, Luhn's check digit, and the issuers' grouping where there is one."""
    for match in p.CARD.finditer(text, start, end):
        groups = re.split(r"[ -]", match[0])
        digits = "".join(groups)
        card = nearest(p.CARD_WORDS, text, match.start())
        other = nearest(p.OTHER_NUMBER_WORDS, text, match.start())
        if other < 24 and other < card:
            continue
        if _is_issued(digits, named=card < math.inf) and _is_grouped(groups) and checksums.luhn(digits):
            yield match.span()


def _is_issued(digits: str, named: bool) -> bool:
    """Maestro's prefixes and Visa's old 13 digits are taken only where a card is named (ISO/IEC 7812)."""
    length, two, three, four, six = len(digits), int(digits[:2]), int(digits[:3]), int(digits[:4]), int(digits[:6])
    if digits[0] == "4":
        return length == 16 or (length in (13, 19) and named)
    if 51 <= two <= 55 or 2221 <= four <= 2720:
        return length == 16
    if two in (34, 37):
        return length == 15
    if 300 <= three <= 305 or three == 309 or two in (36, 38, 39):
        return length in (14, 16)
    if four == 6011 or 644 <= three <= 649 or two == 65 or two == 62 or 622126 <= six <= 622925 or 3528 <= four <= 3589:
        return 16 <= length <= 19
    return named and (two in (50, 56, 57, 58) or two in (60, 61, 63, 67, 68, 69)) and length >= 12


def _is_grouped(groups: list[str]) -> bool:
    sizes = [len(group) for group in groups]
    return (
        len(sizes) == 1
        or sizes in ([4, 6, 5], [4, 6, 4], [4, 4, 4, 4, 3])
        or (set(sizes[:-1]) == {4} and sizes[-1] <= 4)
    )


def _find_national_numbers(text: str, start: int, end: int) -> Iterator[_Span]:
    for number in NATIONAL_NUMBERS:
        for match in number.pattern.finditer(text, start, end):
            other = nearest(p.OTHER_NUMBER_WORDS, text, match.start())
            wanted = nearest(number.words, text, match.start()) < other if number.words else other > 16
            if wanted and number.accepts(match[0]):
                yield match.span()
