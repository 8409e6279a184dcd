"""The rows that were read, as they lie on the disk while a dataset is made; read again by their number."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

from carrara.data.example import Example, example_from_json

if TYPE_CHECKING:
    import numpy as np

_SKETCHES = "sketches.npy"
_OPEN = 16  # chunk files that are kept open


def chunk_file(folder: Path, index: int) -> Path:
    """Where the rows of a chunk are kept, one JSON object a line."""
    return folder / f"{index:05d}.rows"


def keys_file(folder: Path, index: int) -> Path:
    """Where the keys of a chunk's rows are kept."""
    return folder / f"{index:05d}.npz"


class KeptRows:
    """All rows by their number from 0, with the arrays that whole-set checks need; sketches stay on the disk."""

    def __init__(self, folder: Path, sizes: Sequence[int]) -> None:
        import numpy as np

        self._folder = folder
        self._starts = np.cumsum([0, *sizes])
        self._files: dict[int, BinaryIO] = {}
        keys: dict[str, list[Any]] = {name: [] for name in ("offset", "exact", "prompt", "answer", "identity", "place")}
        self.sketches: Any = None
        for index, size in enumerate(sizes):
            with np.load(keys_file(folder, index)) as chunk:
                for name, parts in keys.items():
                    parts.append(chunk[name])
                self._add_sketches(chunk["sketch"], int(self._starts[index]), size)
        joined = {name: np.concatenate(parts) for name, parts in keys.items()}
        self._offsets: np.ndarray = joined["offset"]
        self.exact: np.ndarray = joined["exact"]
        self.prompt: np.ndarray = joined["prompt"]
        self.answer: np.ndarray = joined["answer"]
        self.identity: np.ndarray = joined["identity"]
        self.place: np.ndarray = joined["place"]

    def __len__(self) -> int:
        return int(self._starts[-1])

    def close(self) -> None:
        for file in self._files.values():
            file.close()
        self._files.clear()

    def line(self, number: int) -> bytes:
        """A row as it is written in a dataset's file."""
        import numpy as np

        index = int(np.searchsorted(self._starts, number, side="right")) - 1
        if index not in self._files:
            if len(self._files) >= _OPEN:
                self._files.pop(next(iter(self._files))).close()
            self._files[index] = chunk_file(self._folder, index).open("rb")
        file = self._files[index]
        file.seek(int(self._offsets[number]))
        return file.readline()

    def example(self, number: int) -> Example:
        return example_from_json(json.loads(self.line(number)))

    def start_of(self, chunk: int) -> int:
        """The number of a chunk's first row."""
        return int(self._starts[chunk])

    def by_chunk(self, numbers: Sequence[int]) -> Iterator[list[int]]:
        """Ascending row numbers as places in their chunks, a list for each chunk, empty ones too."""
        rest = iter(numbers)
        number = next(rest, None)
        for start, end in zip(self._starts[:-1], self._starts[1:], strict=True):
            places: list[int] = []
            while number is not None and number < end:
                places.append(int(number - start))
                number = next(rest, None)
            yield places

    def _add_sketches(self, sketches: np.ndarray, start: int, size: int) -> None:
        import numpy as np

        if self.sketches is None:
            shape = (len(self), *sketches.shape[1:])
            self.sketches = np.lib.format.open_memmap(
                self._folder / _SKETCHES, mode="w+", dtype=sketches.dtype, shape=shape
            )
        self.sketches[start : start + size] = sketches
