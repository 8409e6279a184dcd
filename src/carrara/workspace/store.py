"""The workspace: makes artefacts, each exactly once, and finds them again.

An artefact is built in `work/<kind>/<id>` and moved, whole, to `artefacts/<kind>/<id>`; what is there is
finished by construction. A killed build leaves its work folder, and the next run of the same step
finds it there and goes on. Two processes that make the same artefact take turns by a file lock, which the
system frees when a process dies; different artefacts never wait for each other.
"""

from __future__ import annotations

import errno
import fcntl
import os
import shutil
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from carrara.errors import Refusal
from carrara.workspace.artefact import RECORD, Artefact, artefact_id, missing_files, read_artefact
from carrara.workspace.files import digest_of_file, is_full_disk, sync, write_atomically
from carrara.workspace.index import Index


@dataclass
class Draft:
    """An artefact in the making: the folder to fill, and what to record with it."""

    path: Path
    inputs: dict[str, str] = field(default_factory=dict)
    summary: dict[str, Any] = field(default_factory=dict)


class Workspace:
    """A folder of artefacts with an index. Safe for several processes at once."""

    def __init__(self, root: Path) -> None:
        self.root = root.resolve()
        try:
            for name in ("artefacts", "work", "locks"):
                (self.root / name).mkdir(parents=True, exist_ok=True)
            self.index = Index(self.root / "index.sqlite")
        except OSError as error:
            raise Refusal(
                f"the workspace {self.root} cannot be written ({error.strerror}); choose another with "
                "--workspace or CARRARA_WORKSPACE."
            ) from error

    def make(
        self,
        kind: str,
        made_by: Mapping[str, Any],
        build: Callable[[Draft], None],
        *,
        name: str,
        inputs: Mapping[str, Artefact] | None = None,
        resumable: bool = False,
        scratch: Collection[str] = (),
        on_wait: Callable[[str], None] | None = None,
    ) -> Artefact:
        """The artefact that `made_by` determines, built now unless it stands.

        `build` fills the draft's folder; if it is `resumable`, it finds there what a killed build left. Folders that
        `scratch` names are no part of the artefact, but go only when it stands, since a killed build goes on from them.
        Raises Refusal when the disk is full; whatever was made before stays.
        """
        identity = artefact_id(kind, made_by)
        if found := self.find(kind, identity):
            return found
        with self._lock(f"{kind}-{identity}", on_wait):
            if found := self.find(kind, identity):
                return found
            draft = Draft(path=self.work_folder(kind, identity))
            draft.inputs.update({role: artefact.reference for role, artefact in (inputs or {}).items()})
            try:
                if not resumable:
                    shutil.rmtree(draft.path, ignore_errors=True)
                draft.path.mkdir(parents=True, exist_ok=True)
                build(draft)
                return self._finish(kind, identity, name, made_by, draft, scratch)
            except OSError as error:
                raise _as_refusal(error, draft.path) from error
            except Exception as error:
                if isinstance(error, Refusal) or not is_full_disk(error):
                    raise
                raise _as_refusal(error, draft.path) from error

    def find(self, kind: str, identity: str) -> Artefact | None:
        """A finished artefact by kind and full id, or None."""
        folder = self.root / "artefacts" / kind / identity
        if not (folder / RECORD).is_file():
            return None
        artefact = read_artefact(folder)
        if missing := missing_files(artefact):
            raise Refusal(f"{folder} has lost {missing[0]}; remove the folder and run the step again.")
        if not self.index.knows(artefact.reference):
            self.index.add(artefact)  # killed between the move and the entry, or the index was removed
        return artefact

    def wait_for(self, kind: str, identity: str) -> Artefact:
        """An artefact that another process is making, once it is done; raises Refusal if that process failed."""
        with self._lock(f"{kind}-{identity}", None):
            if found := self.find(kind, identity):
                return found
        raise Refusal(f"the process that was making {kind}/{identity} did not finish; see its own message.")

    def get(self, reference: str) -> Artefact:
        """An artefact by `kind/id` or by an unambiguous beginning of the id; raises Refusal."""
        kind, _, prefix = reference.partition("/")
        found = [name for name in self._identities(kind) if prefix and name.startswith(prefix)]
        artefact = self.find(kind, found[0]) if len(found) == 1 else None
        if artefact is None:
            word = "is no artefact" if len(found) < 2 else f"fits {len(found)} artefacts"
            raise Refusal(f"'{reference}' {word} of the workspace {self.root}; `carrara runs` lists them.")
        return artefact

    def list(self, kind: str) -> list[Artefact]:
        """All artefacts of a kind, newest first; damaged ones are left out, and named when they are asked for."""
        found: list[Artefact] = []
        for name in self._identities(kind):
            with suppress(Refusal):
                found += [artefact] if (artefact := self.find(kind, name)) else []
        return sorted(found, key=lambda artefact: artefact.created, reverse=True)

    def _identities(self, kind: str) -> list[str]:
        folder = self.root / "artefacts" / kind
        is_name = kind and Path(kind).name == kind
        return sorted(path.name for path in folder.iterdir()) if is_name and folder.is_dir() else []

    def adopt(self, folder: Path) -> Artefact:
        """Take in a copy of an artefact from elsewhere; raises Refusal if a file of it was changed.

        It is kept under the digest of its content, not under what its record claims to have made it.
        """
        foreign = read_artefact(folder)
        if folder.resolve() == self.root / "artefacts" / foreign.kind / foreign.id:
            return foreign
        for name, digest in foreign.files.items():
            if Path(name).name != name:
                raise Refusal(
                    f"{folder} names the file '{name}', which is not inside it; make the {foreign.kind} again."
                )
            if not (folder / name).is_file() or digest_of_file(folder / name) != digest:
                raise Refusal(
                    f"{folder / name} is missing or was changed since it was made; make the {foreign.kind} again."
                )

        def build(draft: Draft) -> None:
            for name in foreign.files:
                shutil.copyfile(folder / name, draft.path / name)
            draft.summary.update(foreign.summary)

        made_by = {"adopted": foreign.digest, "claims": dict(foreign.made_by)}
        return self.make(foreign.kind, made_by, build, name=foreign.name)

    def work_folder(self, kind: str, identity: str) -> Path:
        """Where an unfinished artefact is being built."""
        return self.root / "work" / kind / identity

    def digest(self, path: Path) -> str:
        """The sha256 of a file, remembered until its size or modification time changes."""
        status = path.stat()
        name = os.fsencode(path.resolve()).decode("utf-8", "backslashreplace")
        key = (name, status.st_size, status.st_mtime_ns)
        if known := self.index.known_digest(*key):
            return known
        value = digest_of_file(path)
        self.index.remember_digest(*key, value)
        return value

    def _finish(
        self, kind: str, identity: str, name: str, made_by: Mapping[str, Any], draft: Draft, scratch: Collection[str]
    ) -> Artefact:
        target = self.root / "artefacts" / kind / identity
        files = {}
        for path in sorted(draft.path.rglob("*")):
            inside = path.relative_to(draft.path)
            if path.is_file() and path.name != RECORD and inside.parts[0] not in scratch:
                sync(path)
                files[inside.as_posix()] = digest_of_file(path)
        artefact = Artefact(
            kind=kind,
            id=identity,
            name=name,
            path=target,
            made_by=made_by,
            inputs=draft.inputs,
            summary=draft.summary,
            files=files,
            created=datetime.now(UTC).isoformat(timespec="microseconds"),
        )
        write_atomically(draft.path / RECORD, artefact.record())
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.rmtree(target, ignore_errors=True)
        draft.path.replace(target)
        sync(target.parent)
        for folder in scratch:
            shutil.rmtree(target / folder, ignore_errors=True)
        self.index.add(artefact)
        return artefact

    @contextmanager
    def _lock(self, name: str, on_wait: Callable[[str], None] | None) -> Iterator[None]:
        path = self.root / "locks" / f"{name}.lock"
        with path.open("w") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                if on_wait:
                    on_wait("another process is making this; waiting for it")
                fcntl.flock(file, fcntl.LOCK_EX)
            yield


def _as_refusal(error: Exception, path: Path) -> Exception:
    if is_full_disk(error):
        return Refusal(f"the disk that holds {path} is full; make room and run the same command again.")
    if isinstance(error, OSError) and error.errno in (errno.EACCES, errno.EROFS, errno.EIO, errno.EFBIG):
        return Refusal(f"{error.filename or path} cannot be written ({error.strerror}); mend that and run again.")
    return error


def open_workspace(root: Path | None = None) -> Workspace:
    """The workspace at `root`, else at CARRARA_WORKSPACE, else in the home folder's `.carrara`."""
    return Workspace(root or Path(os.environ.get("CARRARA_WORKSPACE") or Path.home() / ".carrara"))
