"""Which engine answers, and how it comes to answer for more models while it runs."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Generic, Literal, Protocol, TypeVar, get_args
from urllib.parse import urlsplit

from carrara.errors import Refusal
from carrara.export.gguf import QUANTIZATIONS, Quantization
from carrara.export.reference import reference_of
from carrara.models import Model
from carrara.models.machine import choose_device, choose_dtype, give_back_memory, left_to_container
from carrara.models.shape import shape_in
from carrara.progress import Progress
from carrara.serve.engine import ChatRequest, Embedded, Engine, Piece, TextRequest, Unavailable, UnknownModel
from carrara.serve.fingerprint import require_rendered, require_scored, sure_tokens
from carrara.serve.llamacpp_engine import LlamaCppEngine, Voice
from carrara.serve.llamacpp_process import free_threads
from carrara.serve.reader import reader_of, require_chat
from carrara.serve.relay import Relay
from carrara.workspace import Workspace

Local = Literal["auto", "transformers", "llamacpp"]
Elsewhere = Literal["openai", "vllm"]
_SLOTS = 4  # answers at once
_SHARE = 4  # of the memory that is free, the part for keys and values is one in so many
_LOOK_EVERY = 5.0  # seconds between two looks at how many threads are free
_STEADY = 12  # looks in a row, until more threads than there were are worth another process
_DTYPES = ("float32", "bfloat16")  # of transformers; those of llama.cpp are quantizations
_ACCELERATORS = ("/dev/nvidiactl", "/dev/kfd", "/dev/dxg")  # looked for first, since asking torch takes a second
_Named = TypeVar("_Named")


@dataclass(frozen=True)
class Choice:
    """What --engine names; `url` is that of another server, and None for vLLM where there is none yet."""

    kind: Local | Elsewhere
    url: str | None = None


def parse_engine(text: str) -> Choice:
    """What `NAME` or `NAME=URL` names; raises Refusal with the known ones, and for a URL that holds a secret."""
    name, equals, url = text.partition("=")
    for kind in (*get_args(Local), *get_args(Elsewhere)):
        if name == kind and (kind in get_args(Elsewhere) or not equals):
            if equals or kind == "openai":
                _require_server(kind, url)
            return Choice(kind, url or None)
    known = ", ".join(get_args(Local))
    raise Refusal(f"there is no engine '{text}'; --engine takes {known}, openai=URL, vllm or vllm=URL.")


def require_dtype(choice: Choice, dtype: str) -> None:
    """Raises Refusal for a number format that there is not, or that the chosen engine does not compute with."""
    if dtype == "auto":
        return
    if dtype not in (*_DTYPES, *QUANTIZATIONS):
        known = f"{', '.join(_DTYPES)} (transformers), {', '.join(QUANTIZATIONS)} (llama.cpp)"
        raise Refusal(f"there is no dtype '{dtype}'; use auto, {known}.")
    if choice.kind in get_args(Elsewhere):
        raise Refusal(f"--dtype does nothing with --engine {choice.kind}; the other server chooses its numbers.")
    others = {"transformers": QUANTIZATIONS, "llamacpp": _DTYPES}.get(choice.kind, ())
    if dtype in others:
        raise Refusal(f"the engine {choice.kind} has no dtype '{dtype}'; without --engine, one that has it answers.")


def _require_server(kind: str, url: str) -> None:
    """Raises Refusal for what is no URL of a server, or more than one; no sentence shows it, since it may be secret."""
    no_server = Refusal(f"--engine {kind}=URL names no server; write {kind}=http://HOST:PORT/v1.")
    try:
        parts = urlsplit(url)
        named = parts.scheme in ("http", "https") and parts.hostname and parts.port != 0
    except ValueError as error:  # a port that is no number, a bracket that is not closed
        raise no_server from error
    if not named:
        raise no_server
    if "@" in parts.netloc or "?" in url or "#" in url:
        raise Refusal(
            f"--engine {kind}=URL has a name, a password or a query in it, which logs would show; write "
            f"{kind}=http://HOST:PORT/v1, and give the key in the environment variable CARRARA_ENGINE_KEY."
        )


class Growing(Engine, Protocol):
    """An engine that comes to answer for more models while it answers."""

    def add(self, models: Mapping[str, Model]) -> None:
        """Answer for these, too, from now on; raises Refusal for what cannot be loaded, and is then as it was."""
        ...


class Reopened(Relay[Engine], Generic[_Named]):
    """An engine that is opened anew for all models when some are added."""

    def __init__(
        self,
        models: Mapping[str, _Named],
        open_all: Callable[[Mapping[str, _Named]], Engine],
        require_room: Callable[[Mapping[str, _Named]], None] = lambda _: None,
    ) -> None:
        """`require_room` raises Refusal where models do not fit beside what is open."""
        super().__init__(open_all(models))
        self._models = dict(models)
        self._open_all = open_all
        self._require_room = require_room

    def add(self, models: Mapping[str, _Named]) -> None:
        """See Growing; both engines are held until the answers of the first have ended."""
        together = self._models | dict(models)
        self._require_room(together)
        self.replace(lambda _: self._open_all(together))
        self._models = together


class LlamaCppBases:
    """llama.cpp for models of several bases, with a process for each, and the threads that are free.

    A process takes neither adapters nor other threads while it runs: another one takes over from it.
    """

    def __init__(
        self,
        models: Mapping[str, Model],
        workspace: Workspace,
        progress: Progress,
        quantization: Quantization,
    ) -> None:
        self._workspace = workspace
        self._progress = progress
        self._quantization: Quantization = quantization
        self._relays: dict[str, Relay[LlamaCppEngine]] = {}  # by the digest of the base; never changed in place
        self._threads = free_threads()
        self._changing = threading.RLock()
        self._closed = threading.Event()
        try:
            self.add(models)
        except BaseException:
            self.close()
            raise
        threading.Thread(target=self._tend, daemon=True).start()

    def models(self) -> list[str]:
        """The names of all, base by base."""
        return [name for relay in self._relays.values() for name in relay.models()]

    def answer(self, request: ChatRequest | TextRequest, cancelled: Callable[[], bool]) -> Iterator[Piece]:
        """See Engine."""
        return self._of_holder(request.model, lambda relay: relay.answer(request, cancelled))

    def embed(self, model: str, texts: Sequence[str], cancelled: Callable[[], bool]) -> Embedded:
        """See Engine."""
        return self._of_holder(model, lambda relay: relay.embed(model, texts, cancelled))

    def describe(self, model: str) -> str:
        """See Engine."""
        return f"llamacpp {self._quantization}"

    def close(self) -> None:
        """See Engine."""
        self._closed.set()
        for relay in self._relays.values():
            relay.close()

    def add(self, models: Mapping[str, Model]) -> None:
        """See Growing."""
        bases: dict[str, dict[str, Model]] = {}
        for name, model in models.items():
            bases.setdefault(model.digest, {})[name] = model
        with self._changing:
            count = len({*self._relays, *bases})
            opened: dict[str, LlamaCppEngine] = {}
            try:
                for digest, group in bases.items():
                    opened[digest] = self._open(digest, group, count)
                self._take(opened)
            except BaseException:
                for engine in opened.values():
                    engine.close()
                raise
            with contextlib.suppress(Refusal):  # those that were there go on as they are
                self.use(self._threads)

    def _take(self, opened: Mapping[str, LlamaCppEngine]) -> None:
        """Let engines answer for their bases; raises Unavailable where all was closed meanwhile."""
        new = {digest: Relay(engine) for digest, engine in opened.items() if digest not in self._relays}
        for digest in opened.keys() - new:
            self._relays[digest].replace(lambda _, engine=opened[digest]: engine)
        self._relays = {**self._relays, **new}
        if self._closed.is_set():  # by whoever may not have seen the new ones
            raise Unavailable("the server is being stopped, so it takes no models.")

    def _open(self, digest: str, models: Mapping[str, Model], bases: int) -> LlamaCppEngine:
        """An engine of one base for these models and those that it has already; raises Refusal for a wrong file."""
        from carrara.export.package import adapter_gguf, base_gguf

        first = next(iter(models.values()))
        new = digest not in self._relays
        base = base_gguf(self._workspace, first, self._quantization, self._progress) if new else None
        readers = {name: reader_of(model) for name, model in models.items()}
        for name, reader in readers.items():
            require_chat(name, reader)
        adapters = {
            name: adapter_gguf(self._workspace, model, self._progress)
            for name, model in models.items()
            if model.adapter
        }
        references = {  # last, since a model that was not seen yet is read whole for it
            name: reference_of(self._workspace, model, self._quantization, self._progress)
            for name, model in models.items()
        }
        require_rendered(readers, references)
        voices = {
            name: Voice(reader, adapters.get(name), sure_tokens(references[name], self._quantization))
            for name, reader in readers.items()
        }
        if base is None:
            engine = self._relays[digest].engine.renewed(more=voices)
        else:
            engine = _open_base(first, base, voices, bases, max(1, self._threads // bases))
        try:
            require_scored(engine.fingerprints, references, self._quantization)
        except BaseException:
            engine.close()
            raise
        return engine

    def use(self, threads: int) -> None:
        """Compute the next answers with so many threads, which the bases share; those under way end as they began."""
        with self._changing:
            share = max(1, threads // len(self._relays))
            for relay in self._relays.values():
                if relay.engine.threads != share:
                    relay.replace(lambda engine: engine.renewed(threads=share))
            self._threads = threads

    def _tend(self) -> None:
        """Use as many threads as are free: fewer after two looks that say so, more after a minute of them."""
        before, steady = 0, 0
        while not self._closed.wait(_LOOK_EVERY):
            free = free_threads()
            steady = steady + 1 if free == before else 1
            before = free
            if free != self._threads and steady == (2 if free < self._threads else _STEADY):
                try:
                    self.use(free)
                except (Refusal, OSError) as error:  # what runs goes on as it is
                    if self._closed.is_set():
                        return
                    self._progress.say(f"answering goes on with {self._threads} threads: {error}")

    def _of_holder(self, name: str, ask: Callable[[Relay[LlamaCppEngine]], _Named]) -> _Named:
        for relay in self._relays.values():
            with contextlib.suppress(UnknownModel):
                return ask(relay)
        raise UnknownModel(name, self.models())


def open_engine(
    kind: Local,
    models: Mapping[str, Model],
    workspace: Workspace,
    dtype: str,
    progress: Progress,
) -> Growing:
    """An engine that serves `models` under their names; raises Refusal where it cannot.

    A quantization as `dtype` takes llama.cpp, another one transformers. With neither named, it is llama.cpp in Q8_0 on
    a machine without an accelerator; where that cannot hold the models, the reference engine answers, and the progress
    says why.
    """
    from carrara.serve.transformers_engine import load_engine

    def by_transformers() -> Growing:
        return Reopened(
            models, lambda together: load_engine(together, dtype), lambda together: _require_room(together, dtype)
        )

    if dtype in QUANTIZATIONS:
        return LlamaCppBases(models, workspace, progress, dtype)
    if kind == "transformers" or (kind == "auto" and (dtype != "auto" or _has_accelerator())):
        return by_transformers()
    try:
        return LlamaCppBases(models, workspace, progress, "q8_0")
    except Refusal as refusal:
        if kind == "llamacpp":
            raise
        progress.say(f"transformers answers instead of the faster llama.cpp: {refusal}")
        return by_transformers()


def _has_accelerator() -> bool:
    return any(Path(path).exists() for path in _ACCELERATORS) and choose_device().type == "cuda"


def _require_room(models: Mapping[str, Model], dtype: str) -> None:
    """Refuse models whose weights do not fit into memory beside those that are held already."""
    a_weight = choose_dtype(dtype).itemsize
    bases = {model.digest: model for model in models.values()}.values()
    needed = sum(shape_in(model.path)[1] * (0.5 if model.four_bit else a_weight) for model in bases)
    give_back_memory()  # that of engines before
    if needed > (free := _free_beside()):
        raise Refusal(
            f"all models are loaded anew beside those that answer meanwhile, which takes {needed / 1e9:.1f} GB of "
            f"memory, and {free / 1e9:.1f} GB are free; stop the server, and start it with all of them."
        )


def _free_beside() -> int:
    """Bytes that are free for more weights, on the accelerator if there is one."""
    import torch

    if (device := choose_device()).type == "cuda":
        kept = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
        return torch.cuda.mem_get_info(device)[0] + kept
    return _free_memory()


def _free_memory() -> int:
    import psutil

    return int(min(psutil.virtual_memory().available, left_to_container()))


def _open_base(model: Model, base: Path, voices: Mapping[str, Voice], bases: int, threads: int) -> LlamaCppEngine:
    """An engine for the base of a model, the file `base`, which shares the memory with those of other bases."""
    slots, context = _room(model, max(voice.reader.context for voice in voices.values()), bases)
    narrowed = {name: replace(voice, reader=replace(voice.reader, context=context)) for name, voice in voices.items()}
    return LlamaCppEngine(base, narrowed, slots, threads)


def _room(model: Model, context: int, bases: int) -> tuple[int, int]:
    """How many answers at once, and how many tokens each, for whose keys and values there is memory."""
    shape, _ = shape_in(model.path)
    a_token = 2 * 2 * shape.layers * shape.kv_heads * shape.head_width  # bytes of a key and a value in float16
    return room_in(_free_memory() // _SHARE // bases // a_token, context)


def room_in(tokens: int, context: int) -> tuple[int, int]:
    """Slots and the context of each where `tokens` fit into memory: the whole context first, then more slots."""
    slots = max(1, min(_SLOTS, tokens // context))
    return slots, min(context, max(1, tokens // slots))
