"""Tiny wheels for a package index that is a folder, which the real pip client reads."""

from __future__ import annotations

import base64
import hashlib
import os
import zipfile
from pathlib import Path

import pytest


def write_wheel(folder: Path, name: str, version: str, files: dict[str, bytes]) -> Path:
    """Write `name-version-py3-none-any.whl` with `files` in it, which may replace its metadata."""
    module = name.replace("-", "_")
    info = f"{module}-{version}.dist-info"
    metadata = f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n"
    tags = "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
    content = {f"{info}/METADATA": metadata.encode(), f"{info}/WHEEL": tags.encode(), **files}
    record = "".join(f"{path},sha256={_digest(data)},{len(data)}\n" for path, data in content.items())
    content[f"{info}/RECORD"] = (record + f"{info}/RECORD,,\n").encode()
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{module}-{version}-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as archive:
        for place, data in content.items():
            archive.writestr(zipfile.ZipInfo(place), data)
    return path


def index_environment(folder: Path) -> dict[str, str]:
    """The settings that make pip look into `folder` and nowhere else."""
    folder.mkdir(parents=True, exist_ok=True)
    return {"PIP_CONFIG_FILE": os.devnull, "PIP_NO_INDEX": "1", "PIP_FIND_LINKS": str(folder)}


def use_index(monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
    """Make `folder` the package index of this process and of those it starts."""
    for key, value in index_environment(folder).items():
        monkeypatch.setenv(key, value)


def _digest(data: bytes) -> str:
    return base64.urlsafe_b64encode(hashlib.sha256(data).digest()).rstrip(b"=").decode()
