"""AdamW on float32 copies of the weights, with warm-up, a schedule and clipping."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from carrara.recipe import TuneRecipe
from carrara.tune.methods import decays, rate_of
from carrara.tune.sharded import placed, whole

if TYPE_CHECKING:
    import torch

_BETAS = (0.9, 0.999)
_EPSILON = 1e-8


def learning_rate_at(step: int, steps: int, recipe: TuneRecipe) -> float:
    """The learning rate of a step counted from 0: linear warm-up, then the schedule down to zero."""
    peak = recipe.effective_learning_rate
    warmup = math.ceil(recipe.warmup * steps)
    if step < warmup:
        return peak * (step + 1) / warmup
    done = (step - warmup) / max(1, steps - warmup)
    shapes = {"linear": 1 - done, "cosine": 0.5 * (1 + math.cos(math.pi * done)), "constant": 1.0}
    return peak * shapes[recipe.schedule]


class Optimizer:
    """Holds the float32 masters; the network computes with copies of them in its own precision.

    bfloat16 keeps 8 bits of a weight, so small steps added to it are lost; gradients of several
    micro-batches are summed in float32 for the same reason.
    """

    def __init__(self, parameters: Mapping[str, torch.nn.Parameter], dtype: torch.dtype, recipe: TuneRecipe) -> None:
        import torch

        self.parameters = dict(parameters)
        self.masters = {name: parameter.detach().float() for name, parameter in self.parameters.items()}
        for name, parameter in self.parameters.items():
            parameter.data = self.masters[name].to(dtype)
        self._adam = torch.optim.AdamW(self._groups(recipe), lr=0.0, betas=_BETAS, eps=_EPSILON, fused=True)
        self._clip = recipe.clip

    def _groups(self, recipe: TuneRecipe) -> list[dict[str, Any]]:
        """The masters by weight decay and by multiple of the learning rate."""
        groups: dict[tuple[bool, float], list[torch.Tensor]] = {}
        for name, master in self.masters.items():
            key = decays(name, self.parameters[name]), rate_of(name, recipe)
            groups.setdefault(key, []).append(master)
        return [
            {"params": masters, "weight_decay": recipe.weight_decay * decayed, "multiple": multiple}
            for (decayed, multiple), masters in groups.items()
        ]

    def collect_gradients(self) -> None:
        """Add the network's gradients to the masters' and free them."""
        for name, parameter in self.parameters.items():
            if parameter.grad is None:
                continue
            master = self.masters[name]
            if master.grad is None:
                master.grad = parameter.grad.float()
            else:
                master.grad += parameter.grad
            parameter.grad = None

    def gradients(self) -> dict[str, torch.Tensor]:
        """The gradients collected so far, by name."""
        return {name: master.grad for name, master in self.masters.items() if master.grad is not None}

    def forget_gradients(self) -> None:
        """Begin collecting anew."""
        self._adam.zero_grad(set_to_none=True)

    def take_gradients(self, gradients: Mapping[str, torch.Tensor]) -> None:
        """Go on collecting from these."""
        for name, gradient in gradients.items():
            self.masters[name].grad = placed(gradient, self.masters[name])

    def clip(self) -> float:
        """Scale the gradient down to the recipe's largest norm; returns its norm before."""
        import torch

        return float(whole(torch.nn.utils.clip_grad_norm_(list(self.masters.values()), self._clip)))

    def step(self, learning_rate: float) -> None:
        """Update the masters and refresh the network's copies."""
        for group in self._adam.param_groups:
            group["lr"] = learning_rate * group["multiple"]
        self._adam.step()
        self.forget_gradients()
        self._refresh()

    def _refresh(self) -> None:
        for name, parameter in self.parameters.items():
            parameter.data.copy_(self.masters[name])

    def weights(self) -> dict[str, torch.Tensor]:
        """The masters alone, as `restore` takes them."""
        return {f"master/{name}": master for name, master in self.masters.items()}

    def tensors(self) -> dict[str, torch.Tensor]:
        """Everything that must be kept to go on exactly after a step: masters and both moments."""
        kept = self.weights()
        for name, master in self.masters.items():
            for key, value in self._adam.state.get(master, {}).items():
                kept[f"{key}/{name}"] = value
        return kept

    def restore(self, tensors: Mapping[str, torch.Tensor]) -> None:
        """Take back what `tensors` gave, or the masters alone."""
        for name, master in self.masters.items():
            master.copy_(placed(tensors[f"master/{name}"], master))
            if f"step/{name}" in tensors:
                moments = {key: placed(tensors[f"{key}/{name}"], master) for key in ("exp_avg", "exp_avg_sq")}
                self._adam.state[master] = {"step": tensors[f"step/{name}"].to(master.device), **moments}
        self._refresh()

    def write_masters_into_network(self) -> None:
        """Give the network the float32 weights, to be saved."""
        for name, parameter in self.parameters.items():
            parameter.data = self.masters[name]
