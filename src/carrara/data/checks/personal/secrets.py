"""Keys, tokens and credentials: by the prefixes that services give them, by assignment, and by their structure."""

from __future__ import annotations

import base64
import binascii
import json
import math
import re
from collections import Counter
from collections.abc import Iterator

_EDGE = r"(?<![A-Za-z0-9_-])"
_STOP = r"(?![A-Za-z0-9_-])"

# What must be in the text, and the form of the whole key.
_PREFIXED = tuple(
    (literal, re.compile(f"{_EDGE}(?:{form}){_STOP}"))
    for literal, form in (
        ("AKIA", r"AKIA[A-Z2-7]{16}|AKIA[A-Z0-9]{16}"),
        ("ASIA", r"ASIA[A-Z0-9]{16}"),
        ("gh", r"gh[pousr]_[A-Za-z0-9]{36,255}"),
        ("github_pat_", r"github_pat_[A-Za-z0-9]{20,24}_[A-Za-z0-9]{40,80}"),
        ("AIza", r"AIza[A-Za-z0-9_-]{35}"),
        ("GOCSPX-", r"GOCSPX-[A-Za-z0-9_-]{28}"),
        ("ya29.", r"ya29\.[A-Za-z0-9_-]{30,300}"),
        ("xox", r"xox[abeoprs]-[A-Za-z0-9-]{10,250}"),
        ("xapp-", r"xapp-\d-[A-Z0-9]{8,14}-\d{10,14}-[a-f0-9]{32,64}"),
        ("hooks.slack.com", r"hooks\.slack\.com/services/T\w{6,12}/B\w{6,14}/\w{20,30}"),
        ("_live_", r"[spr]k_live_[A-Za-z0-9]{16,120}"),
        ("_test_", r"[spr]k_test_[A-Za-z0-9]{16,120}"),
        ("whsec_", r"whsec_[A-Za-z0-9]{24,64}"),
        (
            "sk-",
            r"sk-(?:ant-(?:api|admin|sid)\d\d-)?(?:proj-|svcacct-|admin-|"
            r"or-v1-)?(?=[A-Za-z_-]*\d)[A-Za-z0-9_-]{20,250}",
        ),
        ("hf_", r"hf_[A-Za-z]{30,40}|hf_[A-Za-z0-9]{34}"),
        ("glpat-", r"glpat-[A-Za-z0-9_-]{20,64}"),
        ("gl", r"gl(?:dt|rt|ptt|cbt|soat)-[A-Za-z0-9_-]{20,64}"),
        ("npm_", r"npm_[A-Za-z0-9]{36}"),
        ("pypi-", r"pypi-[A-Za-z0-9_-]{50,300}"),
        ("SG.", r"SG\.[A-Za-z0-9_-]{16,24}\.[A-Za-z0-9_-]{39,48}"),
        ("SK", r"SK[0-9a-f]{32}"),
        ("AC", r"AC[0-9a-f]{32}"),
        (":AA", r"\d{8,10}:AA[A-Za-z0-9_-]{33}"),
        ("-us", r"[0-9a-f]{32}-us\d{1,2}"),
        ("key-", r"key-[0-9a-f]{32}"),
        ("dop_v1_", r"dop_v1_[0-9a-f]{64}"),
        ("shp", r"shp(?:at|ss|ca|pa)_[0-9a-fA-F]{32}"),
        ("sq0", r"sq0(?:atp|csp)-[A-Za-z0-9_-]{22,43}"),
        ("EAAA", r"EAAA[A-Za-z0-9]{60,120}"),
        ("AGE-SECRET-KEY-1", r"AGE-SECRET-KEY-1[A-Z0-9]{58}"),
        ("dapi", r"dapi[0-9a-f]{32}"),
        ("lin_api_", r"lin_api_[A-Za-z0-9]{40}"),
        ("gsk_", r"gsk_[A-Za-z0-9]{48,56}"),
        ("xai-", r"xai-[A-Za-z0-9]{70,84}"),
        ("r8_", r"r8_[A-Za-z0-9]{37,40}"),
        ("pplx-", r"pplx-[A-Za-z0-9]{40,60}"),
        ("hvs.", r"hvs\.[A-Za-z0-9_-]{24,120}"),
    )
)
_ACCOUNT_KEY = re.compile(r"(?<=AccountKey=)[A-Za-z0-9+/]{60,90}={0,2}")

_NAMES = (
    *str.split("key secret passw _pass pwd passphrase token credential kennwort contraseña wachtwoord"),
    "mot de passe",
)
_ASSIGNED = re.compile(
    r"(?:\b|_)(?:(?:api|access|auth|account|private|signing|encryption|secret|master|license|subscription)[_ -]?key|"
    r"apikey|"
    r"secret(?:[_ -]?(?:access[_ -]?)?key)?|\w{0,20}?(?:passw(?:or)?d|passwort|_pass|token|secret)|kennwort|"
    r"wachtwoord|contraseña|"
    r"mot de passe|passphrase|pwd|credentials?)(?:_?(?:id|prod|test|dev|live|base|base64))?"
    r"(?:[\"'`]\]?|\\\")? ?(?:=>|:=|[:=]| is)(?: to)? ?(?:[\"'`(]|\\\"){0,2}"
    r"(?P<value>[^\s\"'`<>\\,;(){}\[\]\0]{8,200})",
    re.I,
)
_PLACEHOLDER = re.compile(
    r"x{4,}|\*{3,}|\.{3}|your|example_|changeme|placeholder|redacted|^\$|%\(|^os\.|^process\.|^env|^config|://|"
    r"^self\.|^request",
    re.I,
)
_PLAIN_NUMBER = re.compile(r"[\d.,:/%$-]+")

