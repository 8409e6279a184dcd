"""llama.cpp's server in a process of its own, on a socket that nobody else can reach."""

from __future__ import annotations

import contextlib
import json
import secrets
import shutil
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx2

from carrara.errors import Refusal, one_line
from carrara.models.gguf import check_header
from carrara.models.machine import cores_of_container, count_cores
from carrara.serve.engine import Interrupted, Unavailable

if TYPE_CHECKING:
    import psutil

_CHILD = Path(__file__).with_name("llamacpp_child.py")
_SOCKET = "engine.sock"  # llama.cpp takes a name with this ending for a socket's
_PATIENCE = 600.0  # seconds for a few tokens on a machine that is busy with something else
_JSON = {"Content-Type": "application/json"}
_GONE = (httpx2.TransportError, RuntimeError)  # the latter where the client was closed meanwhile
_LOOK = 0.2  # seconds for which it is looked at how busy the machine is


@dataclass(frozen=True)
class Settings:
    """What a process serves: files, slots of `context` tokens each, threads.

    `exact` keeps keys and values in float32, and computes attention in it. `embeds` makes a process that gives vectors,
    and writes nothing.
    """

    base: str
    adapters: tuple[str, ...]
    context: int
    slots: int
    threads: int
    exact: bool
    embeds: bool = False


class LlamaCppProcess:
    """Starts with an empty environment and ends with this process, however that ends; of use once it is ready."""

    def __init__(self, settings: Settings) -> None:
        """Raises Refusal for what is no GGUF file, and OSError where no process can be started."""
        for path in (settings.base, *settings.adapters):
            check_header(Path(path))  # before native code reads it
        self._settings = settings
        self._key = secrets.token_urlsafe(32)
        self.folder = Path(tempfile.mkdtemp(prefix="carrara-"))  # which nobody else may enter
        try:
            self._process = _start_child(self.folder)
        except BaseException:
            self.folder.rmdir()
            raise
        self.pid = self._process.pid
        transport = httpx2.HTTPTransport(
            uds=str(self.folder / _SOCKET),
            limits=httpx2.Limits(max_keepalive_connections=0),  # the server hangs up on old ones without a word
        )
        self._client = httpx2.Client(
            transport=transport,
            base_url="http://engine",
            headers={"Authorization": f"Bearer {self._key}"},
            timeout=httpx2.Timeout(_PATIENCE),
        )

    @property
    def alive(self) -> bool:
        """Whether the process runs."""
        return self._process.poll() is None

    def ask(self, body: Mapping[str, Any]) -> dict[str, Any]:
        """The answer of /completion to `body`; raises Interrupted, or Refusal with llama.cpp's reason."""
        return self._post("/completion", body)

    def embed(self, ids: Sequence[int], adapters: Sequence[Mapping[str, Any]]) -> list[float]:
        """The mean of the last hidden states of tokens; raises as `ask` does. One text at a time may be embedded."""
        self._post("/lora-adapters", adapters)  # an embedding request that names adapters gets none of them
        (found,) = self._post("/embedding", {"content": list(ids), "embd_normalize": -1})
        return found["embedding"][0]

    def stream(self, body: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
        """The events of /completion; what is not taken is not computed. Raises as `ask` does."""
        content = json.dumps({**body, "stream": True})
        try:
            with self._client.stream("POST", "/completion", content=content, headers=_JSON) as response:
                if response.status_code != 200:
                    response.read()
                _require_ok(response)
                for line in response.iter_lines():
                    if line.startswith("data: {"):
                        yield json.loads(line.removeprefix("data: "))
        except _GONE as error:
            self.kill()
            raise Interrupted from error

    def wait_until_ready(self) -> None:
        """Wait until the files are loaded; raises Refusal, after all is tidied up, where they cannot be."""
        try:
            self._load()
        except BaseException:
            self.close()
            raise

    def kill(self) -> None:
        """End the process, also while it loads, and see to it that this is known: its socket closes a moment before."""
        self._process.kill()
        self._process.wait()

    def close(self) -> None:
        """End the process and remove its folder; nobody may be waiting for it to be ready."""
        self._client.close()
        self.kill()
        for pipe in (self._process.stdin, self._process.stdout, self._process.stderr):
            with contextlib.suppress(OSError):
                if pipe:
                    pipe.close()
        shutil.rmtree(self.folder, ignore_errors=True)

    def _post(self, path: str, body: object) -> Any:
        try:
            response = self._client.post(path, content=json.dumps(body), headers=_JSON)
        except _GONE as error:
            self.kill()
            raise Interrupted from error
        _require_ok(response)
        return response.json()

    def _load(self) -> None:
        process, settings = self._process, self._settings
        assert process.stdin is not None
        assert process.stdout is not None
        assert process.stderr is not None
        with contextlib.suppress(BrokenPipeError):
            process.stdin.write(json.dumps({**asdict(settings), "key": self._key, "socket": _SOCKET}) + "\n")
            process.stdin.flush()
        if process.stdout.readline().strip() != "ready":
            lines = [line.strip() for line in process.stderr.read().splitlines() if line.strip()]
            code = process.wait()
            said = one_line(lines[-1]) if lines else f"its process ended with code {code}"
            files = " with ".join(Path(path).name for path in (settings.base, *settings.adapters))
            raise Refusal(f"llama.cpp cannot load {files}: {said}; make the files again, or use another engine.")


def _start_child(folder: Path) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-P", str(_CHILD)],  # -P: what is imported is what is installed, not what lies beside it
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        cwd=folder,
        env={},
        start_new_session=True,  # Ctrl-C is for the parent, which lets answers end
        text=True,
    )


