"""The audit log: one line for each request, each holding the digest of the line before, so that no change is silent.

A line is a JSON object that ends in `"hash"`, the SHA-256 of all bytes of the line before that field. The head beside
the log says how far the log went, so that lines cut off its end are missed, too. Whoever may write both files can
write a new log; to rule that out, keep the hash that `carrara audit verify` prints somewhere else.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections import deque
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

from carrara.errors import Refusal
from carrara.serve.answered import Answered
from carrara.workspace import Workspace, write_atomically
from carrara.workspace.files import alone

_START = "0" * 64  # what stands for the line before the first one
_SEAL = len(',"hash":""}') + 64

Fault = Literal["changed", "removed", "reordered", "cut", "headless"]


@dataclass(frozen=True)
class Head:
    """How far a log went: the number and hash of its last line, and its size in bytes."""

    number: int
    hash: str
    size: int


_EMPTY = Head(0, _START, 0)


@dataclass(frozen=True)
class Verified:
    """What a log is worth: how many lines hold from its beginning, the hash of the last of them, and the first fault.

    `torn` is how many bytes of an unfinished line stand at the end, as a killed process leaves them; no fault.
    """

    lines: int
    head: str
    fault: Fault | None
    sentence: str
    torn: int


def audit_path(workspace: Workspace) -> Path:
    """Where the audit log of a workspace lies."""
    return workspace.root / "audit" / "log.jsonl"


class AuditLog:
    """Appends to a log. Safe for threads and for several processes; every line is on the disk when `append` returns.

    `digests` gives the digest of each model by name, and may come to know more of them; `contents` says whether what
    was asked, offered and said is kept.
    """

    def __init__(self, path: Path, digests: Mapping[str, str], contents: bool = False) -> None:
        self._path = path
        self._digests = digests
        self._contents = contents
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        os.close(os.open(path, os.O_WRONLY | os.O_CREAT, 0o600))
        with alone(_lock(path)):
            if not _head_path(path).exists() and not path.stat().st_size:
                _write_head(path, _EMPTY)

    def append(self, answered: Answered) -> None:
        """Add a line; raises OSError if the disk does not take it. What a killed process tore is cut off and told."""
        fields: dict[str, Any] = asdict(answered)
        contents = {name: fields.pop(name) for name in ("asked", "offered", "said")}
        fields["digest"] = self._digests.get(answered.model, "")
        if self._contents:
            fields |= contents
        with alone(_lock(self._path)):
            head = _find_end(self._path)
            _add(self._path, head, fields)


def verify(path: Path) -> Verified:
    """Check every line of a log against the one before and the last against the head; raises Refusal without a log."""
    if not path.parent.is_dir():
        raise Refusal(f"there is no audit log at {path}; `carrara serve` writes one.")
    with alone(_lock(path)):
        head, size = _read_head(path), path.stat().st_size if path.exists() else 0
    at, before, torn = 0, _START, 0
    lines = _lines(path, size)
    for line in lines:
        if not line.endswith(b"\n") and (head is None or at >= head.number):
            torn = len(line)
            break
        fault, sentence = _check(line, at + 1, before)
        if fault == "removed" and any(_number(later) == at + 1 for later in lines):
            fault, sentence = "reordered", f"line {at + 1} is not in its place: it stands further down"
        if fault:
            return Verified(at, before, fault, sentence, 0)
        at, before = at + 1, _hash(line)
        if head and at == head.number and before != head.hash:
            return Verified(at - 1, before, "changed", f"line {at} is not the one that the head names", 0)
    if head is None and at + torn:
        lost = f"the head {_head_path(path)} is missing or damaged, so lines may have been cut off the end"
        return Verified(at, before, "headless", lost, 0)
    if head and at < head.number:
        return Verified(at, before, "cut", f"lines {at + 1} to {head.number} were cut off the end", 0)
    return Verified(at, before, None, f"all {at} lines hold", torn)


def last_lines(path: Path, count: int) -> list[dict[str, Any]]:
    """The last entries of a log as they stand, unchecked; lines that are no JSON objects are left out."""
    if not path.exists():
        raise Refusal(f"there is no audit log at {path}; `carrara serve` writes one.")
    found = (_parse(line) for line in deque(_lines(path, path.stat().st_size), maxlen=count))
    return [fields for fields in found if fields]


def _check(line: bytes, number: int, before: str) -> tuple[Fault | None, str]:
    """What is wrong with a line that should be the one of that number, if anything."""
    fields = _parse(line)
    if fields is None or _seal(line[: -_SEAL - 1]) != line[-_SEAL - 1 :]:
        return "changed", f"line {number} was changed: it does not give its own hash"
    found = _number(line)
    if found > number:
        return "removed", f"line {number} was removed: line {found} stands in its place"
    if found < number:
        return "reordered", f"line {number} is not in its place: line {found} stands there"
    if fields.get("before") != before:
        return "changed", f"line {number} does not follow from the line before: one of the two was written anew"
    return None, ""


def _number(line: bytes) -> int:
    number = (_parse(line) or {}).get("number")
    return number if isinstance(number, int) else 0


def _parse(line: bytes) -> dict[str, Any] | None:
    try:
        fields = json.loads(line)
    except (ValueError, RecursionError):
        return None
    return fields if isinstance(fields, dict) else None


def _seal(sealed: bytes) -> bytes:
    """The end of the line that begins with `sealed`."""
    return f',"hash":"{hashlib.sha256(sealed).hexdigest()}"}}\n'.encode()


def _hash(line: bytes) -> str:
    return line[-_SEAL - 1 :].decode()[len(',"hash":"') : -len('"}\n')]


def _add(path: Path, head: Head, fields: Mapping[str, Any]) -> Head:
    """Write the line after `head`, and the head that it makes."""
    time = datetime.now(UTC).isoformat(timespec="milliseconds")
    entry = {"number": head.number + 1, "time": time, **fields, "before": head.hash}
    sealed = json.dumps(entry, separators=(",", ":"))[:-1].encode()  # in ASCII, so that no text can break a line
    line = sealed + _seal(sealed)
    with path.open("ab") as file:
        file.write(line)
        file.flush()
        os.fsync(file.fileno())
        size = file.tell()
    grown = Head(head.number + 1, _hash(line), size)
    _write_head(path, grown)
    return grown


def _find_end(path: Path) -> Head:
    """What the next line follows, after the end of the log was mended if a process was killed at it."""
    known = _read_head(path)
    head = known or _EMPTY
    size = path.stat().st_size
    if size == head.size:
        return head
    notes = [] if known else ["the head of the log was missing and is made anew"]
    with path.open("rb+") as file:
        file.seek(min(head.size, size))
        written = file.read()
        torn = written[written.rfind(b"\n") + 1 :]
        if torn:
            file.truncate(size - len(torn))
            notes.append(f"cut off {len(torn)} bytes of a line that a process did not finish")
    for line in written.splitlines(keepends=True):  # of a process that ended before it could write the head
        if _check(line, head.number + 1, head.hash)[0] is None:
            head = Head(head.number + 1, _hash(line), head.size + len(line))
    # Where lines were cut off or changed, the next one follows the head: a gap that stays to be seen.
    for note in notes:
        head = _add(path, head, {"who": "carrara", "route": "audit", "status": 0, "reason": note})
    return head


def _lines(path: Path, size: int) -> Iterator[bytes]:
    """The lines within the first `size` bytes of a log."""
    if not size:
        return
    with path.open("rb") as file:
        while line := file.readline(size - file.tell()):
            yield line


def _read_head(path: Path) -> Head | None:
    """The head of a log; None where it is missing or damaged."""
    try:
        head = Head(**json.loads(_head_path(path).read_text(encoding="utf-8")))
    except (FileNotFoundError, ValueError, TypeError):
        return None
    return head if type(head.number) is type(head.size) is int and min(head.number, head.size) >= 0 else None


def _write_head(path: Path, head: Head) -> None:
    write_atomically(_head_path(path), json.dumps(asdict(head)) + "\n")


def _head_path(path: Path) -> Path:
    return path.with_suffix(".head.json")


def _lock(path: Path) -> Path:
    return path.with_suffix(".lock")