_JWT = re.compile(r"(?<![\w.-])eyJ[\w-]{8,2000}\.[\w-]{2,8000}\.[\w-]{0,2000}")
_BEARER = re.compile(r"\b(?:bearer|authorization: (?:token|basic)) +(?P<value>[A-Za-z0-9._~+/=-]{16,2000})", re.I)
_URL = re.compile(
    r"(?<![A-Za-z0-9])[A-Za-z][A-Za-z0-9+.-]{1,20}://[^\s/@:?#\"'<>\\{}$\0]{0,128}:(?![$%{])"
    r"[^\s@/\"'<>\\{}\0]{1,128}@(?:\[[\da-fA-F:]+\]|\w(?:[\w.-]{0,251}\w)?)(?::\d{1,5})?"
)
_KEY_BEGIN = re.compile(r"-----BEGIN (?:[A-Z0-9]+ ){0,3}PRIVATE KEY(?: BLOCK)?-----")
_KEY_END = re.compile(r"-----END (?:[A-Z0-9]+ ){0,3}PRIVATE KEY(?: BLOCK)?-----")
_KEY_BODY = re.compile(r"(?:\\[nr]|[\sA-Za-z0-9+/=:,])*")


def find_prefixed_keys(text: str) -> Iterator[tuple[int, int]]:
    """Spans of keys that begin with a service's prefix."""
    for literal, pattern in _PREFIXED:
        if literal in text:
            yield from (match.span() for match in pattern.finditer(text))
    if "AccountKey=" in text:
        yield from (match.span() for match in _ACCOUNT_KEY.finditer(text))


def find_assigned(text: str, lower: str) -> Iterator[tuple[int, int]]:
    """Spans of values with much entropy that are assigned to the name of a secret."""
    if not any(name in lower for name in _NAMES):
        return
    for match in _ASSIGNED.finditer(text):
        value = match["value"].rstrip(".?:")
        if _is_secret(value):
            yield match.start("value"), match.start("value") + len(value)


def _is_secret(value: str) -> bool:
    """Letters and digits mixed, at least 2.5 bits a character, and no word for a key yet to be filled in."""
    if len(value) < 8 or _PLACEHOLDER.search(value) or _PLAIN_NUMBER.fullmatch(value):
        return False
    kinds = (str.isdigit, str.islower, str.isupper, lambda character: not character.isalnum())
    mixed = sum(any(map(kind, value)) for kind in kinds)
    has_digit = any(map(str.isdigit, value))
    return _entropy(value) >= 2.5 and (has_digit and mixed >= 2)


def _entropy(value: str) -> float:
    """Bits a character, by the value's own frequencies (Shannon 1948)."""
    return -sum(count / len(value) * math.log2(count / len(value)) for count in Counter(value).values())


def find_tokens(text: str, lower: str) -> Iterator[tuple[int, int]]:
    """Spans of JSON web tokens whose header can be read (RFC 7519), and of what an Authorization header carries."""
    if "eyJ" in text:
        yield from (match.span() for match in _JWT.finditer(text) if _has_header(match[0]))
    if "bearer" in lower or "authorization" in lower:
        for match in _BEARER.finditer(text):
            value = match["value"].rstrip(".")
            if any(map(str.isdigit, value)) and any(map(str.isalpha, value)) and _entropy(value) >= 3:
                yield match.start("value"), match.start("value") + len(value)


def _has_header(token: str) -> bool:
    head = token.split(".", 1)[0]
    try:
        header = json.loads(base64.urlsafe_b64decode(head + "=" * (-len(head) % 4)))
    except (binascii.Error, ValueError, RecursionError):
        return False
    return isinstance(header, dict) and ("alg" in header or "enc" in header)


def find_url_credentials(text: str) -> Iterator[tuple[int, int]]:
    """Spans scheme://user:password@host:port (RFC 3986, section 3.2.1)."""
    if "://" in text and "@" in text:
        yield from (match.span() for match in _URL.finditer(text))


def find_private_keys(text: str) -> Iterator[tuple[int, int]]:
    """Spans of PEM blocks (RFC 7468) to their last line; without one, to where the key's characters end."""
    if "PRIVATE KEY" not in text:
        return
    position, may_end = 0, True
    while begin := _KEY_BEGIN.search(text, position):
        end = _KEY_END.search(text, begin.end()) if may_end else None
        may_end = end is not None
        body = end or _KEY_BODY.match(text, begin.end())
        position = body.end() if body else begin.end()
        yield begin.start(), position
