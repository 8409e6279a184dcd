"""The engine for processors: llama.cpp, with the adapters of a base in one process.

Prompts are rendered here, and tokens become text here, as for the reference engine; llama.cpp computes what lies
between. It is asked for a few tokens at a time, since while it streams it keeps those of unfinished characters to
itself, and so that an answer can be given up. A slot, which holds what was read, belongs to one answer until its end.
"""

from __future__ import annotations

import json
import random
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from carrara.data.example import Message
from carrara.errors import Refusal
from carrara.export.reference import GREETING, LENGTH
from carrara.serve.engine import (
    ChatRequest,
    Embedded,
    Interrupted,
    Piece,
    Request,
    TextRequest,
    TokenLogprob,
    Unavailable,
    UnknownModel,
)
from carrara.serve.fingerprint import Fingerprint, agree
from carrara.serve.line import Line
from carrara.serve.llamacpp_embedder import Embedder
from carrara.serve.llamacpp_process import Lasting, LlamaCppProcess, Settings, free_threads
from carrara.serve.reader import Reader
from carrara.serve.writer import StopFilter, Writer, text_of

_CHECK_EVERY = 300.0  # seconds between two looks at whether a model still answers as it did
_SMALLEST_CHUNK, _FIRST_CHUNK, _LARGEST_CHUNK = 16, 64, 512  # tokens of a prompt that are read at once
_QUICK, _SLOW = 0.2, 0.7  # seconds for a chunk, below which the next is larger, and above which smaller
_AT_ONCE = 1 << 30  # bytes of weights read for the tokens that are asked for at once
_SURE = 1e9  # a bias on a logit that leaves no choice


@dataclass(frozen=True)
class Voice:
    """A model on the base: how it is asked, its GGUF adapter or None, and how it answered when it was exported."""

    reader: Reader
    adapter: Path | None = None
    reference: tuple[int, ...] | None = None


