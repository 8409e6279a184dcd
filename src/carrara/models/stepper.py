"""One forward pass after another over a text that grows, with the keys and values of what was read before."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from carrara.models.forward import opening, project, read_on
from carrara.models.load import Loaded

if TYPE_CHECKING:
    import torch

# Tokens of a prompt in one forward pass: full speed, and who waits for the answer can give up in between.
CHUNK = 512


class Stepper:
    """Runs tokens through the network after those before; gives the logits behind the last one, in float32."""

    def __init__(self, loaded: Loaded) -> None:
        import torch

        self._loaded = loaded
        with torch.inference_mode():
            self._cache = opening(loaded.network, rows=1)

    def __call__(self, tokens: Sequence[int]) -> torch.Tensor:
        import torch

        with torch.inference_mode():
            ids = torch.tensor([list(tokens)], device=self._loaded.device)
            hidden = read_on(self._loaded.network, ids, self._cache)
            return project(self._loaded.network, hidden[0, -1]).float()
