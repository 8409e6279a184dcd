"""Work on chunks of rows in worker processes; what is done is kept, so that a killed run does not do it again.

Workers are programs that answer a line of JSON with a line of JSON. They need no guard in the caller's main
module, nothing is pickled, and they end by themselves when whoever asked them is gone.
"""

from __future__ import annotations

import json
import queue
import subprocess
import sys
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from carrara.errors import Refusal
from carrara.models.machine import count_cores
from carrara.workspace import write_atomically

_AHEAD = 2  # chunks that wait for each worker, so that none is idle and few are in memory
_ROWS, _CHARACTERS = 1000, 4_000_000  # a chunk ends at whichever comes first


@dataclass(frozen=True)
class Job:
    """What workers do: one of the jobs that `worker.py` knows, with its settings, and where answers are kept."""

    name: str
    settings: Mapping[str, Any]
    folder: Path


def cut_into_chunks(rows: Iterable[Mapping[str, Any]]) -> Iterator[list[Mapping[str, Any]]]:
    """Rows in chunks of at most 1,000, fewer where they are long, so that memory is bounded."""
    chunk: list[Mapping[str, Any]] = []
    size = 0
    for row in rows:
        chunk.append(row)
        size += sum(len(message["content"]) for message in row["messages"])
        if len(chunk) == _ROWS or size >= _CHARACTERS:
            yield chunk
            chunk, size = [], 0
    if chunk:
        yield chunk


def run_job(job: Job, chunks: Iterable[Any]) -> Iterator[dict[str, Any]]:
    """The answers for all chunks, in order; those that a killed run left in the job's folder are not made again.

    A single chunk is done in this process, since starting workers would take longer.
    """
    job.folder.mkdir(parents=True, exist_ok=True)
    with ExitStack() as stack:
        workers: _Workers | None = None
        waiting: list[Future[dict[str, Any]] | dict[str, Any]] = []
        for index, (chunk, is_only) in enumerate(_mark_only(chunks)):
            kept = _answer_file(job, index)
            if kept.is_file():
                waiting.append(json.loads(kept.read_text(encoding="utf-8")))
            elif is_only:
                waiting.append(_do_here(job, index, chunk))
            else:
                workers = workers or stack.enter_context(_Workers(job))
                waiting.append(workers.ask(index, chunk))
            while len(waiting) > (workers.count * _AHEAD if workers else 0):
                yield _settled(waiting.pop(0))
        for answer in waiting:
            yield _settled(answer)


def _mark_only(chunks: Iterable[Any]) -> Iterator[tuple[Any, bool]]:
    """Each chunk, and whether it is the first and the last at once."""
    iterator = iter(chunks)
    first = next(iterator, None)
    if first is None:
        return
    second = next(iterator, None)
    yield first, second is None
    if second is not None:
        yield second, False
        yield from ((chunk, False) for chunk in iterator)


def _settled(answer: Future[dict[str, Any]] | dict[str, Any]) -> dict[str, Any]:
    return answer.result() if isinstance(answer, Future) else answer


def _answer_file(job: Job, index: int) -> Path:
    return job.folder / f"{index:05d}.json"


def _keep(job: Job, index: int, answer: dict[str, Any]) -> dict[str, Any]:
    write_atomically(_answer_file(job, index), json.dumps(answer, ensure_ascii=False))
    return answer


def _do_here(job: Job, index: int, chunk: Any) -> dict[str, Any]:
    from carrara.data.prepare.worker import start_job

    return _keep(job, index, start_job(job.name, job.settings)(index, chunk))


class _Workers:
    """One worker for each core, started when first asked."""

    def __init__(self, job: Job) -> None:
        self._job = job
        self.count = count_cores()
        self._threads = ThreadPoolExecutor(self.count)
        self._idle: queue.SimpleQueue[subprocess.Popen[str]] = queue.SimpleQueue()
        self._started: list[subprocess.Popen[str]] = []

    def __enter__(self) -> _Workers:
        try:
            for _ in range(self.count):
                self._started.append(_start(self._job))
                self._idle.put(self._started[-1])
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        for worker in self._started:
            worker.kill()
        self._threads.shutdown(cancel_futures=True)
        for worker in self._started:
            worker.communicate()

    def ask(self, index: int, chunk: Any) -> Future[dict[str, Any]]:
        return self._threads.submit(self._ask, index, chunk)

    def _ask(self, index: int, chunk: Any) -> dict[str, Any]:
        worker = self._idle.get()
        assert worker.stdin is not None
        assert worker.stdout is not None
        try:
            worker.stdin.write(json.dumps({"index": index, "chunk": chunk}) + "\n")
            worker.stdin.flush()
            line = worker.stdout.readline()
        except BrokenPipeError:
            line = ""
        finally:
            self._idle.put(worker)
        if not line:
            raise Refusal(
                f"a worker process ended while it did chunk {index} (code {worker.wait()}), perhaps for want of "
                "memory; run the same command again, it goes on from there."
            )
        answer = json.loads(line)
        if "refusal" in answer:
            raise Refusal(answer["refusal"])
        return _keep(self._job, index, answer["done"])


def _start(job: Job) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "carrara.data.prepare.worker", job.name]
    worker = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, encoding="utf-8",
                              start_new_session=True)  # fmt: skip
    assert worker.stdin is not None
    worker.stdin.write(json.dumps(dict(job.settings)) + "\n")
    worker.stdin.flush()
    return worker
