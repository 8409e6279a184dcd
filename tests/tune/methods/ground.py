"""What the tests of methods share: the methods, a few steps of learning, and the logits of a network."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from carrara.models import Model
from carrara.models.forward import hidden_states, project
from carrara.models.load import Loaded, load_model
from carrara.models.sources import digest_of_adapter
from carrara.recipe import TuneRecipe
from carrara.tune.methods import attach, save, trainable

ADAPTERS: dict[str, dict[str, Any]] = {
    "lora": {},
    "rslora": {"rslora": True},
    "dora": {"dora": True},
    "pissa": {"pissa": True},
    "pissa-rslora": {"pissa": True, "rslora": True, "rank": 3},
    "pissa-dora": {"pissa": True, "dora": True, "rank": 4},
    "lora+": {"lora_plus": 16.0},
    "lora-targets": {"targets": ("q_proj", "layers.1.mlp.up_proj"), "rank": 4, "alpha": 6.5},
    "ia3": {"method": "ia3"},
    "ia3-targets": {"method": "ia3", "targets": ("q_proj", "down_proj")},
    "prefix": {"method": "prefix", "virtual_tokens": 5},
    "prompt": {"method": "prompt", "virtual_tokens": 7},
    "lora-tokens": {"new_tokens": ("<|tool|>", "<|/tool|>"), "rank": 4},
}
IDS = torch.randint(5, 250, (3, 19), generator=torch.Generator().manual_seed(0))


@dataclass(frozen=True)
class Tuned:
    """A network after a few steps of learning IDS by heart."""

    network: Any
    loaded: Loaded
    recipe: TuneRecipe
    losses: list[float]


def tuned(model: Model, recipe: TuneRecipe, steps: int = 4) -> Tuned:
    """Attach a method to a model and learn for some steps."""
    loaded = load_model(replace(model, four_bit=recipe.method == "qlora"), "float32")
    torch.manual_seed(0)
    network = attach(loaded, recipe)
    optimizer = torch.optim.AdamW(trainable(network).values(), lr=1e-2)
    losses = []
    for _ in range(steps):
        loss = torch.nn.functional.cross_entropy(logits(network)[:, :-1].flatten(0, 1), IDS[:, 1:].flatten())
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        losses.append(loss.item())
    return Tuned(network.eval(), loaded, recipe, losses)


def logits(network: Any, ids: torch.Tensor = IDS) -> torch.Tensor:
    """Logits `(rows, longest, vocabulary)` by the one forward pass there is."""
    return project(network, hidden_states(network, ids).flatten(0, 1)).float().unflatten(0, tuple(ids.shape))


def saved(done: Tuned, folder: Path) -> Model:
    """What was tuned, saved: the model with the adapter, or of the folder if all weights were."""
    folder.mkdir(parents=True)
    save(done.network, done.recipe, done.loaded, folder)
    if done.recipe.method == "full":
        return replace(done.loaded.model, path=folder)
    return replace(done.loaded.model, adapter=folder, adapter_digest=digest_of_adapter(folder))
