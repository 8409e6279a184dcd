"""Writing for many prompts at once: prompts of like length share a pass, and rows that are done leave it.

Rows stand side by side with their ends flush, and a mask hides the padding in front. What all prompts of a pass begin
with is read once. The head runs behind the last token only.
"""

from __future__ import annotations

import time
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from carrara.errors import Refusal
from carrara.models.forward import decoder_of, opening, project, read_on
from carrara.models.load import Loaded
from carrara.models.passes import WORTH_SHARING, common_start, cut_by_length

if TYPE_CHECKING:
    import torch

_ROWS = 32  # in one pass: the weights, whose reading takes the time, are read once for all of them
_READ = 4096  # padded tokens of prompts that are read at once
_HELD = 512 << 20  # bytes of keys and values that a pass may come to hold
_LEFT_OUT = 8  # tokens that a decoder may leave out or join where a stop string is looked for
_UNFINISHED = "\N{REPLACEMENT CHARACTER}"  # what a decoder writes for bytes that are no whole character


@dataclass(frozen=True)
class Written:
    """What a model wrote: its tokens, the one that ended it among them, and its text up to a stop string.

    `ended` says that an end token or a stop string ended it, not the budget. `seconds` are its share of the pass.
    """

    ids: tuple[int, ...]
    text: str
    ended: bool
    seconds: float


@dataclass(frozen=True)
class Draw:
    """Tokens by chance, in proportion to their probabilities at `temperature`, in place of the likeliest one.

    Only the likeliest tokens that together hold `top_p` of the probability are drawn. The prompt at place i draws from
    `seed` + i, so a prompt that stands there k times gets k texts. Raises ValueError where `temperature` is not above
    0, `top_p` not in (0, 1], or `seed` below 0.
    """

    temperature: float
    top_p: float = 1.0
    seed: int = 0

    def __post_init__(self) -> None:
        if not (self.temperature > 0 and 0 < self.top_p <= 1 and self.seed >= 0):
            raise ValueError(f"nothing can be drawn at {self}")


def write_all(
    loaded: Loaded,
    prompts: Sequence[Sequence[int]],
    budget: int,
    ends: Collection[int],
    stops: Sequence[str] = (),
    draw: Draw | None = None,
) -> list[Written]:
    """What the model writes behind each prompt: its likeliest token or, with `draw`, one by chance, again and again.

    At most `budget` tokens and what its context has; a token of `ends` or a text of `stops` ends it sooner. In float32
    the same prompt, drawn from the same seed, gives the same text in any company, but where two tokens are all but
    equally likely. Prompts have a token at least and are shorter than the model's context. Raises Refusal if the
    model's numbers are none.
    """
    found: dict[int, Written] = {}
    for places in cut_into_passes(loaded, prompts, budget):
        began = time.monotonic()
        dice = _Dice(draw, places) if draw else None
        rows = _Pass(loaded, [prompts[place] for place in places], budget, ends, stops, dice).write()
        seconds = (time.monotonic() - began) / len(places)
        found |= {place: as_written(loaded, ids, ends, stops, seconds) for place, ids in zip(places, rows, strict=True)}
    return [found[place] for place in range(len(prompts))]


def cut_into_passes(loaded: Loaded, prompts: Sequence[Sequence[int]], budget: int) -> list[list[int]]:
    """The prompts that are gone on with together, by their length alone; each for itself if attention has a window.

    The prompts of one pass make one pass by themselves, too.
    """
    each = _bytes_held(loaded)

    def fits(count: int, longest: int) -> bool:
        held = count * min(longest + budget, loaded.context) * each
        return loaded.window is None and count <= _ROWS and count * longest <= _READ and held <= _HELD

    return cut_by_length([len(prompt) for prompt in prompts], fits)


def _bytes_held(loaded: Loaded) -> int:
    """The bytes of the keys and values of one token, in all layers."""
    config = loaded.network.config
    width = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    heads = getattr(config, "num_key_value_heads", None) or config.num_attention_heads
    return int(2 * config.num_hidden_layers * heads * width * loaded.dtype.itemsize)


