"""Where rows come from: a file, a folder, a zip archive or a data set of the hub, as one stream of rows."""

from __future__ import annotations

import os
import stat
import zipfile
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from typing import Any

from carrara.data.example import Example
from carrara.data.read.bad import BadRow, Damaged, named
from carrara.data.read.hub import SCHEME, fetch_rows
from carrara.data.read.records import Beginning, Layout, has_group, inspect_file, read_rows_of
from carrara.data.read.shapes import EXPECTED, check_map, has_field, propose_map
from carrara.data.read.streams import DOCUMENTS, FORMATS, SourceFile, format_of
from carrara.errors import Refusal
from carrara.progress import Progress, Silent
from carrara.wording import line
from carrara.workspace import Artefact, Workspace, user_path

FORMAT = 1  # raised when the same files would give other rows
_ARCHIVES = (".zip", ".tar", ".tar.gz", ".tar.zst", ".tgz", ".7z", ".rar", ".bz2", ".xz")
_SHOWN = 3


@dataclass(frozen=True)
class Source:
    """Files of rows in a fixed order. `troubles` are files that are not read; `fetched` is what the hub gave."""

    name: str
    files: tuple[SourceFile, ...]
    layouts: tuple[Layout, ...]
    troubles: tuple[BadRow, ...] = ()
    fetched: Artefact | None = None

    def rows(self) -> Iterator[Example | BadRow]:
        """Every row as an example or as the reason why it is none; the same at each call while the files stand."""
        yield from self.troubles
        for file, layout in zip(self.files, self.layouts, strict=True):
            yield from read_rows_of(file, layout)

    def digest(self, workspace: Workspace) -> dict[str, Any]:
        """What determines the rows: the names and sha256 of the files, and of what holds them."""
        files = [[file.name, workspace.digest(file.path)] for file in self.files]
        return {"format": FORMAT, "files": files, "troubles": [trouble.sentence for trouble in self.troubles]}

    def describe(self) -> list[dict[str, Any]]:
        """Each file with its format, encoding, shape and map."""
        return [
            {
                "file": file.name,
                "format": "+".join(filter(None, (layout.format, file.compression))),
                "encoding": layout.encoding.name if layout.encoding else None,
                "shape": layout.shape.name if layout.shape else None,
                "mapping": dict(layout.shape.fields) if layout.shape else {},
            }
            for file, layout in zip(self.files, self.layouts, strict=True)
        ]


def open_source(
    text: str, mapping: Mapping[str, str], group: str | None, workspace: Workspace, progress: Progress
) -> Source:
    """The source that a path or `hub:owner/name[@revision]` names, its files looked into, and said.

    Raises Refusal where nothing can be read, a map does not fit, or no file has a known shape.
    """
    check_map(mapping)
    if not text.startswith(SCHEME):
        source = _open_path(user_path(text), mapping, group, progress)
        _require_utf8([source.name, *(file.name for file in source.files)])
        return source
    fetched = fetch_rows(workspace, text, progress)
    names = [name for name in sorted(fetched.files) if format_of(name)[0]]
    files = [_file(name, fetched.path / name) for name in names]
    return replace(_inspect(text, files, [], mapping, group, progress), fetched=fetched)


def read_rows(
    path: Path, mapping: Mapping[str, str] | None = None, group: str | None = None
) -> Iterator[Example | BadRow]:
    """The rows of a path without a word; raises Refusal as `open_source` does."""
    check_map(mapping or {})
    return _open_path(path, mapping or {}, group, Silent()).rows()


def _open_path(path: Path, mapping: Mapping[str, str], group: str | None, progress: Progress) -> Source:
    mode = _mode(path)
    files: list[SourceFile] = []
    troubles: list[BadRow] = []
    skipped: list[str] = []
    if stat.S_ISDIR(mode):
        for name, inner in _walk(path, skipped):
            _add(name, inner, files, troubles, skipped)
    elif not stat.S_ISREG(mode):
        raise Refusal(f"{path} is no regular file; save its rows to a file, and give that.")
    elif path.stat().st_size == 0:
        raise Refusal(f"{path} is empty; give a file with rows.")
    else:
        _check_permission(path)
        _add(path.name, path, files, troubles, skipped)
    if any(file.format not in DOCUMENTS for file in files):  # then text is about the rows, such as a README
        skipped += [file.name for file in files if file.format in DOCUMENTS]
        files = [file for file in files if file.format not in DOCUMENTS]
    if not files and troubles:
        raise Refusal(f"{path} has nothing that can be read: {troubles[0].sentence}.")
    if not files:
        what = f"holds no file of rows (of {', '.join(skipped[:_SHOWN])})" if skipped else "holds no file"
        what = what if stat.S_ISDIR(mode) or path.suffix.lower() == ".zip" else "has no ending that says its format"
        raise Refusal(f"{path} {what}; give {', '.join(FORMATS)}, each also with .gz or .zst, or a .zip or folder.")
    if skipped:
        progress.say(f"skipped in {path}: {_some(skipped)}, which are no files of rows")
    return _inspect(path.name or str(path), files, troubles, mapping, group, progress, str(path))


