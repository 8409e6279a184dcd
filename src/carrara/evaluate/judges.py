"""How good a written answer is: like its references, nearer to the truth, true to instructions, or the right label."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from importlib.metadata import version
from types import MappingProxyType
from typing import Any

from carrara.evaluate.text.diversity import has_loop, repeated
from carrara.evaluate.text.instructions import check, loosened
from carrara.evaluate.text.overlap import bleu, chrf, rouge_l, signature
from carrara.evaluate.text.recited import Recited
from carrara.models.generate import Written
from carrara.tasks.task import Instruction, Item, JudgedBy

Judge = Callable[[Item, Written], dict[str, Any]]  # the fields of a record that tell how good an answer is


def by_likeness(item: Item, written: Written, recited: Recited | None = None) -> dict[str, Any]:
    """How like an answer is to its references, whether it goes astray by itself, and how much of it is `recited`."""
    text, references = written.text.strip(), item.choices
    measures = {
        "chrf": chrf(text, references),
        "bleu": bleu(text, references),
        "rouge_l": rouge_l(text, references),
        "repeated": repeated(text),
        "loops": float(has_loop(text)),
        "missing_end": float(not written.ended),
        "words": float(len(text.split())),
    }
    return _measured(measures | ({"recited": recited.share(text) or 0.0} if recited else {}))


def by_truth(item: Item, written: Written) -> dict[str, Any]:
    """Whether an answer is nearer to a true than to a false reference, and by how much, as the harness counts it.

    What it takes for the answer is all that was written, "A:" included.
    """
    likeness: dict[str, Callable[[str, str], float]] = {
        "bleu": _bleu_of_harness(),
        "chrf": lambda text, reference: chrf(text, [reference]),
        "rougeL": rouge_l,
    }
    true, false = ([c for c, label in zip(item.choices, item.labels, strict=True) if label == sort] for sort in (1, 0))
    measures: dict[str, float] = {}
    lead: dict[str, float] = {}
    for name, like in likeness.items():
        best, worst = (max(like(written.text, each) for each in references) for references in (true, false))
        measures[f"{name}_acc"] = float(best > worst)
        lead[f"{name}_diff"] = best - worst
    return _measured(measures | lead)


def by_instructions(item: Item, written: Written) -> dict[str, Any]:
    """How many instructions an answer follows: strictly, and where a first or last line and asterisks may go."""
    strict = [_follows([written.text], each, item.context) for each in item.instructions]
    loose = [_follows(loosened(written.text), each, item.context) for each in item.instructions]
    return _measured(
        {
            "prompt_strict": float(all(strict)),
            "prompt_loose": float(all(loose)),
            "followed_strict": float(sum(strict)),
            "followed_loose": float(sum(loose)),
            "instructions": float(len(item.instructions)),
        }
    )


def by_label(item: Item, written: Written) -> dict[str, Any]:
    """The label that an answer names first, as a whole word; of several that begin there the longest.

    Case does not matter but in a label of one letter, which is a word in some languages. An answer that names none is
    wrong.
    """
    found = [
        (place.start(), -len(label), number)
        for number, label in enumerate(item.choices)
        if (place := re.search(rf"(?<!\w){re.escape(label)}(?!\w)", written.text, _case(label)))
    ]
    prediction = min(found)[2] if found else None
    is_right = prediction == item.gold
    return {"prediction": prediction, "gold": item.gold, "correct": is_right, "value": float(is_right)}


def _case(label: str) -> re.RegexFlag:
    return re.NOFLAG if len(label) == 1 else re.IGNORECASE


JUDGES: Mapping[JudgedBy, Judge] = MappingProxyType(
    {"likeness": by_likeness, "truth": by_truth, "instructions": by_instructions, "label": by_label}
)


def signatures(judge: JudgedBy) -> dict[str, str]:
    """What moves a judge's measures beside the text: sacrebleu's own lines, versions; for the receipt of scores."""
    if judge == "truth":
        return {"bleu": str(_harness_metric().get_signature()), "chrf": signature("chrf", 1)}
    if judge == "likeness":
        return {name: signature(name, 1) for name in ("chrf", "bleu", "corpus_chrf", "corpus_bleu")}
    if judge == "instructions":
        return {"py3langid": version("py3langid")}
    return {}


def _measured(measures: dict[str, float]) -> dict[str, Any]:
    return {"measures": measures, "value": next(iter(measures.values()))}


def _follows(texts: Sequence[str], instruction: Instruction, prompt: str) -> bool:
    return any(check(text, instruction.kind, instruction.settings, prompt) for text in texts)


def _bleu_of_harness() -> Callable[[str, str], float]:
    """BLEU as lm-eval's `truthfulqa_gen` has it, where an answer of less than four words has nothing in common."""
    metric = _harness_metric()
    return lambda text, reference: metric.corpus_score([text], [[reference]]).score / 100


def _harness_metric() -> Any:
    from sacrebleu.metrics.bleu import BLEU

    metric = BLEU(tokenize="intl", smooth_method="exp", smooth_value=0.0, effective_order=False)
    metric.num_refs = 1
    return metric
