"""A stand-in for the hub on this machine: the few answers that fetching a model or a data file needs."""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import unquote, urlsplit

COMMIT = "0123456789abcdef0123456789abcdef01234567"


@dataclass
class Hub:
    """Repositories by `name` or `datasets/name`, each a mapping of file names to bytes."""

    repositories: dict[str, dict[str, bytes]] = field(default_factory=dict)
    claimed: dict[str, str] = field(default_factory=dict)  # file name -> the sha256 that the hub says it has
    cut: set[str] = field(default_factory=set)  # files whose connection breaks half-way
    commit: str = COMMIT
    requests: list[str] = field(default_factory=list)
    url: str = ""

    def add_folder(self, name: str, folder: Path) -> None:
        self.repositories[name] = {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}

    def sha256(self, name: str, content: bytes) -> str:
        return self.claimed.get(name) or hashlib.sha256(content).hexdigest()


@contextmanager
def run_hub() -> Iterator[Hub]:
    """Serve a `Hub` at its `url` until the block ends."""
    hub = Hub()
    server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(hub))
    hub.url = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    try:
        yield hub
    finally:
        server.shutdown()
        server.server_close()
        thread.join(10)


def _handler(hub: Hub) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self._answer(body=True)

        def do_HEAD(self) -> None:
            self._answer(body=False)

        def log_message(self, format: str, *args: object) -> None:
            del format, args

        def _answer(self, body: bool) -> None:
            path = unquote(urlsplit(self.path).path)
            hub.requests.append(path)
            for name, files in hub.repositories.items():
                kind = "" if name.startswith("datasets/") else "models/"
                if path.startswith(f"/api/{kind}{name}/"):
                    return self._api(name, files, path.removeprefix(f"/api/{kind}{name}/"))
                if path.startswith(f"/{name}/resolve/"):
                    revision, _, file = path.removeprefix(f"/{name}/resolve/").partition("/")
                    if revision in ("main", hub.commit) and file in files:
                        return self._file(file, files[file], body)
                    return self._missing("EntryNotFound")
            return self._missing("RepoNotFound")

        def _api(self, name: str, files: dict[str, bytes], question: str) -> None:
            what, _, revision = question.partition("/")
            if revision not in ("main", hub.commit):
                return self._missing("RevisionNotFound")
            if what == "revision":
                siblings = [self._sibling(file, content) for file, content in files.items()]
                return self._json({"id": name, "sha": hub.commit, "siblings": siblings})
            return self._json([self._entry(file, content) for file, content in files.items()])

        def _sibling(self, file: str, content: bytes) -> dict[str, object]:
            fields: dict[str, object] = {"rfilename": file, "size": len(content), "blobId": "0" * 40}
            if file.endswith((".safetensors", ".parquet")):
                fields["lfs"] = {"sha256": hub.sha256(file, content), "size": len(content), "pointerSize": 130}
            return fields

        def _entry(self, file: str, content: bytes) -> dict[str, object]:
            fields: dict[str, object] = {"type": "file", "path": file, "size": len(content), "oid": "0" * 40}
            if file.endswith((".safetensors", ".parquet")):
                fields["lfs"] = {"oid": hub.sha256(file, content), "size": len(content), "pointerSize": 130}
            return fields

        def _file(self, file: str, content: bytes, body: bool) -> None:
            self.send_response(200)
            self.send_header("Content-Length", str(len(content)))
            self.send_header("ETag", f'"{hub.sha256(file, content)}"')
            self.send_header("X-Repo-Commit", hub.commit)
            self.end_headers()
            if body:
                self.wfile.write(content[: len(content) // 2] if file in hub.cut else content)

        def _json(self, value: object) -> None:
            content = json.dumps(value).encode("utf-8")
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def _missing(self, code: str) -> None:
            self.send_response(404)
            self.send_header("X-Error-Code", code)
            self.send_header("Content-Length", "0")
            self.end_headers()

    return Handler
