"""What a run is made of, and what has happened in it so far."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from carrara.data.render.batches import count_steps, shared_opening
from carrara.data.render.example import Rendered
from carrara.recipe import TuneRecipe
from carrara.tune.curves import Curves
from carrara.tune.distributed import World
from carrara.tune.divergence import Watch
from carrara.tune.ledger import EnergyMeter
from carrara.tune.optimizer import Optimizer

if TYPE_CHECKING:
    import torch


@dataclass
class History:
    """What has happened up to the end of a step; it travels in each checkpoint.

    Losses are nats per supervised token. `stale` counts the held-out losses since the best one.
    """

    tokens: int = 0
    supervised_tokens: int = 0
    seconds: float = 0.0  # in steps
    validation_seconds: float = 0.0
    energy_wh: float = 0.0
    peak_memory_mb: float = 0.0  # of all processes that went on with it, one after the other
    first_loss: float | None = None
    last_loss: float | None = None
    best_step: int | None = None
    best_loss: float | None = None
    stale: int = 0
    watch: Watch = field(default_factory=Watch)

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


def history_from_json(value: Mapping[str, Any]) -> History:
    """The inverse of `History.to_json`."""
    return History(**{**value, "watch": Watch(**value["watch"])})


@dataclass(frozen=True)
class Training:
    """All that the loop needs; `rows` and `validation` are the same in every process.

    `identity` names the run in its checkpoints, `checkpoints` is the folder they are in. `shares` says whether the
    network can compute once what the rows of a pass begin with.
    """

    network: Any
    optimizer: Optimizer
    rows: Sequence[Rendered]
    validation: Sequence[Rendered]
    recipe: TuneRecipe
    device: torch.device
    world: World
    checkpoints: Path
    meter: EnergyMeter
    curves: Curves
    identity: str = ""
    shares: bool = False

    def opening(self, rows: Sequence[Rendered]) -> int:
        """The tokens that a pass of some of these rows computes once for all of them."""
        return shared_opening(rows) if self.shares and not self.packed else 0

    @cached_property
    def lengths(self) -> list[int]:
        """Tokens of each row."""
        return [len(row.ids) for row in self.rows]

    @property
    def steps(self) -> int:
        return count_steps(len(self.rows), self.recipe.batch_size, self.recipe.epochs)

    @property
    def pass_tokens(self) -> int:
        """Places in one pass; the recipe's "auto" is resolved before."""
        return int(self.recipe.micro_batch_tokens)

    @property
    def packed(self) -> bool:
        """Whether the rows of a pass share one window."""
        return self.recipe.batching == "packed"
