"""The reference engine: transformers, with the adapters of a base sharing one network."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from carrara.data.example import Example, Message
from carrara.data.render.example import render_example, render_prompt
from carrara.errors import Refusal
from carrara.models import Model
from carrara.models.load import Loaded, load_model, settle
from carrara.serve.engine import ChatRequest, ContextExceeded, Piece, UnknownModel
from carrara.serve.generation import generate
from carrara.serve.line import Line

# Tokens of an answer whose request names no limit, if the context has room for them: a small model
# that does not find its end would otherwise fill its whole context.
DEFAULT_MAX_TOKENS = 1024

_FIRST_ADAPTER = "default"  # the name under which load_model loads an adapter
# What may differ between adapters that live on one network; anything else could touch the base's own weights.
_SHAREABLE_SETTINGS = frozenset(
    {
        "peft_type",
        "task_type",
        "auto_mapping",
        "base_model_name_or_path",
        "revision",
        "peft_version",
        "inference_mode",
        "r",
        "lora_alpha",
        "lora_dropout",
        "target_modules",
        "exclude_modules",
        "rank_pattern",
        "alpha_pattern",
        "layers_to_transform",
        "layers_pattern",
        "fan_in_fan_out",
        "use_rslora",
        "use_dora",
        "init_lora_weights",
    }
)


@dataclass(frozen=True)
class Voice:
    """A model as it is asked: a network, the adapter to switch on (None: none), and the tokens that end an answer."""

    loaded: Loaded
    adapter: str | None
    ends: frozenset[int]


class TransformersEngine:
    """Answers with transformers, one request at a time, in the order of asking."""

    def __init__(self, voices: Mapping[str, Voice]) -> None:
        self._voices = dict(voices)
        self._line = Line()

    def models(self) -> list[str]:
        """The names it answers under, in the order given."""
        return list(self._voices)

    def chat(self, request: ChatRequest, cancelled: Callable[[], bool]) -> Iterator[Piece]:
        """See Engine; without `max_tokens` an answer has what the context leaves, at most DEFAULT_MAX_TOKENS."""
        voice = self._voices.get(request.model)
        if voice is None:
            raise UnknownModel(request.model, self.models())
        prompt = render_prompt(voice.loaded.tokenizer, request.messages)
        room = voice.loaded.context - len(prompt)
        if room < (request.max_tokens or 1):
            raise ContextExceeded(len(prompt), request.max_tokens, voice.loaded.context)
        budget = request.max_tokens or min(room, DEFAULT_MAX_TOKENS)
        return self._answer(voice, prompt, request, budget, cancelled)

    def _answer(
        self, voice: Voice, prompt: list[int], request: ChatRequest, budget: int, cancelled: Callable[[], bool]
    ) -> Iterator[Piece]:
        # The turn is held to the last token: what is switched on in a network is switched on for everyone.
        with self._line.turn(cancelled) as mine:
            if mine:
                with _switched(voice):
                    yield from generate(voice.loaded, prompt, request, budget, voice.ends, cancelled)


@contextmanager
def _switched(voice: Voice) -> Iterator[None]:
    """Switch on the voice's adapter and no other. Always set anew, so that no request relies on the one before."""
    network = voice.loaded.network
    if not hasattr(network, "peft_config"):
        yield
    elif voice.adapter is None:
        with network.disable_adapter():
            yield
    else:
        network.set_adapter(voice.adapter, inference_mode=True)
        yield


def load_engine(models: Mapping[str, Model], dtype: str = "auto") -> TransformersEngine:
    """Load models under the names to serve them by; raises Refusal for one that cannot be loaded or cannot chat."""
    groups: dict[str, dict[str, Model]] = {}
    for name, model in models.items():
        groups.setdefault(_network_key(model), {})[name] = model
    voices: dict[str, Voice] = {}
    for group in groups.values():
        voices.update(_load_group(group, dtype))
    return TransformersEngine({name: voices[name] for name in models})


def _network_key(model: Model) -> str:
    """Models with the same key may share a network."""
    base = f"{model.digest} in 4 bits" if model.four_bit else model.digest
    return f"{base}+{model.adapter_digest}" if model.adapter and not _can_share(model.adapter) else base


def _can_share(adapter: Path) -> bool:
    """Whether an adapter is plain LoRA, which leaves the base's weights alone when it is loaded and switched off."""
    from peft import LoraConfig, PeftConfig

    try:
        config = PeftConfig.from_pretrained(str(adapter), local_files_only=True)
    except (ValueError, OSError, KeyError, TypeError) as error:
        raise Refusal(f"{adapter / 'adapter_config.json'} is no PEFT configuration: {error}") from error
    if not isinstance(config, LoraConfig):
        return False
    usual = LoraConfig().to_dict()
    changed = {key for key, value in config.to_dict().items() if value != usual.get(key)}
    return changed <= _SHAREABLE_SETTINGS and config.init_lora_weights in (True, False, "gaussian")


def _load_group(group: Mapping[str, Model], dtype: str) -> dict[str, Voice]:
    """Load one network with all adapters of the group."""
    adapted = {model.adapter_digest: model for model in group.values() if model.adapter}
    first = next(iter(adapted.values()), next(iter(group.values())))
    loaded = load_model(first, dtype)
    names: dict[str | None, str | None] = {None: None, first.adapter_digest: _FIRST_ADAPTER if first.adapter else None}
    for digest, model in adapted.items():
        if digest not in names:
            names[digest] = _add_adapter(loaded, model)
    return {name: _voice(name, replace(loaded, model=m), names[m.adapter_digest]) for name, m in group.items()}


def _add_adapter(loaded: Loaded, model: Model) -> str:
    """Load a further adapter beside the first one, as load_model would; gives its name in the network."""
    name = str(model.adapter_digest)
    try:
        loaded.network.load_adapter(str(model.adapter), name, torch_device=str(loaded.device), local_files_only=True)
    except (ValueError, OSError, RuntimeError, KeyError) as error:
        reason = " ".join(str(error).split())[:300]
        raise Refusal(f"the adapter {model.adapter} does not fit {model.path}: {reason}") from error
    loaded.network.eval()
    settle(loaded.network, loaded.dtype)
    return name


def _voice(name: str, loaded: Loaded, adapter: str | None) -> Voice:
    try:
        render_prompt(loaded.tokenizer, (Message("user", "Hello"),))
    except Refusal as error:
        raise Refusal(f"{name} cannot chat: {error}") from error
    return Voice(loaded, adapter, _ends(loaded))


def _ends(loaded: Loaded) -> frozenset[int]:
    """The tokens that end an answer: the tokenizer's, the generation settings', and the chat template's own.

    The template's is what a fine-tune teaches; a base model's settings often name another.
    """
    configured = loaded.network.generation_config.eos_token_id
    ends: list[Any] = [loaded.tokenizer.eos_token_id]
    ends += configured if isinstance(configured, list) else [configured]
    example = Example((Message("user", "Hello"), Message("assistant", "Hello")), (1,), 0)
    with suppress(Refusal):  # a template without an end of turn: what is configured must do
        ends.append(render_example(loaded.tokenizer, example, "chat", loaded.context).ids[-1])
    return frozenset(end for end in ends if isinstance(end, int))
