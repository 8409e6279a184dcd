"""Keys, tokens and credentials as services make them, from random characters."""

from __future__ import annotations

import base64
import json
import random
import string

from tests.data.checks.personal.identities import GENERAL

_ALNUM = string.ascii_letters + string.digits
_URLSAFE = _ALNUM + "-_"
_HEX = "0123456789abcdef"
_UPPER = string.ascii_uppercase + "234567"


def _some(rng: random.Random, alphabet: str, count: int) -> str:
    return "".join(rng.choice(alphabet) for _ in range(count))


_CODE_FRAMES = (
    *GENERAL,
    "export KEY={}",
    'client = Client("{}")',
    "Use `{}` for now.",
    "curl -H 'X-Key: {}' https://api.example.com",
    "key: {}",
    "I pasted {} into the chat, sorry.",
    '{"credentials": {"key": "{}"}}',
)
_FORMS = (
    ("AKIA", _UPPER, 16),
    ("ASIA", _UPPER, 16),
    ("ghp_", _ALNUM, 36),
    ("gho_", _ALNUM, 36),
    ("ghs_", _ALNUM, 36),
    ("AIza", _URLSAFE, 35),
    ("sk_live_", _ALNUM, 24),
    ("rk_live_", _ALNUM, 99),
    ("sk_test_", _ALNUM, 24),
    ("sk-", _ALNUM, 48),
    ("sk-proj-", _ALNUM, 120),
    ("sk-ant-api03-", _ALNUM, 95),
    ("hf_", _ALNUM, 34),
    ("glpat-", _ALNUM, 20),
    ("npm_", _ALNUM, 36),
    ("pypi-AgEIcHlwaS5vcmc", _ALNUM, 150),
    ("SK", _HEX, 32),
    ("AC", _HEX, 32),
    ("dop_v1_", _HEX, 64),
    ("shpat_", _HEX, 32),
    ("gsk_", _ALNUM, 52),
    ("whsec_", _ALNUM, 32),
    ("GOCSPX-", _ALNUM, 28),
)
# fmt: off
_ASSIGNMENTS = (
    "api_key = '{}'", "API_KEY=\"{}\"", "apiKey: '{}'", "\"api_key\": \"{}\"", "password: {}", "password=\"{}\"",
    "DB_PASSWORD={}", "the password is {}", "{\"password\": \"{}\", \"user\": \"bob\"}", "secret_key = '{}'",
    "client_secret: {}", "aws_secret_access_key = {}", "access_token='{}'", "auth-token: {}", "Passwort: {}",
    "config[\"secret\"] = \"{}\"", "PGPASSWORD={} psql", "--password={} --user=root", "x-api-key: {}",
    "https://api.example.com/v1?api_key={}&page=2", "//registry.example.org/:_authToken={}", "SECRET_KEY_BASE: {}",
    "CF_API_TOKEN={}", "Login: bob / Password: {}", "my passphrase is {}, keep it", "'db_pass': '{}'",
    "jwt_secret := \"{}\"",
)
# fmt: on


def api_key(rng: random.Random) -> tuple[str, tuple[str, ...]]:
    """Two in three by a service's prefix, the others random and assigned to a name."""
    kind = rng.random()
    if kind < 0.5:
        prefix, alphabet, count = rng.choice(_FORMS)
        return prefix + _some(rng, alphabet, count - 1) + _some(
            rng, _HEX[:10] if alphabet != _UPPER else "7", 1
        ), _CODE_FRAMES
    if kind < 0.66:
        numbers = string.digits
        value = rng.choice(
            (
                f"xoxb-{_some(rng, numbers, 12)}-{_some(rng, numbers, 12)}-{_some(rng, _ALNUM, 24)}",
                f"SG.{_some(rng, _URLSAFE[:62], 22)}.{_some(rng, _URLSAFE[:62], 43)}",
                f"{_some(rng, '123456789', 10)}:AA{_some(rng, _URLSAFE[:62], 33)}",
                f"github_pat_{_some(rng, _ALNUM, 22)}_{_some(rng, _ALNUM, 59)}",
                f"{_some(rng, _HEX, 32)}-us{rng.randint(1, 21)}",
                f"hvs.{_some(rng, _ALNUM, 90)}",
                f"r8_{_some(rng, _ALNUM, 37)}",
            )
        )
        return value, _CODE_FRAMES
    if kind < 0.7:
        value = base64.b64encode(rng.randbytes(64)).decode()
        return value, ("DefaultEndpointsProtocol=https;AccountName=x;AccountKey={};EndpointSuffix=core.windows.net",)
    alphabet = rng.choice((_ALNUM, _HEX, _ALNUM + "!#%&*+-_"))
    value = rng.choice(string.ascii_letters[:6]) + _some(rng, alphabet, rng.randint(10, 38)) + rng.choice(string.digits)
    return value, _ASSIGNMENTS


