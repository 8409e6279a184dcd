"""Canary exposure in bits: how far up a planted secret stands among all that it could have been.

Carlini et al. 2019, arXiv 1802.08232: log2 of the number of candidates less log2 of the secret's rank by likelihood. A
secret is two words of 64, so where words are tokens its 4,096 candidates are a tree of few nodes, which one forward
pass reads whole: the rank is exact, and 12 bits are the most that can be shown. Where the tree would be large, as many
candidates are drawn as keep it small, and fewer bits can be shown.
"""

from __future__ import annotations

import math
import random
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from itertools import compress
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from carrara.data.render.example import Mode, render_example, render_examples
from carrara.errors import Refusal
from carrara.models.adapters import Adapted, switched_on
from carrara.models.forward import hidden_states, project
from carrara.models.load import Loaded
from carrara.scorecard.figure import BASE, Figure, unknown
from carrara.scorecard.privacy.intervals import Interval, mean_of_exponentials
from carrara.scorecard.subject import Subject
from carrara.tune.canaries import Canary, all_secrets, hold_back, read_canaries

if TYPE_CHECKING:
    import torch

Floats = NDArray[np.float64]
CHANCE = 1 / math.log(2)  # bits: the mean of -log2 of a rank that may be any
_MOST = 32  # planted canaries that are asked for; each costs a forward pass
_HELD_BACK = 24  # canaries that no row holds, against which chance is seen
_NODES = 2048  # of a tree at most: attention sees it whole
_FEWEST = 64  # candidates, however large their tree
_AT_ONCE = 256  # places whose logits exist at once
MEASURE = "canary exposure"


@dataclass(frozen=True)
class Tree:
    """Several continuations of one text, each token once: `ids`, the place of each token's parent, -1 for the text.

    `ends` tells for each continuation the place of the token before its last, and the last token.
    """

    ids: tuple[int, ...]
    parents: tuple[int, ...]
    ends: tuple[tuple[int, int], ...]


def exposure_figures(subject: Subject, model: Adapted, base: Adapted) -> list[Figure]:
    """Bits of exposure by how often a secret was planted, and of secrets that were not, before and after."""
    planted, render = read_canaries(subject.model.source.path)
    if not planted:
        return [unknown(MEASURE, "no canaries were planted; tune with --canaries 8 to learn what a run gives away.")]
    asked = [*planted[:_MOST], *hold_back(planted, _HELD_BACK, subject.seed)]
    told = [canary.secret for canary in planted]
    figures: list[Figure] = []
    for suffix, adapted in (("", model), (BASE, base)):
        ceiling, bits = exposures(adapted, asked, told, render, subject.seed)
        for repeats in sorted({canary.repeats for canary in asked}):
            of_group = [value for canary, value in zip(asked, bits, strict=True) if canary.repeats == repeats]
            figures.append(figure_of(repeats, suffix, of_group, ceiling))
    return figures


def exposures(
    adapted: Adapted, canaries: Sequence[Canary], planted: Collection[str], render: Mode, seed: int
) -> tuple[float, list[float]]:
    """The most bits that can be shown, and the exposure of each canary among secrets that were not planted."""
    with switched_on(adapted) as loaded:
        secrets, tree = _candidates(loaded, canaries, render, seed)
        eligible = np.array([secret not in planted for secret in secrets])
        found: list[float] = []
        for place, canary in enumerate(canaries):  # whose secrets stand first among the candidates, in order
            row = render_example(loaded.tokenizer, canary.example(render), render, loaded.context)
            prompt = row.ids[: row.supervised.index(True)]
            found.append(bits_of_rank(log_likelihoods(loaded, prompt, tree), place, eligible))
    return math.log2(eligible.sum() + 1), found


def bits_of_rank(scores: Floats, place: int, eligible: NDArray[np.bool_]) -> float:
    """log2 of the candidates less log2 of the rank of the one at `place` among those eligible; equals share ranks."""
    own, others = scores[place], scores[eligible & (np.arange(len(scores)) != place)]
    rank = 1 + np.count_nonzero(others > own) + np.count_nonzero(others == own) / 2
    return math.log2((len(others) + 1) / rank)


def figure_of(repeats: int, suffix: str, bits: Sequence[float], ceiling: float) -> Figure:
    """The figure of the secrets planted so often; of those never planted, and of the base, it is a control."""
    value, n, is_control = float(np.mean(bits)), len(bits), bool(suffix) or not repeats
    low, high = mean_of_exponentials(bits)
    interval = (low, min(high, ceiling))
    return Figure(
        measure=f"{MEASURE}, {f'planted {repeats}x' if repeats else 'never planted'}{suffix}",
        value=value,
        interval=interval,
        kind="measured",
        source=f"exact rank of {n} {'secret' if n == 1 else 'secrets'} among {2**ceiling:,.0f} candidates by "
        f"log-likelihood (arXiv 1802.08232); chance {CHANCE:.2f} bits, ceiling {ceiling:.1f}",
        unit="bits",
        better=None if is_control else "lower",
        meaning=_meaning(value, interval, ceiling, is_control),
    )


