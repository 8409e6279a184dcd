"""Weights, gradients and moments spread over the processes, for networks that no device holds whole (FSDP2).

The float32 masters are what is spread. A layer's weights are gathered in the network's precision for its passes and
let go again; those outside the layers are whole while a pass lasts. Masters, names and checkpoints are those of one
process: what is written is gathered first, so that any number of processes can go on from it.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Literal, TypeVar

from carrara.errors import Refusal
from carrara.models import Model
from carrara.models.estimate import trained_parameters
from carrara.models.forward import decoder_of
from carrara.models.machine import choose_device, choose_dtype, inspect_machine
from carrara.models.shape import shape_in
from carrara.recipe import TuneRecipe
from carrara.tune.distributed import World

if TYPE_CHECKING:
    import torch

    from carrara.tune.training import Training

_Result = TypeVar("_Result")

_ROOT = "spread_over_processes"  # the attribute of a network that is
_FOR_STATE = 0.8  # of the memory; the rest is for activations


def choose_parallel(model: Model, recipe: TuneRecipe, world: World) -> Literal["replicate", "shard"]:
    """The recipe's choice, or `shard` where weights and what learning keeps are too much for one device.

    Raises Refusal where what is asked for does not go with the rest of the recipe.
    """
    if world.size == 1 or recipe.parallel == "replicate":
        return "replicate"
    obstacle = "tune.method: qlora" if recipe.method == "qlora" else "tune.compile" if recipe.compile else ""
    if recipe.parallel == "shard" and obstacle:
        raise Refusal(f"tune.parallel: shard does not go with {obstacle}; set tune.parallel: replicate.")
    wanted = recipe.parallel == "shard" or (not obstacle and world.any(not _fits(model, recipe)))
    return "shard" if wanted else "replicate"


def _fits(model: Model, recipe: TuneRecipe) -> bool:
    shape, parameters = shape_in(model.path)
    width = choose_dtype(recipe.dtype).itemsize
    needed = parameters * width + trained_parameters(shape, parameters, recipe) * (16 + 2 * width)
    machine = inspect_machine()
    mine = machine.accelerator_memory or machine.memory_free // int(os.environ.get("LOCAL_WORLD_SIZE", "1"))
    return needed <= _FOR_STATE * mine


def spread(training: Training) -> Training:
    """The training with the weights of its network, which is whole in each process, spread over them."""
    import torch
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.fsdp import FSDPModule, MixedPrecisionPolicy, fully_shard

    from carrara.tune.methods import trainable
    from carrara.tune.optimizer import Optimizer

    network, device, recipe = training.network, choose_device(), training.recipe
    training.optimizer.write_masters_into_network()
    mesh = init_device_mesh(device.type, (training.world.size,))
    policy = MixedPrecisionPolicy(param_dtype=choose_dtype(recipe.dtype), reduce_dtype=torch.float32)
    root: Any = torch.nn.Module()
    root.network = network
    root.forward = lambda work, *given: work(network, *given)
    for module in (*decoder_of(network).layers, root):
        fully_shard(module, mesh=mesh, mp_policy=policy, reshard_after_forward=True)
    for module in root.modules():
        if isinstance(module, FSDPModule):  # gradients are parts of a sum, not of a mean
            module.set_gradient_divide_factor(1.0)
            module.set_force_sum_reduction_for_comms(True)
    network.__dict__[_ROOT] = root  # not a module of the network, which it holds
    optimizer = Optimizer(trainable(network), torch.float32, recipe)
    return replace(training, optimizer=optimizer, device=device)


def is_spread(network: Any) -> bool:
    """Whether `spread` has been here."""
    return _ROOT in network.__dict__


def gathered(network: Any, work: Callable[..., _Result], *given: Any) -> _Result:
    """`work(network, *given)`, with the weights that it needs whole while it runs; all processes call it alike."""
    root = network.__dict__.get(_ROOT)
    return work(network, *given) if root is None else root(work, *given)


def whole(tensor: torch.Tensor) -> torch.Tensor:
    """A tensor gathered from all processes if it is spread over them, else itself."""
    spread_out: Any = tensor
    return spread_out.full_tensor() if _is_spread_tensor(tensor) else tensor


def collected(tensors: Mapping[str, torch.Tensor], keep: bool) -> dict[str, torch.Tensor]:
    """The tensors whole, one after the other, on a processor if they were spread; none where they are not kept."""
    kept: dict[str, torch.Tensor] = {}
    for name, tensor in tensors.items():
        found = whole(tensor)
        if keep:
            kept[name] = found.cpu() if found is not tensor else tensor
    return kept


def placed(tensor: torch.Tensor, like: torch.Tensor) -> torch.Tensor:
    """A whole tensor put where another is: on its device, and spread as it is."""
    moved = tensor.to(like.device)
    if not _is_spread_tensor(like):
        return moved
    from torch.distributed.tensor import distribute_tensor

    place: Any = like
    return distribute_tensor(moved, place.device_mesh, place.placements, src_data_rank=None)


def make_whole(training: Training) -> None:
    """Give the network its float32 weights, whole in the leading process, to be saved; it learns no further."""
    import torch

    network = training.network
    if not is_spread(network):
        training.optimizer.write_masters_into_network()
        return
    done: dict[torch.nn.Parameter, torch.nn.Parameter] = {}  # a weight may have two names
    for module in network.modules():
        for name, parameter in list(module.named_parameters(recurse=False)):
            if not parameter.requires_grad:
                continue
            if parameter not in done:
                found = whole(parameter.detach())
                done[parameter] = torch.nn.Parameter(found.cpu()) if training.world.leads else parameter
            setattr(module, name, done[parameter])


def _is_spread_tensor(tensor: torch.Tensor) -> bool:
    return hasattr(tensor, "full_tensor")