def _mode(path: Path) -> int:
    try:
        return path.stat().st_mode
    except (FileNotFoundError, NotADirectoryError, ValueError) as error:
        raise Refusal(f"the data file {path} does not exist; give the path of a file or folder of rows.") from error
    except OSError as error:
        raise Refusal(f"{path} cannot be read ({error.strerror}); check the path and its permissions.") from error


def _check_permission(path: Path) -> None:
    try:
        path.open("rb").close()
    except OSError as error:
        raise Refusal(f"{path} cannot be read ({error.strerror}); check its permissions.") from error


# ---- folders and archives ----


def _walk(root: Path, skipped: list[str]) -> Iterator[tuple[str, Path]]:
    """Files below a folder by their names in it, sorted; hidden ones are skipped, and so is what is no file."""
    found: list[tuple[str, Path]] = []

    def note(error: OSError) -> None:
        skipped.append(f"{error.filename} ({error.strerror})")

    for folder, folders, names in os.walk(root, onerror=note):
        folders[:] = [name for name in folders if not name.startswith(".")]
        found += [((Path(folder) / name).relative_to(root).as_posix(), Path(folder) / name) for name in names]
    for name, path in sorted(found):
        if path.name.startswith(".") or not path.is_file():
            skipped.append(name)
        else:
            yield name, path


def _add(name: str, path: Path, files: list[SourceFile], troubles: list[BadRow], skipped: list[str]) -> None:
    """Sort a file of this name into those that are read, those that cannot be, and those that hold no rows."""
    if path.suffix.lower() == ".zip":
        try:
            with zipfile.ZipFile(path) as archive:
                members = archive.infolist()
        except (OSError, ValueError, zipfile.BadZipFile, NotImplementedError) as error:
            troubles.append(BadRow(name, 0, None, f"is no zip archive that can be read ({error})", ""))
            return
        counts = Counter(member.filename for member in members)
        for member in sorted(members, key=lambda member: member.filename):
            if counts.pop(member.filename, 0):
                _add_member(name, path, member, files, troubles, skipped)
            else:
                troubles.append(BadRow(f"{name}/{member.filename}", 0, None, "has the name of another member", ""))
    elif format_of(name)[0]:
        files.append(_file(name, path))
    else:
        skipped.append(name)


def _add_member(
    archive: str,
    path: Path,
    member: zipfile.ZipInfo,
    files: list[SourceFile],
    troubles: list[BadRow],
    skipped: list[str],
) -> None:
    name = f"{archive}/{member.filename}".encode("utf-8", "replace").decode("utf-8")
    parts = PurePosixPath(member.filename.replace("\\", "/")).parts
    reason = None
    if member.filename.endswith("/"):
        return
    if ".." in parts or not parts or parts[0] == "/" or parts[0].endswith(":"):
        reason = "has a name that leads out of the archive, so it is not read"
    elif member.flag_bits & 1:
        reason = "is encrypted; unpack the archive first"
    elif member.filename.lower().endswith(_ARCHIVES):
        reason = "is an archive within an archive; unpack the outer one first"
    if reason:
        troubles.append(BadRow(name, 0, None, reason, ""))
    elif not format_of(member.filename)[0] or parts[0] == "__MACOSX" or any(part.startswith(".") for part in parts):
        skipped.append(name)
    else:
        files.append(replace(_file(name, path), member=member.filename))


def _file(name: str, path: Path) -> SourceFile:
    format, compression = format_of(name)
    assert format is not None
    return SourceFile(name, path, None, format, compression)


# ---- what the files are ----


