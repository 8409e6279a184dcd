"""The weights of a folder, tensor by tensor."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from carrara.errors import Refusal
from carrara.models.sources import check_safetensors

if TYPE_CHECKING:
    import numpy as np


class Weights:
    """The tensors in the safetensors files of a folder, by name; none is in memory until it is read."""

    def __init__(self, folder: Path) -> None:
        from safetensors import safe_open

        self.folder = folder
        self._files: dict[str, Any] = {}
        for path in sorted(folder.glob("*.safetensors")):
            check_safetensors(path)
            file = safe_open(path, framework="pt")
            self._files.update(dict.fromkeys(file.keys(), file))

    def names(self) -> Sequence[str]:
        return [*self._files]

    def shape(self, name: str) -> tuple[int, ...]:
        """The shape of a tensor; raises Refusal for one that the folder lacks."""
        if name not in self._files:
            raise Refusal(f"{self.folder} lacks the weights {name}; fetch or make the model again.")
        return tuple(self._files[name].get_slice(name).get_shape())

    def kind(self, name: str) -> str:
        """The number format in which a tensor is stored, in the words of safetensors, such as `BF16`."""
        return self._files[name].get_slice(name).get_dtype()

    def read(self, name: str) -> np.ndarray:
        """A tensor in float32."""
        return self._files[name].get_tensor(name).float().contiguous().numpy()