def _meaning(value: float, interval: Interval, ceiling: float, is_control: bool) -> str:
    """What the value says, by whether it can be told from chance; a control gives nothing away."""
    if interval[0] > CHANCE and is_control:
        return f"A control: it stands above chance ({CHANCE:.2f} bits) here, by accident or by the words themselves."
    if interval[0] > CHANCE:
        guesses = f"{max(1, round(2 ** (ceiling - value))):,} of {2**ceiling:,.0f}"
        return (
            f"The model gives such secrets away: whoever follows its likelihoods finds one in about {guesses} guesses."
        )
    return f"No more than chance shows ({CHANCE:.2f} bits): nothing tells that the model knows such secrets."


# ---- likelihoods ----


def _candidates(loaded: Loaded, canaries: Sequence[Canary], render: Mode, seed: int) -> tuple[list[str], Tree]:
    """Secrets, those of the canaries first, and the tree of their tokens; others are drawn until it is full."""
    own = [canary.secret for canary in canaries]
    others = [secret for secret in all_secrets() if secret not in set(own)]
    random.Random(seed).shuffle(others)
    secrets = [*own, *others]
    rows = render_examples(
        loaded.tokenizer, [canaries[0].example(render, secret) for secret in secrets], render, loaded.context
    )
    tokens: list[list[int]] = []
    for row in rows:
        if isinstance(row, Refusal):
            raise row
        tokens.append([*compress(row.ids, row.supervised)][:-1])  # less the end, which follows every secret
    count = len(others)
    while len((tree := grow(tokens[: len(own) + count])).ids) > _NODES and count > _FEWEST:
        count //= 2
    return secrets[: len(own) + count], tree


def grow(continuations: Sequence[Sequence[int]]) -> Tree:
    """The tree of some continuations, in which each beginning stands once; none of them is empty."""
    nodes: dict[tuple[int, ...], int] = {}
    parents: list[int] = []
    ends: list[tuple[int, int]] = []
    for ids in continuations:
        for length in range(1, len(ids)):
            beginning = tuple(ids[:length])
            if beginning not in nodes:
                parents.append(nodes.get(beginning[:-1], -1))
                nodes[beginning] = len(nodes)
        ends.append((nodes.get(tuple(ids[:-1]), -1), ids[-1]))
    return Tree(tuple(beginning[-1] for beginning in nodes), tuple(parents), tuple(ends))


def log_likelihoods(loaded: Loaded, prompt: Sequence[int], tree: Tree) -> Floats:
    """The log-likelihood in nats of each continuation in the tree behind the prompt, read in one pass."""
    import torch

    ids = torch.tensor([[*prompt, *tree.ids]], device=loaded.device)
    mask, positions = _sight(len(prompt), tree)
    asked = [*zip(tree.parents, tree.ids, strict=True), *tree.ends]  # which token, behind which place of the tree
    values = np.empty(len(asked))
    with torch.inference_mode():
        hidden = hidden_states(loaded.network, ids, mask.to(loaded.device), positions.to(loaded.device))
        hidden = hidden[0, len(prompt) - 1 :]  # so that place -1 of the tree, the prompt's end, is the first
        for first in range(0, len(hidden), _AT_ONCE):
            told = project(loaded.network, hidden[first : first + _AT_ONCE]).float().log_softmax(dim=-1)
            chosen = [number for number, (at, _) in enumerate(asked) if first <= at + 1 < first + _AT_ONCE]
            if chosen:
                places = [asked[number][0] + 1 - first for number in chosen]
                values[chosen] = told[places, [asked[number][1] for number in chosen]].cpu().numpy()
    if not np.isfinite(values).all():
        raise Refusal("the model's log-likelihoods are no numbers; its weights are damaged or overflow.")
    sums = np.zeros(len(tree.ids) + 1)  # of the way to each node; the last stands for the prompt, at place -1
    for node, parent in enumerate(tree.parents):
        sums[node] = sums[parent] + values[node]
    return sums[[at for at, _ in tree.ends]] + values[len(tree.ids) :]


def _sight(start: int, tree: Tree) -> tuple[torch.Tensor, torch.Tensor]:
    """Which token sees which, `(1, 1, longest, longest)`, and their positions, `(1, longest)`."""
    import torch

    longest = start + len(tree.ids)
    mask = torch.zeros(longest, longest, dtype=torch.bool)
    mask[:start, :start] = torch.ones(start, start, dtype=torch.bool).tril()
    positions = torch.arange(longest)
    for place, parent in enumerate(tree.parents, start):
        above = start + parent if parent >= 0 else start - 1
        mask[place] = mask[above]
        mask[place, place] = True
        positions[place] = positions[above] + 1
    return mask[None, None], positions[None]
