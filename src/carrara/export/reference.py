"""How the scored model answers one greeting, by the reference implementation: what a served file is held to.

Weights and what goes into them are rounded as llama.cpp does it, since rounding is a function and no fault; so little
is left that may differ, in any number format.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any

from carrara.data.example import Message
from carrara.data.render.example import render_prompt
from carrara.export.checks.rounding import rounded
from carrara.export.gguf import Quantization
from carrara.models import Model
from carrara.models.load import Loaded, load_model
from carrara.models.machine import inspect_machine
from carrara.models.shape import shape_in
from carrara.models.stepper import Stepper
from carrara.progress import Progress
from carrara.workspace import Draft, Workspace, artefact_id

GREETING = "Hello"
LENGTH = 6  # tokens
FORMAT = 1  # raised when the same model would give another reference
_FILE = "reference.json"
_SPARE = 1 << 30  # bytes for what is not the network


@dataclass(frozen=True)
class Reference:
    """The token ids of the greeting, and the likeliest tokens behind it, one after the other.

    `top` are the log-probabilities of the two likeliest at each place, in nats.
    """

    prompt: tuple[int, ...]
    tokens: tuple[int, ...]
    top: tuple[tuple[float, float], ...]


def reference_of(
    workspace: Workspace, model: Model, quantization: Quantization, progress: Progress
) -> Reference | None:
    """The reference of a model whose base is served in a number format, made once and kept in the workspace.

    None, which is said, where there is no memory for the model in float32. Raises Refusal for one that cannot chat.
    """
    made_by = {"format": FORMAT, **model.identity(), "quantization": quantization}
    if workspace.find("reference", artefact_id("reference", made_by)) is None and not _fits(model, progress):
        return None

    def build(draft: Draft) -> None:
        progress.say(f"asking {model.name} itself how it answers, to know it by that when it is served")
        found = asdict(_greeted(model, quantization))
        model.require_unchanged()
        (draft.path / _FILE).write_text(json.dumps(found), encoding="utf-8")

    name, inputs = f"how {model.name} answers, {quantization}", {"model": model.source}
    made = workspace.make("reference", made_by, build, name=name, inputs=inputs, on_wait=progress.say)
    read = json.loads((made.path / _FILE).read_text(encoding="utf-8"))
    return Reference(tuple(read["prompt"]), tuple(read["tokens"]), tuple(tuple(pair) for pair in read["top"]))


def _fits(model: Model, progress: Progress) -> bool:
    _, parameters = shape_in(model.path)
    needed, free = 4 * parameters + _SPARE, inspect_machine().memory_free
    if needed > free:
        progress.say(
            f"{model.name} is not compared with itself as it was scored, which takes {needed / 1e9:.0f} GB of memory; "
            f"{free / 1e9:.0f} GB are free"
        )
    return needed <= free


def _greeted(model: Model, quantization: Quantization) -> Reference:
    import torch

    loaded = load_model(model, "float32", torch.device("cpu"))
    _round(loaded.network, quantization)
    prompt = render_prompt(loaded.tokenizer, (Message("user", GREETING),))
    places = list(_answered(loaded, prompt))
    return Reference(tuple(prompt), tuple(token for token, _ in places), tuple(top for _, top in places))


def _answered(loaded: Loaded, prompt: list[int]) -> Iterator[tuple[int, tuple[float, float]]]:
    """Each token of the answer, whether it is an end or not, with the two largest log-probabilities at its place."""
    step, ids = Stepper(loaded), prompt
    for _ in range(min(LENGTH, loaded.context - len(prompt))):
        values, tokens = step(ids).log_softmax(-1).topk(2)
        yield int(tokens[0]), (float(values[0]), float(values[1]))
        ids = [int(tokens[0])]


def _round(network: Any, quantization: Quantization) -> None:
    """Give the base's matrices the values of a file in that number format, and round what goes into them.

    So llama.cpp does it, to 16 bits or to blocks of 8. An adapter keeps its own values, and reads what is not rounded.
    """
    import torch

    going_in = "f16" if quantization == "f16" else "q8_0"

    def enter(_: Any, given: tuple[torch.Tensor]) -> tuple[torch.Tensor]:
        return (rounded(given[0].unsqueeze(0), going_in).squeeze(0),)

    base = network.get_base_model() if hasattr(network, "get_base_model") else network
    for name, module in base.named_modules():
        if ".lora_" in name or not isinstance(module, torch.nn.Linear | torch.nn.Embedding):
            continue
        is_table = ".layers." not in name  # the embedding and the head, which every token goes through
        weight, stored = module.weight, "q8_0" if is_table and quantization == "q4_0" else quantization
        weight.data = rounded(weight.data, stored)
        if isinstance(module, torch.nn.Linear):
            module.register_forward_pre_hook(enter)
