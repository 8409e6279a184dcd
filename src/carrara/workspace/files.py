"""Writing so that a killed process leaves either the old file or the new one, and digests of what was written."""

from __future__ import annotations

import errno
import fcntl
import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

_BLOCK = 1 << 20


@contextmanager
def alone(path: Path) -> Iterator[None]:
    """Hold the lock that the file `path` stands for; others wait, and a process that dies frees it."""
    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def digest_of_file(path: Path) -> str:
    """The sha256 of a file's bytes, in hex."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(_BLOCK):
            digest.update(block)
    return digest.hexdigest()


def digest_of_value(value: Any) -> str:
    """The sha256 of a JSON value in canonical form (sorted keys, no spaces), in hex."""
    canonical = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256(canonical.encode("utf-8")).hexdigest()


def write_atomically(path: Path, content: str | bytes) -> None:
    """Replace `path` by `content`, whole or not at all, also when the power goes; needs its folder to exist."""
    data = content.encode("utf-8") if isinstance(content, str) else content
    replace_atomically(path, lambda temporary: _write(temporary, data))


def replace_atomically(path: Path, write: Callable[[Path], None]) -> None:
    """Let `write` fill a temporary neighbour of `path`, then move it into place."""
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".part")
    os.close(handle)
    temporary = Path(name)
    try:
        write(temporary)
        sync(temporary)
        temporary.chmod(0o666 & ~_umask())
        temporary.replace(path)
        sync(path.parent)
    finally:
        temporary.unlink(missing_ok=True)


def read_json_lines(path: Path) -> list[dict[str, Any]]:
    """The whole lines of a file of JSON lines; a last line that a kill tore is cut off the file."""
    if not path.exists():
        return []
    data = path.read_bytes()
    whole = data[: data.rfind(b"\n") + 1]
    if len(whole) != len(data):
        write_atomically(path, whole)
    return [json.loads(line) for line in whole.splitlines()]


def sync(path: Path) -> None:
    """Flush a file or folder to the disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def user_path(text: str) -> Path:
    """The path that a user wrote, `~` being the home folder where there is one."""
    try:
        return Path(text).expanduser()
    except RuntimeError:  # ~somebody, who is unknown here
        return Path(text)


def free_space(path: Path) -> int:
    """Bytes free on the disk that holds `path`."""
    return shutil.disk_usage(path).free


def is_full_disk(error: BaseException) -> bool:
    """Whether an error says that the disk is full; some libraries say it in words of their own kind of error."""
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
        return True
    return os.strerror(errno.ENOSPC) in str(error)


def _write(path: Path, data: bytes) -> None:
    with path.open("wb") as file:
        file.write(data)


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