class LlamaCppEngine:
    """Answers several at once, each in a slot of its own; starts its process anew where that has ended."""

    def __init__(
        self,
        base: Path,
        voices: Mapping[str, Voice],
        slots: int = 4,
        threads: int | None = None,
        check_every: float = _CHECK_EVERY,
        exact: bool = False,
        before: Mapping[str, Fingerprint] | None = None,
    ) -> None:
        """`base` is the GGUF file, `before` what models answered when they were checked first; all read as many tokens.

        `exact` computes attention in float32, for comparing with the reference; it takes more memory. Raises Refusal
        for files that cannot be loaded.
        """
        self._voices = dict(voices)
        adapters = tuple(dict.fromkeys(str(voice.adapter) for voice in voices.values() if voice.adapter))
        context = max(voice.reader.context for voice in voices.values())
        self._settings = Settings(str(base), adapters, context, slots, threads or free_threads(), exact)
        # How many tokens are asked for at once decides what a seed draws, so it depends on the model alone.
        self._stride = max(1, min(8, _AT_ONCE // max(1, base.stat().st_size)))
        self._line = Line(slots)
        self._held: dict[int, tuple[str, list[int]]] = {}  # what was read into each slot last, and for whom
        self._lasting = Lasting(self._settings, self._forget)
        self._embedder = Embedder(self._settings, check_every)
        self._check_every = check_every
        self.fingerprints: dict[str, Fingerprint] = dict(before or {})
        self._checked: dict[str, float] = {}
        self._withdrawn: set[str] = set()
        try:
            for name in self._voices:
                self._check(name, slot=0)
        except BaseException:
            self.close()
            raise

    def models(self) -> list[str]:
        """The names it answers under, in the order given, without those that were withdrawn."""
        return [name for name in self._voices if name not in self._withdrawn]

    def answer(self, request: ChatRequest | TextRequest, cancelled: Callable[[], bool]) -> Iterator[Piece]:
        """See Engine and Reader.read."""
        voice = self._served(request.model)
        if request.schema is not None:
            _require_usable(request)
        prompt, budget = voice.reader.read(request)
        return self._answer(request, prompt, budget, cancelled)

    def embed(self, model: str, texts: Sequence[str], cancelled: Callable[[], bool]) -> Embedded:
        """See Engine and Embedder; a text that does not fit is refused, and so is one without tokens."""
        voice = self._served(model)
        return self._embedder.embed(model, voice.reader, self._scales(model), texts, cancelled)

    def describe(self, model: str) -> str:
        """See Engine; whoever opened it knows the number format."""
        return "llamacpp"

    def close(self) -> None:
        """See Engine; answers under way are interrupted."""
        self._lasting.close()
        self._embedder.close()

    def renewed(self, threads: int | None = None, more: Mapping[str, Voice] | None = None) -> LlamaCppEngine:
        """Another engine of these models, and of `more`, which read as many tokens; raises Refusal.

        Those that this one had already are held to what they answered when they were checked first.
        """
        held = self._settings
        added = {
            name: replace(voice, reader=replace(voice.reader, context=held.context))
            for name, voice in (more or {}).items()
        }
        threads = threads or held.threads
        voices, base = self._voices | added, Path(held.base)
        known = self.fingerprints
        engine = LlamaCppEngine(base, voices, held.slots, threads, self._check_every, held.exact, known)
        engine._withdrawn |= self._withdrawn
        engine._embedder.known |= self._embedder.known
        return engine

    @property
    def threads(self) -> int:
        """The threads that it computes with."""
        return self._settings.threads

    @property
    def process(self) -> LlamaCppProcess | None:
        """The process that was started last."""
        return self._lasting.process

    def _answer(
        self, request: Request, prompt: list[int], budget: int, cancelled: Callable[[], bool]
    ) -> Iterator[Piece]:
        with self._line.turn(cancelled, lambda free: self._nearest(free, request.model, prompt)) as slot:
            if slot is None:
                return
            begun = False
            for last_try in (False, True):  # nobody notices that a process died before the first word
                try:
                    for piece in self._written(request, slot, list(prompt), budget, cancelled):
                        begun = True
                        yield piece
                    return
                except Interrupted:
                    if begun or last_try:
                        raise

    def _written(
        self, request: Request, slot: int, ids: list[int], budget: int, cancelled: Callable[[], bool]
    ) -> Iterator[Piece]:
        name = request.model
        self._lasting.running()
        if time.monotonic() - self._checked.get(name, -self._check_every) >= self._check_every:
            self._check(name, slot)
        self._served(name)
        if self._read(name, slot, ids, cancelled):
            if request.schema is not None:
                yield from self._constrained(request, slot, ids, budget, cancelled)
            else:
                yield from self._unconstrained(request, slot, ids, budget, cancelled)

    def _unconstrained(
        self, request: Request, slot: int, ids: list[int], budget: int, cancelled: Callable[[], bool]
    ) -> Iterator[Piece]:
        writer = Writer(self._voices[request.model].reader, request, len(ids), budget)
        seeds = random.Random(request.seed)
        body = _sampling(request)
        wanted = 1  # the first token is not kept waiting for others
        while not cancelled():
            seed = {"seed": seeds.getrandbits(31)}
            for token, logprob in self._next(request, slot, ids, min(wanted, budget), body | seed):
                budget -= 1
                ids.append(token)
                piece = writer.add(token, logprob)
                if piece:
                    yield piece
                    if piece.finish_reason:
                        return
                if cancelled():
                    return
            wanted = 1 if request.top_logprobs is not None else self._stride

    def _next(
        self, request: Request, slot: int, ids: list[int], count: int, body: Mapping[str, Any]
    ) -> list[tuple[int, TokenLogprob | None]]:
        """The next tokens, at most `count`; fewer where llama.cpp sees an end, which need not be one of the model's."""
        top = request.top_logprobs
        asked = {"n_probs": max(1, top)} if top is not None else {}
        found = self._post(request.model, slot, ids, count, {**body, **asked})
        if top is None:
            return [(token, None) for token in found["tokens"]]
        (token,) = found["tokens"]
        places = found.get("completion_probabilities")
        if not places:  # llama.cpp tells none for the first half of a character: look at its place again
            reader = self._voices[request.model].reader
            sure = {"n_probs": len(reader.tokenizer), "logit_bias": [[_letter(reader), _SURE]]}
            places = self._post(request.model, slot, ids, 1, {**body, **sure})["completion_probabilities"]
        return [(token, self._logprob(request.model, token, top, places[0]))]

    def _logprob(self, name: str, token: int, top: int, place: Mapping[str, Any]) -> TokenLogprob:
        tokenizer = self._voices[name].reader.tokenizer
        known = {each["id"]: float(each["logprob"]) for each in (place, *place["top_logprobs"])}
        likeliest = tuple((text_of(tokenizer, each["id"]), each["logprob"]) for each in place["top_logprobs"][:top])
        return TokenLogprob(text_of(tokenizer, token), known[token], likeliest)

    def _constrained(
        self, request: Request, slot: int, ids: list[int], budget: int, cancelled: Callable[[], bool]
    ) -> Iterator[Piece]:
        """An answer that fits the schema, in one request, since the grammar's state is lost between two."""
        reader = self._voices[request.model].reader
        schema = {
            **_sampling(request),
            "json_schema": request.schema,
            "seed": random.Random(request.seed).getrandbits(31),
        }
        letter = _letter(reader)  # with which no JSON begins: llama.cpp is silent about a schema that it cannot hold
        probe = self._post(request.model, slot, ids, 1, {**schema, "logit_bias": [[letter, _SURE]]})
        if probe["tokens"] == [letter]:
            raise Refusal("the schema is none that this engine can hold an answer to; simplify it, or leave it out.")
        stops, said = StopFilter(request.stop), ""
        for event in self._stream(request.model, slot, ids, budget, schema):
            said += event["content"]
            text = stops.add(event["content"])
            if stops.stopped or event["stop"]:
                stopped = stops.stopped or event["stop_type"] != "limit"
                if stopped and not stops.stopped:
                    _require_json(said)
                count = int(event["tokens_predicted"])
                yield Piece(text + stops.rest(), "stop" if stopped else "length", len(ids), count)
                return
            if text:
                yield Piece(text)
            if cancelled():
                return

    def _read(self, name: str, slot: int, prompt: list[int], cancelled: Callable[[], bool]) -> bool:
        """Let the slot read all but the end of the prompt, in chunks; False if `cancelled` came true meanwhile."""
        done, size = self._common(slot, name, prompt), _FIRST_CHUNK
        while not cancelled():
            if len(prompt) - done <= size:
                self._held[slot] = (name, prompt)
                return True
            done += size
            self._held[slot] = (name, prompt[:done])
            began = time.monotonic()
            self._post(name, slot, prompt[:done], 0, {})
            size = _next_chunk(size, time.monotonic() - began)
        return False

    def _post(self, name: str, slot: int, ids: Sequence[int], count: int, more: Mapping[str, Any]) -> dict[str, Any]:
        fields = ["tokens", "completion_probabilities"]
        return self._lasting.running().ask({**self._body(name, slot, ids, count), **more, "response_fields": fields})

    def _stream(
        self, name: str, slot: int, ids: Sequence[int], count: int, more: Mapping[str, Any]
    ) -> Iterator[dict[str, Any]]:
        return self._lasting.running().stream({**self._body(name, slot, ids, count), **more})

    def _body(self, name: str, slot: int, ids: Sequence[int], count: int) -> dict[str, Any]:
        """A request that names every adapter, since llama.cpp would let the one of another request speak."""
        return {
            "prompt": list(ids),
            "n_predict": count,
            "id_slot": slot,
            "lora": self._scales(name),
            "cache_prompt": True,
            "return_tokens": True,
        }

    def _scales(self, name: str) -> list[dict[str, Any]]:
        adapter = str(self._voices[name].adapter)
        return [{"id": i, "scale": float(path == adapter)} for i, path in enumerate(self._settings.adapters)]

    def _forget(self) -> None:
        """What was known of a process that has ended."""
        self._held.clear()
        self._checked.clear()

    def _check(self, name: str, slot: int) -> None:
        """Withdraw a model that answers otherwise than when it was first asked, or than its reference says."""
        voice = self._voices[name]
        self._held.pop(slot, None)
        now = self.fingerprint(name, slot)
        self._checked[name] = time.monotonic()
        before = self.fingerprints.setdefault(name, now)
        if not agree(before.tokens, before, now) or not agree(voice.reference or now.tokens, now, now):
            self._withdrawn.add(name)

    def fingerprint(self, name: str, slot: int) -> Fingerprint:
        """How a model answers now, asked in a slot that nobody else uses meanwhile."""
        reader = self._voices[name].reader
        greeting = ChatRequest(model=name, messages=(Message("user", GREETING),), temperature=0.0, top_logprobs=2)
        ids, budget = reader.read(greeting)
        start = len(ids)
        logprobs: list[TokenLogprob] = []
        while len(ids) - start < min(LENGTH, budget):
            ((token, logprob),) = self._next(greeting, slot, ids, 1, _sampling(greeting))
            assert logprob is not None
            ids.append(token)
            logprobs.append(logprob)
        return Fingerprint(tuple(ids[start:]), tuple(logprobs))

    def _served(self, name: str) -> Voice:
        if name in self._withdrawn:
            raise Unavailable(
                f"{name} does not answer as it did when it was checked, so it is served no longer; start anew, and "
                "export it again if that does not help."
            )
        if name not in self._voices:
            raise UnknownModel(name, self.models())
        return self._voices[name]

    def _nearest(self, free: Sequence[int], name: str, prompt: Sequence[int]) -> int:
        """The slot that has read most of the prompt already."""
        return max(free, key=lambda slot: self._common(slot, name, prompt))

    def _common(self, slot: int, name: str, prompt: Sequence[int]) -> int:
        held_name, held = self._held.get(slot, ("", []))
        if held_name != name:
            return 0
        pairs = enumerate(zip(held, prompt, strict=False))
        return next((place for place, (left, right) in pairs if left != right), min(len(held), len(prompt)))


def _next_chunk(size: int, took: float) -> int:
    """How many tokens to read next, so that an answer can be given up soon and reading is still quick."""
    if took < _QUICK:
        return min(_LARGEST_CHUNK, 2 * size)
    return max(_SMALLEST_CHUNK, size // 2) if took > _SLOW else size


def _sampling(request: Request) -> dict[str, Any]:
    """Temperature and top_p as asked, and nothing else that llama.cpp would do of its own accord."""
    return {
        "temperature": request.temperature,
        "top_p": request.top_p,
        "samplers": ["temperature", "top_p"],
        "top_k": 0,
        "min_p": 0.0,
        "repeat_penalty": 1.0,
    }


def _require_usable(request: Request) -> None:
    if request.top_logprobs is not None:
        raise Refusal("the engine llamacpp tells no logprobs of an answer that has to fit a schema; ask for one.")
    try:
        json.dumps(request.schema)
    except (RecursionError, ValueError, TypeError) as error:
        raise Refusal("the schema is nested too deep, or holds what is no JSON; simplify it.") from error


def _require_json(said: str) -> None:
    """Refuse a whole answer that is none: llama.cpp is silent about a grammar that it has forgotten, too."""
    try:
        json.loads(said)
    except ValueError as error:
        raise Refusal("the engine could not hold the answer to the schema to its end; simplify it.") from error


def _letter(reader: Reader) -> int:
    return reader.tokenizer.encode("x", add_special_tokens=False)[-1]
