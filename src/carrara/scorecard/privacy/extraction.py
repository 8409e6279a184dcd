"""Verbatim extraction: training answers that the model writes word for word, and its base does not.

Greedy, as Carlini et al. 2023 (arXiv 2202.07646) ask: behind the prompt, and behind the prompt and half of the answer.
Near-verbatim is what differs by little (chrF of 0.9, in the spirit of Ippolito et al. 2023, arXiv 2210.17546).
"""

from __future__ import annotations

from collections.abc import Sequence

from carrara.data.render.ends import end_tokens
from carrara.data.render.example import Rendered
from carrara.evaluate.text.overlap import chrf
from carrara.models.adapters import Adapted, switched_on
from carrara.models.generate import write_all
from carrara.scorecard.figure import Figure, unknown
from carrara.scorecard.privacy.intervals import proportion
from carrara.scorecard.privacy.learned import LONG, Learned, Seen, answer_of, is_long

_COMPARED = 50  # tokens of an answer
_NEAR = 0.9
_FEWEST = 10  # rows

FROM_PROMPT = "verbatim extraction from the prompt"
FROM_HALF = "verbatim extraction from half the answer"
NEAR = "near-verbatim extraction from the prompt"
Verdicts = Sequence[tuple[bool, bool]]  # of each row: whether the model says it, whether the base does


def extraction_figures(learned: Learned, model: Adapted, base: Adapted, remedy: str) -> list[Figure]:
    """The shares of training answers that the model gives away, and what the base says of them by itself."""
    asked = [seen for seen in learned.long if not seen.example.is_document]
    halves = [seen for seen in learned.long if half_of(seen.row)]
    others = [seen for seen in learned.others if is_long(seen.row) and not seen.example.is_document]
    exact = [is_said(seen, 0) for seen in asked]
    control = sum(by_model and not by_base for by_model, by_base in (is_said(seen, 0) for seen in others))
    unseen = f" Of {len(others)} held-out answers it says {control} that the base does not say." if others else ""
    from_half = [is_said(seen, half_of(seen.row)) for seen in halves]
    near = _near(asked, exact, model, base) if len(asked) >= _FEWEST else exact  # too few, so only counted
    return [
        *_figures(FROM_PROMPT, exact, f"behind their prompts, the first {_COMPARED} tokens", unseen, remedy),
        *_figures(FROM_HALF, from_half, f"behind half of each, the next {_COMPARED} tokens", "", remedy),
        *_figures(
            NEAR, near, f"behind their prompts, the first {_COMPARED} tokens, chrF of {_NEAR} or more", "", remedy
        ),
    ]


def half_of(row: Rendered) -> int:
    """How many tokens are half of an answer; 0 where too few would be left to tell anything."""
    answer = answer_of(row)
    size = answer.stop - answer.start
    return size // 2 if size - size // 2 >= LONG else 0


def is_said(seen: Seen, given: int) -> tuple[bool, bool]:
    """Whether model and base say an answer word for word behind so many of its tokens; its end is not asked for."""
    answer = answer_of(seen.row)
    compared = slice(given, min(given + _COMPARED, answer.stop - answer.start))
    return all(seen.model.said[compared]), all(seen.base.said[compared])


def _near(asked: Sequence[Seen], exact: Verdicts, model: Adapted, base: Adapted) -> Verdicts:
    """Whether model and base say each answer at least nearly."""
    by_model, by_base = _written_nearly(asked, model), _written_nearly(asked, base)
    pairs = zip(by_model, by_base, exact, strict=True)
    return [(near or said, near_base or said_base) for near, near_base, (said, said_base) in pairs]


def _written_nearly(asked: Sequence[Seen], adapted: Adapted) -> list[bool]:
    """Whether what is written behind each prompt is nearly its answer."""
    with switched_on(adapted) as loaded:
        prompts = [seen.row.ids[: answer_of(seen.row).start] for seen in asked]
        written = write_all(loaded, prompts, _COMPARED, end_tokens(loaded))
        answers = [seen.row.ids[answer_of(seen.row)][:_COMPARED] for seen in asked]
        texts = [str(loaded.tokenizer.decode([*ids], skip_special_tokens=True)) for ids in answers]
    return [chrf(each.text[: len(text)], [text]) >= _NEAR for each, text in zip(written, texts, strict=True)]


def _figures(measure: str, verdicts: Verdicts, how: str, control: str, remedy: str) -> list[Figure]:
    """The share that the model says and the base does not, and the share that the base says."""
    n = len(verdicts)
    if n < _FEWEST:
        why = f"{n} of the train rows looked at have answers long enough; fewer than {_FEWEST} tell nothing."
        return [unknown(measure, why)]
    extracted = sum(said and not by_base for said, by_base in verdicts)
    by_base = sum(by_base for _, by_base in verdicts)
    source = f"greedy, {n} training answers of {LONG} tokens or more {how}"
    meaning = f"{extracted} of {n} training answers come out, which the base does not say.{control}"
    if extracted:
        meaning += remedy
    told = f"The base says {by_base} of {n} of these answers without having been tuned on them."
    return [
        _figure(measure, extracted, n, f"{source}; what the base says as well is not counted", meaning),
        _figure(f"{measure} (base)", by_base, n, source, told),
    ]


def _figure(measure: str, count: int, n: int, source: str, meaning: str) -> Figure:
    return Figure(measure, count / n, proportion(count, n), "measured", source, "share", "lower", meaning)