def as_written(
    loaded: Loaded, ids: Sequence[int], ends: Collection[int], stops: Sequence[str], seconds: float
) -> Written:
    """The tokens that were written, as text."""
    is_ended = bool(ids) and ids[-1] in ends
    text = _decoded(loaded, ids[:-1] if is_ended else ids)
    place = min((found for stop in stops if (found := text.find(stop)) >= 0), default=None)
    if place is not None:
        return Written(tuple(ids), text[:place], True, seconds)
    return Written(tuple(ids), text if is_ended else text.rstrip(_UNFINISHED), is_ended, seconds)


class _Dice:
    """Draws the tokens of a pass, each row by chances of its own."""

    def __init__(self, draw: Draw, places: Sequence[int]) -> None:
        import numpy as np

        self._draw = draw
        self._chances = [np.random.default_rng(draw.seed + place) for place in places]

    def throw(self, logits: torch.Tensor, rows: Sequence[int]) -> torch.Tensor:
        """A token for each of `rows`, whose `logits` `(rows, vocabulary)` are at most 0.

        Each token runs for an exponential time at the rate of its probability, and the first to arrive is drawn
        (Gumbel-max). Unlike a place on the sums of all probabilities, who is first hardly ever hangs on last bits.
        """
        import numpy as np
        import torch

        scores = logits / self._draw.temperature
        if self._draw.top_p < 1:
            scores = self._nucleus(scores)
        # Drawn in float64: in float32 one of some million times is 0, and any token could come first.
        times = np.stack([self._chances[row].standard_exponential(scores.shape[1]).astype(np.float32) for row in rows])
        return (scores - torch.from_numpy(times).to(scores.device).log()).argmax(dim=-1)

    def _nucleus(self, scores: torch.Tensor) -> torch.Tensor:
        """The scores, those outside of the nucleus (Holtzman et al. 2020, arXiv 1904.09751) at minus infinity."""
        probabilities = scores.softmax(dim=-1)
        ordered = probabilities.sort(dim=-1, descending=True).values
        before = ordered.cumsum(dim=-1) - ordered
        before[:, 0] = 0  # the likeliest always stays
        least = ordered.masked_fill(before >= self._draw.top_p, 1).amin(dim=-1, keepdim=True)
        return scores.masked_fill(probabilities < least, float("-inf"))