def private_key(rng: random.Random) -> tuple[str, tuple[str, ...]]:
    kind = rng.choice(("RSA ", "EC ", "", "OPENSSH ", "DSA ", "ENCRYPTED ", "PGP "))
    block = " BLOCK" if kind == "PGP " else ""
    text = base64.b64encode(rng.randbytes(rng.choice((48, 300, 900)))).decode()
    line = rng.choice(("\n", "\n", "\\n", "\r\n"))
    body = line.join(text[i : i + 64] for i in range(0, len(text), 64))
    if rng.random() < 0.2:
        body = f"Proc-Type: 4,ENCRYPTED{line}DEK-Info: AES-128-CBC,{_some(rng, _HEX.upper(), 32)}{line}{line}{body}"
    # fmt: off
    frames = (
        "{}", "Here is my key:\n{}\nThanks", "\"private_key\": \"{}\"", "cat id_rsa\n{}\n$ ls", "```\n{}\n```",
        "key='''{}'''",
    )
    # fmt: on
    return f"-----BEGIN {kind}PRIVATE KEY{block}-----{line}{body}{line}-----END {kind}PRIVATE KEY{block}-----", frames


def token(rng: random.Random) -> tuple[str, tuple[str, ...]]:
    if rng.random() < 0.65:
        header = {"alg": rng.choice(("HS256", "RS256", "ES384", "none")), "typ": "JWT"}
        payload = {"sub": _some(rng, string.digits, 10), "name": "Jane Roe", "iat": rng.randint(10**9, 2 * 10**9)}
        parts = [json.dumps(part).encode() for part in (header, payload)] + [rng.randbytes(32)]
        value = ".".join(base64.urlsafe_b64encode(part).decode().rstrip("=") for part in parts)
        return value, (
            *GENERAL,
            "Authorization: Bearer {}",
            "jwt={}",
            "Cookie: session={}; Path=/",
            "https://x.example/cb?t={}&s=1",
        )
    value = _some(rng, _ALNUM, rng.randint(20, 60)) + rng.choice(string.digits)
    frames = (
        "Authorization: Bearer {}",
        '"Authorization": "Bearer {}"',
        "curl -H 'authorization: bearer {}' url",
        "Bearer {}",
        "-H 'Authorization: token {}'",
    )
    return value, frames


def url_credentials(rng: random.Random) -> tuple[str, tuple[str, ...]]:
    scheme = rng.choice(
        (
            "https",
            "http",
            "ftp",
            "postgres",
            "postgresql+psycopg2",
            "mysql",
            "mongodb+srv",
            "redis",
            "amqp",
            "ssh",
            "smtp",
            "rtsp",
        )
    )
    user = rng.choice(("admin", "bob", "svc_app", "jane.roe", "user%40x", ""))
    password = _some(rng, _ALNUM + "!$*-_.~", rng.randint(4, 24)).lstrip("$") + "x"
    host = rng.choice(("db.example.com", "localhost", "10.0.0.5", "cache-01", "sub.example.co.uk"))
    port = rng.choice(("", ":5432", ":27017"))
    # fmt: off
    frames = (
        "{}/path", "DATABASE_URL={}", "Connect to {} first.", "\"url\": \"{}/db?ssl=true\"", "git clone {}/x.git",
        "[link]({}/x)", "<{}>", "{}",
    )
    # fmt: on
    return f"{scheme}://{user}:{password}@{host}{port}", frames
