"""Models that another server answers for: any that speaks OpenAI's protocol, or vLLM with adapters of ours."""

from __future__ import annotations

import json
import os
import re
import shlex
import threading
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass, replace
from typing import Any

import httpx2

from carrara.errors import Refusal, one_line
from carrara.models import Model
from carrara.serve.engine import ChatRequest, Embedded, Piece, TextRequest, UnknownModel
from carrara.serve.engines import Choice
from carrara.serve.openai_engine import KEY, OpenAIEngine, is_here, open_client
from carrara.workspace import digest_of_value

_RANKS = (8, 16, 32, 64, 128, 256, 320, 512)  # those that vLLM's --max-lora-rank takes
_UNLOADING = 10.0  # seconds for a server to let go of an adapter
_Resolve = Callable[[str], Model]


class Loaded:
    """The adapters that we loaded into a server, and how many engines ask for each; one may take over from another."""

    def __init__(self) -> None:
        self._askers: Counter[str] = Counter()
        self._counting = threading.Lock()

    def add(self, name: str) -> None:
        """An adapter that nobody asks for yet."""
        with self._counting:
            self._askers.setdefault(name, 0)

    def hold(self, names: Collection[str]) -> None:
        """One more engine asks for these; what we did not load is not counted."""
        with self._counting:
            self._askers.update(self._askers.keys() & names)

    def release(self, names: Collection[str]) -> list[str]:
        """One engine less asks for these; gives all that nobody asks for now, which are counted no longer."""
        with self._counting:
            self._askers.subtract(self._askers.keys() & names)
            idle = [name for name, askers in self._askers.items() if not askers]
            for name in idle:
                del self._askers[name]
            return idle


class Remote:
    """Answers as the names that were asked for, and no others; `ids` gives what the server calls each of them."""

    def __init__(
        self, engine: OpenAIEngine, ids: Mapping[str, str], on_close: Callable[[], None] = lambda: None
    ) -> None:
        """`on_close` is called once, after nothing more is asked."""
        self._engine = engine
        self._ids = dict(ids)
        self._closing = ExitStack()
        self._closing.callback(on_close)
        self._closing.callback(engine.close)

    def models(self) -> list[str]:
        """The names that were asked for."""
        return list(self._ids)

    def answer(self, request: ChatRequest | TextRequest, cancelled: Callable[[], bool]) -> Iterator[Piece]:
        """See Engine."""
        return self._engine.answer(replace(request, model=self._id(request.model)), cancelled)

    def embed(self, model: str, texts: Sequence[str], cancelled: Callable[[], bool]) -> Embedded:
        """See Engine."""
        return self._engine.embed(self._id(model), texts, cancelled)

    def describe(self, model: str) -> str:
        """See Engine."""
        return self._engine.describe(model)

    def close(self) -> None:
        """See Engine; the server stays."""
        self._closing.close()

    def _id(self, name: str) -> str:
        if name not in self._ids:
            raise UnknownModel(name, self.models())
        return self._ids[name]


def open_remote(choice: Choice, names: Sequence[str], resolve: _Resolve, loaded: Loaded) -> Remote:
    """Models at the server that --engine names; `resolve` gives one of ours, which only vLLM is handed.

    Engines that take over from each other share `loaded`.
    """
    if choice.kind == "vllm":
        return open_vllm(choice.url, names, resolve, loaded)
    assert choice.url is not None
    return open_openai(choice.url, names)


def open_openai(url: str, names: Sequence[str]) -> Remote:
    """The models of these names at a server that speaks OpenAI's protocol; raises Refusal for one it does not tell."""
    engine = _engine(url)
    try:
        for name in names:
            if name not in engine.models():
                raise UnknownModel(name, engine.models())
    except BaseException:
        engine.close()
        raise
    return Remote(engine, {name: name for name in names})


def open_vllm(url: str | None, names: Sequence[str], resolve: _Resolve, loaded: Loaded) -> Remote:
    """Models at a vLLM server: names that it tells, folders that it was started with, and adapters on them.

    An adapter goes by a name that holds its digest, since vLLM takes what it computed for another of the same name
    (its issue 42125). One that a server of this machine has not is loaded into it, as vLLM's documentation of LoRA
    adapters has it, and unloaded once no engine asks for it; raises Refusal with the command that starts the server
    otherwise, and without a `url`.
    """
    if url is None:
        raise Refusal(f"vLLM has an environment of its own, so {how_to_start([resolve(name) for name in names])}")
    _engine(url).close()  # tells what is wrong with the URL or the key
    try:
        with _Vllm(url) as server:
            ids = {name: name if name in server.cards() else server.find(resolve(name), loaded) for name in names}
        engine = _engine(url)
    except BaseException:
        _unload(url, loaded, ())
        raise
    loaded.hold(ids.values())
    return Remote(engine, ids, lambda: _unload(url, loaded, ids.values()))


