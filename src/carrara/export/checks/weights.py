"""Are the weights of an export those that the scored model computes with, rounded to the form and no further?

Rounding is a function: the exported weight must be the scored one's, rounded. What differs beyond that is compared with
what the faults of exporting leave behind, weight by weight.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from carrara.export.checks.check import Check, Form, at_most
from carrara.export.checks.effective import is_adapted, modules_of, weights_of
from carrara.export.checks.rounding import FORMATS, LARGEST, beyond, rounded
from carrara.models.load import Loaded

if TYPE_CHECKING:
    import torch

# What may differ beyond the rounding, in parts of the rounding's own error (2^-11 of a number in F16, 1/254 of a
# block's largest in Q8_0, 1/16 in Q4_0). A merge in doubles differs by 0.013 in F16 and by less in the others, since
# some numbers fall to the other side of a step (a tuned SmolLM2); rounding to bfloat16 first by 0.24 in Q4_0 and more
# elsewhere; a LoRA that changes the weights by 0.3 to 2 % and is left out, by 0.7 in Q4_0.
_BEYOND = 0.1
_SEARCHES = 4  # for the scale of a merged adapter, which takes its time and is most often one for all weights
_EMBEDDING, _HEAD = "model.embed_tokens", "lm_head"


@dataclass(frozen=True)
class Odd:
    """A weight that is not what it should be: how far off, what it looks like, and a word about that."""

    name: str
    beyond: float
    looks: str
    detail: str = ""

    @property
    def module(self) -> str:
        return self.name.rpartition(".")[0]


def check_weights(scored: Loaded, exported: Loaded, form: Form) -> tuple[Check, bool]:
    """Compare, weight by weight, what `scored` computes with, adapter included, with what `exported` does.

    Also gives whether both have the same weights by name and shape, so that they can be asked the same.
    """
    import torch

    comparison = _Comparison(scored, exported, form)
    with torch.no_grad():
        odd = list(comparison.run())
    worst = max((each.beyond for each in odd), default=comparison.worst)
    fits = not any(each.looks in ("missing", "shape") for each in odd)
    return at_most("weights", worst, _BEYOND, comparison.explain(odd)), fits


@dataclass(frozen=True)
class _Pair:
    """A weight as the scored model computes with it, adapter included, and as it was found."""

    module: str
    key: str
    meant: torch.Tensor
    found: torch.Tensor


class _Comparison:
    """Two networks, module by module."""

    def __init__(self, scored: Loaded, exported: Loaded, form: Form) -> None:
        self._form: Form = form
        self._config = scored.network.config
        self._meant, self._found = modules_of(scored.network), modules_of(exported.network)
        self._adapted = {name for name, module in self._meant.items() if is_adapted(module)}
        # what may explain an odd weight; the one that did last is asked first
        self._faults: list[Callable[[_Pair], Iterator[tuple[str, str]]]] = [
            self._lost,
            self._merged_otherwise,
            self._turned,
            self._tied,
            self._coarse,
            self._scaled,
        ]
        self._own = self._format_of_base()
        self._factors: list[float] = []  # at which the adapter was found merged
        self._searches = 0
        self.worst = 0.0  # of the weights that are as they should be
        self.compared = 0

    def run(self) -> Iterator[Odd]:
        """The weights that are not what they should be."""
        for name in [*self._meant, *(self._found.keys() - self._meant.keys())]:
            meant = weights_of(self._meant[name]) if name in self._meant else {}
            found = weights_of(self._found[name]) if name in self._found else {}
            for key in sorted(meant.keys() | found.keys()):
                self.compared += 1
                if key not in meant or key not in found:
                    yield Odd(f"{name}.{key}", math.inf, "missing", "export" if key in meant else "scored model")
                elif odd := self._compare(_Pair(name, key, meant[key], found[key])):
                    yield odd

    def _format_of_base(self) -> str:
        """The number format that the base was published in, to which its weights may be rounded with an adapter in."""
        if _EMBEDDING not in self._meant:
            return "f32"
        for values in weights_of(self._meant[_EMBEDDING], times=0).values():
            for stored in ("bf16", "f16"):
                if bool((rounded(values, stored) == values).all()):
                    return stored
        return "f32"

    def _compare(self, pair: _Pair) -> Odd | None:
        name, meant, found = f"{pair.module}.{pair.key}", pair.meant, pair.found
        if meant.shape != found.shape:
            here, there = (" × ".join(map(str, values.shape)) for values in (found, meant))
            return Odd(name, math.inf, "shape", f"{here} in the export and {there} in the scored model")
        off = self._beyond(found, meant)
        if off <= _BEYOND:
            self.worst = max(self.worst, off)
            return None
        for fault in self._faults:
            for looks, detail in fault(pair):
                self._faults.remove(fault)
                self._faults.insert(0, fault)
                return Odd(name, off, looks, detail)
        return Odd(name, off, "other")

    def _is(self, found: torch.Tensor, other: torch.Tensor) -> bool:
        """Whether a weight is another one, rounded."""
        if other.shape != found.shape or float((found - other).norm()) > LARGEST[self._form] * float(other.norm()):
            return False
        return self._beyond(found, other) <= _BEYOND

    def _beyond(self, found: torch.Tensor, meant: torch.Tensor) -> float:
        off = beyond(found, meant, self._form, _BEYOND)
        if off <= _BEYOND or self._own == "f32":
            return off
        return min(off, beyond(found, rounded(meant, self._own), self._form, _BEYOND))

    # ---- what a fault leaves behind: its name and a word about it, if the weight looks like it ----

    def _lost(self, pair: _Pair) -> Iterator[tuple[str, str]]:
        first = pair.found.flatten()[0]
        if bool((pair.found == first).all()):
            yield "lost", f"{float(first):g}"

    def _merged_otherwise(self, pair: _Pair) -> Iterator[tuple[str, str]]:
        """The adapter left out, or merged twice."""
        for times, looks in ((0, "left out"), (2, "twice")) if pair.module in self._adapted else ():
            if self._is(pair.found, weights_of(self._meant[pair.module], times)[pair.key]):
                yield looks, ""

    def _scaled(self, pair: _Pair) -> Iterator[tuple[str, str]]:
        """The adapter merged at another scale: near the least squares' factor, which rounding moves a little."""
        from scipy.optimize import minimize_scalar

        if pair.module not in self._adapted:
            return
        base = weights_of(self._meant[pair.module], times=0)[pair.key]
        change = pair.meant - base
        for factor in self._factors:
            if self._is(pair.found, base + factor * change):
                yield "scale", f"{factor:.2g}"
        size = float((change * change).sum())
        if not size or self._searches == _SEARCHES:
            return
        self._searches += 1
        near = float(((pair.found - base) * change).sum()) / size
        merged = base + near * change
        if float((pair.found - merged).norm()) > LARGEST[self._form] * float(merged.norm()):
            return

        def off(factor: float) -> float:
            return beyond(pair.found, rounded(base + factor * change, self._own), self._form, 0.0)

        around = 0.1 + 0.2 * abs(near)
        best = minimize_scalar(off, bounds=(near - around, near + around), method="bounded", options={"xatol": 1e-6})
        factor = near if off(near) <= _BEYOND else float(best.x)
        if off(factor) <= _BEYOND:
            self._factors.append(factor)
            yield "scale", f"{factor:.2g}"

    def _turned(self, pair: _Pair) -> Iterator[tuple[str, str]]:
        """Transposed, or with the rows of queries and keys in llama.cpp's order or back from it once too often."""
        rows, is_turning = pair.meant, pair.module.endswith(("q_proj", "k_proj"))
        if rows.dim() == 2 and self._is(pair.found, rows.T.reshape(rows.shape)):
            yield "transposed", ""
        heads = self._config.num_attention_heads
        if pair.module.endswith("k_proj"):
            heads = getattr(self._config, "num_key_value_heads", None) or heads
        half = rows.shape[0] // heads // 2
        for shape in ((heads, 2, half, -1), (heads, half, 2, -1)) if is_turning else ():
            if self._is(pair.found, rows.reshape(shape).transpose(1, 2).reshape(rows.shape)):
                yield "reordered", ""

    def _tied(self, pair: _Pair) -> Iterator[tuple[str, str]]:
        if pair.module == _HEAD and self._is(pair.found, weights_of(self._meant[_EMBEDDING])["weight"]):
            yield "tied", ""

    def _coarse(self, pair: _Pair) -> Iterator[tuple[str, str]]:
        for stored in FORMATS:
            if self._is(pair.found, rounded(pair.meant, stored)):
                yield "coarse", stored

    # ---- the sentence ----

    def explain(self, odd: Sequence[Odd]) -> str:
        """What most of the odd weights look like, as the step that makes them so."""
        if not odd:
            return f"{self.compared:,} weights are those the scored model computes with, stored as {self._form}"
        [(looks, count)] = Counter(each.looks for each in odd).most_common(1)
        alike = [each for each in odd if each.looks == looks]
        first, [(detail, _)] = alike[0].name, Counter(each.detail for each in alike).most_common(1)
        if looks in ("left out", "twice", "scale"):
            return self._of_adapter(looks, detail, {each.module for each in alike}, first)
        if looks == "other":
            return self._other(alike)
        more = f" and {count - 1} more" if count > 1 else ""
        return {
            "missing": f"weights were left out or added: the {detail} lacks {first}{more}.",
            "shape": f"weights were cut, or are another model's: {first} is {detail}.",
            "lost": f"weights were lost: {first}{more} hold nothing but {detail} in the export.",
            "transposed": f"weights were transposed: {first}{more}.",
            "reordered": f"the rows of queries and keys are in the wrong order for rope, in {first}{more}; llama.cpp's "
            "order was not made, or not undone.",
            "tied": "the head is wrong: the export has the embedding as its head, and the scored model has its own.",
            "coarse": f"the rounding is too coarse for {self._form}: {first}{more} went through {detail}.",
        }[looks]

    def _of_adapter(self, looks: str, detail: str, modules: set[str], first: str) -> str:
        where = f"{len(modules)} of {len(self._adapted)} adapted modules"
        if looks == "twice":
            return f"the adapter was merged twice, in {where}."
        if looks == "scale":
            return f"the adapter was merged at {detail} times its scale, in {where}; see alpha, rank and rsLoRA's root."
        if all(self._is_idle(name) for name in self._adapted - modules):
            return f"the adapter is not in the export: {where} are the base's own; the merge did nothing."
        return f"the adapter was left out in a part of the export: {where} are the base's own, {first} the first."

    def _is_idle(self, name: str) -> bool:
        """Whether the adapter changes nothing of a module that the form would keep."""
        meant, base = weights_of(self._meant[name]), weights_of(self._meant[name], times=0)
        return all(self._is(meant[key], base[key]) for key in meant)

    def _other(self, odd: Sequence[Odd]) -> str:
        """Weights that no known fault explains: most of them, those under the adapter, or a few."""
        modules = {each.module for each in odd}
        worst = max(odd, key=lambda each: each.beyond)
        count = f"{len(modules)} of {len(self._meant)} modules differ"
        if len(modules) > len(self._meant) / 2 and modules - self._adapted:
            if not self._adapted:
                return f"another model was exported: {count}."
            return f"the adapter was merged into another base: {count}, also such as it leaves alone."
        if self._adapted and modules >= self._adapted:
            return f"another adapter was merged, or in another way: {count}, all of those under the adapter."
        return f"weights were changed: {worst.name} is off by {worst.beyond:.2g} times its rounding's own error."