def _inspect(
    name: str,
    files: Sequence[SourceFile],
    troubles: Sequence[BadRow],
    mapping: Mapping[str, str],
    group: str | None,
    progress: Progress,
    shown: str | None = None,
) -> Source:
    """Look into each file; one among several that cannot be read is a trouble, a single one a Refusal."""
    found: list[tuple[SourceFile, Beginning]] = []
    bad = list(troubles)
    for file in files:
        try:
            beginning = inspect_file(file, mapping, group)
        except Damaged as error:
            bad.append(BadRow(file.name, 0, None, str(error), ""))
            continue
        if beginning.records or beginning.problem:
            found.append((file, beginning))
        else:
            progress.say(f"{file.name} holds no rows")
    shown = shown or name
    if not found:
        reason = f"no row of {shown} can be used; the first reason: {bad[0].sentence}" if bad else None
        raise Refusal(f"{reason or f'{shown} holds no row'}; give a file with rows.")
    beginnings = [beginning for _, beginning in found]
    _require_mapped(shown, beginnings, mapping)
    if not any(beginning.layout.shape for beginning in beginnings):
        raise Refusal(_unrecognised(shown, beginnings, mapping))
    _require_group(shown, found, group)
    source = Source(name, tuple(file for file, _ in found), tuple(start.layout for _, start in found), tuple(bad))
    _say_shapes(source, progress)
    return source


def _unrecognised(shown: str, found: Sequence[Beginning], mapping: Mapping[str, str]) -> str:
    """Why no file has a known shape, and what would help."""
    records = [record for beginning in found for record in beginning.records]
    if not records:
        problem = found[0].problem
        return f"no row of {shown} can be used; the first reason: {problem.sentence if problem else 'none is known'}."
    fields = _fields(found)
    listed = _some(fields, 20) or "(none)"
    if mapping:
        said = ", ".join(f"{part}={field}" for part, field in mapping.items())
        return f"the map {said} leaves out what an example needs ({EXPECTED}); {shown} has the fields {listed}."
    first = next(iter(found)).layout.table
    header = " (it has no header)" if first and not first.has_header else ""
    proposal = propose_map(max(records, key=len))
    way = f"try {proposal}" if proposal else "name the fields with --map"
    return f"{shown} has the fields {listed}{header}, expected {EXPECTED}; {way}."


def _require_mapped(shown: str, found: Sequence[Beginning], mapping: Mapping[str, str]) -> None:
    """Refuse a map that names a field which no first row has."""
    records = [record for beginning in found for record in beginning.records]
    for part, field in mapping.items():
        if records and not any(has_field(record, field) for record in records):
            raise Refusal(
                f"the map's {part}={field} names a field that the first rows of {shown} do not have; "
                f"they have {_some(_fields(found), 20) or '(none)'}."
            )


def _fields(found: Sequence[Beginning]) -> list[str]:
    return list(dict.fromkeys(str(key) for beginning in found for record in beginning.records for key in record))


def _require_group(shown: str, found: Sequence[tuple[SourceFile, Beginning]], group: str | None) -> None:
    """Refuse a group that no row has; the rest of the rows is looked through only where the first have none."""
    if group is None or any(has_field(record, group) for _, start in found for record in start.records):
        return
    if not any(has_group(file, start.layout, group) for file, start in found):
        fields = _some(_fields([start for _, start in found]), 20)
        raise Refusal(f"no row of {shown} has the group '{group}'; its fields are {fields}.")


def _say_shapes(source: Source, progress: Progress) -> None:
    """Say what the files were taken for, files of one kind in one sentence."""
    kinds: dict[str, list[str]] = {}
    for file, layout in zip(source.files, source.layouts, strict=True):
        kinds.setdefault(_kind(layout), []).append(file.name)
    for kind, names in kinds.items():
        progress.say(f"{_some(names)}: {kind}")
    for trouble in source.troubles[:_SHOWN]:
        progress.say(trouble.sentence)


def _kind(layout: Layout) -> str:
    shape, table, words = layout.shape, layout.table, []
    if shape is None:
        return f"rows of no known shape, as {layout.format}"
    if shape.renamed:
        words.append("(" + ", ".join(f"{part}={field}" for part, field in shape.renamed.items()) + ")")
    words.append(f"as {layout.format}")
    if table and table.delimiter == ";":
        words.append("with semicolons")
    if table and not table.has_header:
        words.append("without a header")
    if layout.encoding and layout.encoding.name != "utf-8":
        words.append(f"in {layout.encoding.name}")
    unused = f"; not used: {_some(layout.unused, 10)}" if layout.unused else ""
    return f"{shape.name} {' '.join(words)}{unused}"


def _require_utf8(names: Sequence[str]) -> None:
    """Refuse names that could not be written down beside their rows."""
    for name in names:
        plain = name.encode("utf-8", "replace").decode("utf-8")
        if plain != name:
            raise Refusal(f"the name of the file {line(plain)} is not UTF-8 text; rename it.")


def _some(names: Sequence[str], count: int = _SHOWN) -> str:
    more = f" and {len(names) - count} more" if len(names) > count else ""
    return ", ".join(map(named, names[:count])) + more
