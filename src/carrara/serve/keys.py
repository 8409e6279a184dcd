"""Keys: one given at the start, or named ones in a file that may change while the server runs."""

from __future__ import annotations

import hashlib
import hmac
import json
import logging
import os
import re
import secrets
import tempfile
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Protocol

from carrara.errors import Refusal
from carrara.workspace.files import alone, sync

FILE = "keys.json"

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_log = logging.getLogger(__name__)


class Keys(Protocol):
    """Something that knows whose a key is."""

    def owner(self, given: bytes) -> str | None:
        """The name of a key; None for one that is not known."""
        ...


class OneKey:
    """A single key, under the name `key`."""

    def __init__(self, key: str) -> None:
        if not key or key != key.strip():
            raise Refusal(
                "the key is empty or has spaces around it; give another with --key, or none to get a random one."
            )
        self._digests = {"key": _digest(key.encode())}

    def owner(self, given: bytes) -> str | None:
        """See Keys."""
        return _owner(self._digests, given)


class KeyFile:
    """The keys of a file, read again when it changes: what is removed is refused from then on, without a restart."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._seen: tuple[int, int, int] | None = None
        self._digests: Mapping[str, bytes] = {}
        read_keys(path)  # refused at once if it cannot be used

    def owner(self, given: bytes) -> str | None:
        """See Keys; a file that can no longer be read lets nobody in."""
        self._look()
        return _owner(self._digests, given)

    def _look(self) -> None:
        try:
            status = self._path.stat()
            seen = status.st_ino, status.st_mtime_ns, status.st_size
            if seen == self._seen:
                return
            self._digests = {name: bytes.fromhex(entry["sha256"]) for name, entry in read_keys(self._path).items()}
            self._seen = seen
        except (OSError, Refusal) as error:
            if self._digests or self._seen is None:
                _log.error("no key is taken any more: %s", error)
            self._digests, self._seen = {}, (0, 0, 0)


def read_keys(path: Path) -> dict[str, dict[str, str]]:
    """The stored keys by name, each with `sha256` and `created`; none if there is no file. Raises Refusal."""
    try:
        value: Any = json.loads(path.read_bytes())
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        raise Refusal(f"the keys in {path} cannot be read; remove that file and add them anew.") from error
    if not isinstance(value, dict) or not all(_is_entry(entry) for entry in value.values()):
        raise Refusal(f"{path} is no file of keys; remove it and add them anew.")
    return value


def add_key(path: Path, name: str) -> str:
    """A new random key of 256 bits under a name, returned this once; raises Refusal for a name that is taken.

    Stored is its SHA-256: nobody finds 256 random bits by trying, so that a slow hash as for passwords, which people
    choose, would only slow down every request.
    """
    if not _NAME.fullmatch(name):
        raise Refusal(
            f"a key cannot be named '{name[:100]}'; use up to 64 letters, digits, dots, hyphens and underscores."
        )
    key = secrets.token_urlsafe(32)
    with alone(path.with_suffix(".lock")):
        keys = read_keys(path)
        if name in keys:
            raise Refusal(f"there is a key '{name}' already; choose another name, or remove it first.")
        created = datetime.now(UTC).isoformat(timespec="seconds")
        _write(path, {**keys, name: {"sha256": _digest(key.encode()).hex(), "created": created}})
    return key


def remove_key(path: Path, name: str) -> None:
    """Forget a key; raises Refusal if there is none of that name."""
    with alone(path.with_suffix(".lock")):
        keys = read_keys(path)
        if name not in keys:
            known = ", ".join(keys) or "none"
            raise Refusal(f"there is no key '{name[:100]}'; there are: {known}.")
        _write(path, {other: entry for other, entry in keys.items() if other != name})


def _write(path: Path, keys: Mapping[str, Mapping[str, str]]) -> None:
    """Replace the file at once; nobody else may read it, not even while it is written."""
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")  # made with mode 0600
    try:
        with open(handle, "w", encoding="utf-8") as file:
            json.dump(keys, file, indent=1)
        sync(Path(name))
        os.replace(name, path)
        sync(path.parent)
    finally:
        Path(name).unlink(missing_ok=True)


def _is_entry(entry: Any) -> bool:
    return (
        isinstance(entry, dict)
        and isinstance(entry.get("created"), str)
        and isinstance(entry.get("sha256"), str)
        and re.fullmatch(r"[0-9a-f]{64}", entry["sha256"]) is not None
    )


def _owner(digests: Mapping[str, bytes], given: bytes) -> str | None:
    """Digests are compared instead of keys, and all of them, so that the time taken says nothing."""
    digest = _digest(given)
    owners = [name for name, known in digests.items() if hmac.compare_digest(digest, known)]
    return owners[0] if owners else None


def _digest(key: bytes) -> bytes:
    return hashlib.sha256(key).digest()
