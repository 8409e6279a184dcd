"""Which texts go through the network together, and what is read once for all of them."""

from __future__ import annotations

from collections.abc import Callable, Sequence

WORTH_SHARING = 32  # tokens that all texts begin with, from which on they are read once for all


def cut_by_length(lengths: Sequence[int], fits: Callable[[int, int], bool]) -> list[list[int]]:
    """The places of the texts of each pass, by length alone; a text that fits with no other has a pass for itself.

    `fits` is asked whether so many texts, of which the longest has so many tokens, may share a pass.
    """
    passes: list[list[int]] = []
    for place in sorted(range(len(lengths)), key=lambda place: (lengths[place], place)):
        if passes and fits(len(passes[-1]) + 1, lengths[place]):
            passes[-1].append(place)
        else:
            passes.append([place])
    return passes


def common_start(texts: Sequence[Sequence[int]], most: int) -> int:
    """How many tokens all texts begin with, at most `most`, which no text is shorter than."""
    first = texts[0]
    for text in texts:
        most = next((place for place in range(most) if text[place] != first[place]), most)
    return most
