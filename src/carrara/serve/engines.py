"""Which engine answers: one for all models, or one process for each base."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Literal, get_args

from carrara.errors import Refusal
from carrara.export.gguf import Quantization
from carrara.models import Model
from carrara.models.machine import choose_device, left_to_container
from carrara.models.shape import shape_in
from carrara.progress import Progress
from carrara.serve.engine import ChatRequest, Embedded, Engine, Piece, TextRequest, UnknownModel
from carrara.serve.llamacpp_engine import LlamaCppEngine, Voice
from carrara.serve.llamacpp_process import free_threads
from carrara.serve.reader import reader_of, require_chat
from carrara.workspace import Workspace

Kind = Literal["auto", "transformers", "llamacpp"]
_SLOTS = 4  # answers at once
_SHARE = 4  # of the memory that is free, the part for keys and values is one in so many
_ACCELERATORS = ("/dev/nvidiactl", "/dev/kfd", "/dev/dxg")  # looked for first, since asking torch takes a second


class Several:
    """Engines as one: a request goes to the one that has its model."""

    def __init__(self, engines: Sequence[Engine]) -> None:
        self._engines = tuple(engines)

    def models(self) -> list[str]:
        """The names of all, engine by engine."""
        return [name for engine in self._engines for name in engine.models()]

    def answer(self, request: ChatRequest | TextRequest, cancelled: Callable[[], bool]) -> Iterator[Piece]:
        """See Engine."""
        return self._holder(request.model).answer(request, cancelled)

    def embed(self, model: str, texts: Sequence[str]) -> Embedded:
        """See Engine."""
        return self._holder(model).embed(model, texts)

    def close(self) -> None:
        """See Engine."""
        for engine in self._engines:
            engine.close()

    def _holder(self, name: str) -> Engine:
        found = next((engine for engine in self._engines if name in engine.models()), None)
        if found is None:
            raise UnknownModel(name, self.models())
        return found


def find_kind(text: str) -> Kind:
    """The engine of that name; raises Refusal with the known ones."""
    for kind in get_args(Kind):
        if text == kind:
            return kind
    raise Refusal(f"there is no engine '{text}'; --engine takes {', '.join(get_args(Kind))}.")


def open_engine(
    kind: Kind,
    models: Mapping[str, Model],
    workspace: Workspace,
    dtype: str,
    progress: Progress,
    quantization: Quantization = "q8_0",
) -> Engine:
    """An engine that serves `models` under their names; raises Refusal where it cannot.

    `auto` takes llama.cpp on a machine without an accelerator, unless a dtype is named, which llama.cpp has none of;
    where it cannot hold the models, the reference engine answers, and the progress says why.
    """
    from carrara.serve.transformers_engine import load_engine

    if kind == "transformers" or (kind == "auto" and (dtype != "auto" or _has_accelerator())):
        return load_engine(models, dtype)
    try:
        return _open_llamacpp(models, workspace, progress, quantization)
    except Refusal as refusal:
        if kind == "llamacpp":
            raise
        progress.say(f"transformers answers instead of the faster llama.cpp: {refusal}")
        return load_engine(models, dtype)


def _has_accelerator() -> bool:
    return any(Path(path).exists() for path in _ACCELERATORS) and choose_device().type == "cuda"


def _open_llamacpp(
    models: Mapping[str, Model], workspace: Workspace, progress: Progress, quantization: Quantization
) -> Engine:
    """One engine for each base, since a process holds one base."""
    bases: dict[str, dict[str, Model]] = {}
    for name, model in models.items():
        bases.setdefault(model.digest, {})[name] = model
    opened: list[Engine] = []
    try:
        for group in bases.values():
            opened.append(_open_base(group, workspace, progress, quantization, len(bases)))
    except BaseException:
        Several(opened).close()
        raise
    return opened[0] if len(opened) == 1 else Several(opened)


def _open_base(
    models: Mapping[str, Model], workspace: Workspace, progress: Progress, quantization: Quantization, bases: int
) -> LlamaCppEngine:
    from carrara.export.package import adapter_gguf, base_gguf

    voices: dict[str, Voice] = {}
    for name, model in models.items():
        reader = reader_of(model)
        require_chat(name, reader)
        voices[name] = Voice(reader, adapter_gguf(workspace, model, progress) if model.adapter else None)
    first = next(iter(models.values()))
    slots, context = _room(first, max(voice.reader.context for voice in voices.values()), bases)
    narrowed = {name: replace(voice, reader=replace(voice.reader, context=context)) for name, voice in voices.items()}
    threads = max(1, free_threads() // bases)
    return LlamaCppEngine(base_gguf(workspace, first, quantization, progress), narrowed, slots, threads)


def _room(model: Model, context: int, bases: int) -> tuple[int, int]:
    """How many answers at once, and how many tokens each, for whose keys and values there is memory."""
    import psutil

    shape, _ = shape_in(model.path)
    a_token = 2 * 2 * shape.layers * shape.kv_heads * shape.head_width  # bytes of a key and a value in float16
    free = int(min(psutil.virtual_memory().available, left_to_container()))
    return room_in(free // _SHARE // bases // a_token, context)


def room_in(tokens: int, context: int) -> tuple[int, int]:
    """Slots and the context of each where `tokens` fit into memory: the whole context first, then more slots."""
    slots = max(1, min(_SLOTS, tokens // context))
    return slots, min(context, max(1, tokens // slots))