class _Pass:
    """Some prompts on their way together; `alive` are the rows that still write, in the order of the tensors."""

    def __init__(
        self,
        loaded: Loaded,
        prompts: Sequence[Sequence[int]],
        budget: int,
        ends: Collection[int],
        stops: Sequence[str],
        dice: _Dice | None,
    ) -> None:
        self._loaded, self._prompts, self._dice = loaded, prompts, dice
        self._rooms = [min(budget, loaded.context - len(prompt)) for prompt in prompts]
        self._ends, self._stops = ends, stops
        self._span = max((len(stop.encode("utf-8")) for stop in stops), default=0) + _LEFT_OUT
        self._longest = max(map(len, prompts))
        self._written: list[list[int]] = [[] for _ in prompts]
        self._alive = list(range(len(prompts)))

    def write(self) -> list[list[int]]:
        """The tokens behind each prompt."""
        import torch

        with torch.inference_mode():
            hidden = self._read()
            while True:
                tokens = self._choose(hidden)
                going = self._take(tokens.tolist())
                if not going:
                    return self._written
                if len(going) < len(self._alive):
                    tokens = self._leave(tokens, going)
                hidden = self._step(tokens)

    def _read(self) -> torch.Tensor:
        """Read the prompts; the hidden state behind each, `(rows, width)`."""
        import torch

        loaded, rows = self._loaded, len(self._prompts)
        shared = _common_opening(self._prompts)
        cache = opening(loaded.network, 1)
        if shared:
            read_on(loaded.network, torch.tensor([[*shared]], device=loaded.device), cache)
        cache.batch_repeat_interleave(rows)
        before = cache.get_seq_length()
        rest = [prompt[len(shared) :] for prompt in self._prompts]
        longest = max(map(len, rest))
        pads = [longest - len(ids) for ids in rest]
        ids = torch.tensor([[0] * pad + [*ids] for pad, ids in zip(pads, rest, strict=True)], device=loaded.device)
        pad = torch.tensor(pads, device=loaded.device)[:, None]
        place = torch.arange(longest, device=loaded.device)
        known = torch.ones(rows, before, dtype=torch.bool, device=loaded.device)
        self._cache = cache
        self._seen = torch.cat([known, place >= pad], dim=1)  # which of the places held are no padding
        self._position = before + longest - 1 - pad  # of the last token of each row
        mask = _reading_mask(self._seen, longest) if any(pads) else None
        return self._forward(ids, mask, (before + place - pad).clamp(min=0))

    def _choose(self, hidden: torch.Tensor) -> torch.Tensor:
        """The next token of each row."""
        logits = project(self._loaded.network, hidden).float()
        values, likeliest = logits.max(dim=-1)
        if not bool(values.isfinite().all()):
            raise Refusal(
                "the model's logits are no numbers; its weights are damaged or overflow; "
                "evaluate with --dtype float32, or tune with a lower learning rate."
            )
        return self._dice.throw(logits - values[:, None], self._alive) if self._dice else likeliest

    def _take(self, tokens: Sequence[int]) -> list[int]:
        """Keep the tokens of the rows; the places among them of those that go on."""
        for row, token in zip(self._alive, tokens, strict=True):
            self._written[row].append(token)
        return [place for place, row in enumerate(self._alive) if not self._is_done(row)]

    def _is_done(self, row: int) -> bool:
        ids = self._written[row]
        if ids[-1] in self._ends or len(ids) == self._rooms[row]:
            return True
        if not self._stops:
            return False
        tail = _decoded(self._loaded, ids[-self._span :])
        return any(stop in tail for stop in self._stops)

    def _leave(self, tokens: torch.Tensor, going: Sequence[int]) -> torch.Tensor:
        """Let go of the rows that are done; the tokens of the others."""
        import torch

        index = torch.tensor(going, device=self._loaded.device)
        self._cache.batch_select_indices(index)
        self._seen, self._position = self._seen[index], self._position[index]
        self._alive = [self._alive[place] for place in going]
        return tokens[index]

    def _step(self, tokens: torch.Tensor) -> torch.Tensor:
        """Read one more token of each row; the hidden state behind it."""
        import torch

        self._seen = torch.cat([self._seen, torch.ones_like(self._seen[:, :1])], dim=1)
        self._position = self._position + 1
        is_padded = any(len(self._prompts[row]) < self._longest for row in self._alive)
        return self._forward(tokens[:, None], self._seen[:, None, None] if is_padded else None, self._position)

    def _forward(self, ids: torch.Tensor, mask: torch.Tensor | None, positions: torch.Tensor) -> torch.Tensor:
        network: Any = decoder_of(self._loaded.network)
        return network(
            input_ids=ids, attention_mask=mask, position_ids=positions, past_key_values=self._cache, use_cache=True
        ).last_hidden_state[:, -1]


def _reading_mask(seen: torch.Tensor, longest: int) -> torch.Tensor:
    """Which held place each of the last `longest` sees, `(rows, 1, longest, held)`; padding sees itself."""
    import torch

    held = seen.shape[1]
    below = torch.ones(longest, held, dtype=torch.bool, device=seen.device).tril(held - longest)
    itself = torch.eye(held, dtype=torch.bool, device=seen.device)[held - longest :]
    return (seen[:, None] & below | itself)[:, None]


def _common_opening(prompts: Sequence[Sequence[int]]) -> Sequence[int]:
    """What all of several prompts begin with and each goes on behind, if that is worth reading by itself."""
    most = min(map(len, prompts)) - 1 if len(prompts) > 1 else 0
    alike = common_start(prompts, most)
    return prompts[0][:alike] if alike >= WORTH_SHARING else []


def _decoded(loaded: Loaded, ids: Sequence[int]) -> str:
    text = loaded.tokenizer.decode([*ids], skip_special_tokens=True, clean_up_tokenization_spaces=False)
    assert isinstance(text, str)
    return text