class Lasting:
    """A process that is started when it is first asked for, and anew where it has ended."""

    def __init__(self, settings: Settings, on_start: Callable[[], None] = lambda: None) -> None:
        """`on_start` is called before each start."""
        self._settings = settings
        self._on_start = on_start
        self._starting = threading.Lock()  # held until the process is ready, which may take minutes
        self._changing = threading.Lock()
        self._closed = False
        self.process: LlamaCppProcess | None = None  # the one that was started last

    def running(self) -> LlamaCppProcess:
        """The process; raises Unavailable where it cannot be started, and Interrupted once closed."""
        with self._starting:
            if self.process is None or not self.process.alive:
                return self._start()
            if self._closed:
                raise Interrupted
            return self.process

    def close(self) -> None:
        """End the process, also one that is about to be ready; none is started any more."""
        with self._changing:
            self._closed = True
            if self.process:
                self.process.kill()
        with self._starting:
            if self.process:
                self.process.close()

    def _start(self) -> LlamaCppProcess:
        if self.process:
            self.process.close()
        self._on_start()
        try:
            with self._changing:
                if self._closed:
                    raise Interrupted
                process = self.process = LlamaCppProcess(self._settings)
            process.wait_until_ready()
        except Refusal as error:
            raise Interrupted() if self._closed else Unavailable(str(error)) from error
        except OSError as error:
            raise Unavailable(f"llama.cpp's process cannot be started ({error.strerror}).", 60) from error
        return process


def _require_ok(response: httpx2.Response) -> None:
    if response.status_code != 200:
        raise Refusal(f"llama.cpp refuses this request: {one_line(response.json()['error']['message'])}.")


def free_threads() -> int:
    """The threads that llama.cpp may have: the cores given to this process, less those busy with something else now.

    What this process and its children compute meanwhile is theirs. One core is left over at least: llama.cpp's threads
    wait for each other by spinning, and as soon as anything else runs on their cores, all of them are many times slower
    than all but one.
    """
    import psutil

    own = psutil.Process()
    mine = [own, *own.children()]
    before = _used(mine)
    busy = psutil.cpu_percent(_LOOK) / 100 * (psutil.cpu_count() or 1)
    others = round(busy - (_used(mine) - before) / _LOOK)
    return int(max(1, min(count_cores() - max(1, others), cores_of_container())))


def _used(processes: Sequence[psutil.Process]) -> float:
    """The seconds of a core that processes have used; one that has ended counts for none."""
    import psutil

    seconds = 0.0
    for process in processes:
        with contextlib.suppress(psutil.Error):
            times = process.cpu_times()
            seconds += times.user + times.system
    return seconds