def vllm_name(model: Model) -> str:
    """What a model is called at vLLM: its name and the beginning of its digest."""
    return f"{re.sub(r'[^A-Za-z0-9._-]', '-', model.name)}-{digest_of_value(model.identity())[:8]}"


def how_to_start(models: Sequence[Model]) -> str:
    """The commands that install vLLM and serve models with it; raises Refusal for models of several bases."""
    path = models[0].path
    if any(model.path != path for model in models):
        raise Refusal("a vLLM server holds one base; ask for the models of one base at a time.")
    command = ["~/vllm/bin/vllm", "serve", shlex.quote(str(path)), "--host 127.0.0.1 --port 8000"]
    command += [f'--api-key "${KEY}"']  # or every user of this machine could ask it
    command += ["--generation-config vllm"]  # or it would sample otherwise than it is asked to
    adapters = {vllm_name(model): model for model in models if model.adapter}
    if adapters:
        command += [f"--enable-lora --max-loras {len(adapters)} --max-lora-rank {_rank(adapters.values())}"]
        command += ["--lora-modules", *(shlex.quote(f"{name}={each.adapter}") for name, each in adapters.items())]
    return (
        "install it with `python3 -m venv ~/vllm && ~/vllm/bin/pip install vllm`, set a key of your choice with "
        f"`export {KEY}=$(openssl rand -hex 16)`, start it with "
        f"`VLLM_NO_USAGE_STATS=1 VLLM_ALLOW_RUNTIME_LORA_UPDATING=1 {' '.join(command)}`, and give "
        f"--engine vllm=http://127.0.0.1:8000/v1 where {KEY} holds the same key."
    )


def _engine(url: str) -> OpenAIEngine:
    return OpenAIEngine(url, _key_variable())


def _key_variable() -> str | None:
    return KEY if os.environ.get(KEY) else None


def _rank(models: Any) -> int:
    """The least that vLLM takes for the ranks of adapters."""
    told = [json.loads((model.adapter / "adapter_config.json").read_text(encoding="utf-8")) for model in models]
    needed = max(max([settings["r"], *settings.get("rank_pattern", {}).values()]) for settings in told)
    return next((rank for rank in _RANKS if rank >= needed), needed)


@dataclass(frozen=True)
class _Card:
    """A model that vLLM tells: the folder it was read from, and the base of an adapter."""

    root: str
    parent: str | None


class _Vllm:
    """What vLLM has beside OpenAI's protocol: where its models come from, and adapters loaded while it runs."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._client = open_client(url, _key_variable())

    def __enter__(self) -> _Vllm:
        return self

    def __exit__(self, *_: object) -> None:
        self._client.close()

    def cards(self) -> dict[str, _Card]:
        """What the server tells of its models, by name."""
        told = self._send("GET", "models", None).json()["data"]
        return {str(each["id"]): _Card(str(each.get("root")), each.get("parent")) for each in told}

    def find(self, model: Model, loaded: Loaded) -> str:
        """What the server calls a model, after an adapter was loaded that it did not have; raises Refusal."""
        cards = self.cards()
        bases = [name for name, card in cards.items() if card.parent is None and card.root == str(model.path)]
        if model.adapter is None and bases:
            return bases[0]
        name = vllm_name(model)
        if name in cards:
            return name
        if model.adapter is None or not bases or not is_here(self._client.base_url.host):  # who cannot read our folders
            raise Refusal(f"{self._url} does not serve {model.name}; {how_to_start([model])}")
        response = self._send("POST", "load_lora_adapter", {"lora_name": name, "lora_path": str(model.adapter)})
        if response.status_code in (404, 405) and "detail" in response.text:  # no such route
            raise Refusal(f"{self._url} takes no adapters while it runs; {how_to_start([model])}")
        if response.status_code != 200:
            raise Refusal(f"{self._url} does not load the adapter {model.name}: {_reason(response)}")
        loaded.add(name)
        return name

    def unload(self, name: str) -> None:
        """Take out an adapter; raises Refusal where the server does not answer soon."""
        self._send("POST", "unload_lora_adapter", {"lora_name": name}, _UNLOADING)

    def _send(
        self, method: str, path: str, body: Mapping[str, str] | None, timeout: float | None = None
    ) -> httpx2.Response:
        try:
            return self._client.request(method, path, json=body, timeout=timeout or self._client.timeout)
        except httpx2.HTTPError as error:
            raise Refusal(f"{self._url} does not answer ({one_line(error)}); look whether vLLM still runs.") from error


def _unload(url: str, loaded: Loaded, names: Collection[str]) -> None:
    """Ask for `names` no longer, and take out of the server what nobody asks for."""
    if idle := loaded.release(names):
        with suppress(Refusal), _Vllm(url) as server:  # it may have ended before us
            for name in idle:
                server.unload(name)


def _reason(response: httpx2.Response) -> str:
    """vLLM's sentence, which older versions do not wrap."""
    try:
        told = response.json()
        return one_line(str((told.get("error") or told)["message"]))
    except (ValueError, LookupError, TypeError, AttributeError):
        return f"status {response.status_code}"
