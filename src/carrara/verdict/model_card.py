"""The tuned model's card for the Hugging Face hub: what it was made from, how it scores, and the verdict on it."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from carrara.evaluate.scores import Scores
from carrara.models.catalogue import read_catalogue
from carrara.verdict import formats
from carrara.verdict.compare import TaskVerdict, Verdict, headline
from carrara.verdict.details import COST, LINEAGE, RECIPE
from carrara.wording import line, plain
from carrara.workspace.files import write_atomically

if TYPE_CHECKING:
    from huggingface_hub import EvalResult

_TRUTHFULQA = ("truthfulqa/truthful_qa", "TruthfulQA", "multiple_choice", "validation")
_DATASETS = {  # by task: the hub's dataset, its name, configuration and split
    "arc_easy": ("allenai/ai2_arc", "AI2 Reasoning Challenge (Easy)", "ARC-Easy", "test"),
    "arc_challenge": ("allenai/ai2_arc", "AI2 Reasoning Challenge", "ARC-Challenge", "test"),
    "hellaswag": ("Rowan/hellaswag", "HellaSwag", None, "validation"),
    "truthfulqa_mc1": _TRUTHFULQA,
    "truthfulqa_mc2": _TRUTHFULQA,
    "truthfulqa_gen": ("truthfulqa/truthful_qa", "TruthfulQA", "generation", "validation"),
    "ifeval": ("google/IFEval", "IFEval", None, "train"),
    "stsb": ("PhilipMay/stsb_multi_mt", "STS-B", "en", "test"),
    "mmlu": ("cais/mmlu", "MMLU", "all", "test"),
    "winogrande": ("allenai/winogrande", "WinoGrande", "winogrande_xl", "validation"),
}
_HUB_NAME = re.compile(r"[\w.-]+/[\w.-]+")
_MARKS = re.compile(r"([\\`*_\[\]<>|~])")  # what Markdown would take for more than text


def write_model_card(
    path: Path, verdict: Verdict, base: Scores, tuned: Scores, shown: Mapping[str, Mapping[str, Any]]
) -> None:
    """Write the card to `path`, which the hub wants to be named README.md, whole or not at all."""
    text = model_card(verdict, base, tuned, shown)
    write_atomically(path, text.encode("utf-8", errors="replace"))  # a hostile text may hold half a character


def model_card(verdict: Verdict, base: Scores, tuned: Scores, shown: Mapping[str, Mapping[str, Any]]) -> str:
    """The card in Markdown, its metadata in front as YAML with the scores as `model-index`.

    `base` and `tuned` are the scores compared, `shown` the report's sections, of which the recipe and the cost are
    taken; of paths only the last part is told, since a card is for others. The form is the hub's:
    https://github.com/huggingface/hub-docs/blob/main/modelcard.md.
    """
    from huggingface_hub import ModelCardData

    name = _told(tuned.receipt.get("model_name") or "tuned model")
    began = _beginning(base, shown)
    entry = read_catalogue().get(began)
    hub = entry.hub if entry else _hub_name(began)
    method = shown.get(RECIPE, {}).get("tune.method")
    data = ModelCardData(
        model_name=name if verdict.verdicts else None,  # stands in model-index alone
        base_model=hub,
        language=list(entry.languages) if entry and entry.languages else None,
        library_name="peft" if tuned.receipt.get("adapter") else "transformers",
        pipeline_tag="text-generation",
        tags=["carrara", *([str(method)] if method else [])],
        eval_results=[_result(row, tuned.receipt) for row in verdict.verdicts] or None,
    )
    parts = [
        f"# {_escaped(name)}",
        f"Tuned from {_escaped(hub or _told(began))}, and measured against {_escaped(_told(_name(base)))} "
        "on the same items.",
        f"**{_escaped(headline(verdict))}**",
        *_results(verdict),
        *_conditions(tuned.receipt),
        *_training(shown),
        "Written by Carrara.",
    ]
    return f"---\n{data.to_yaml()}\n---\n\n" + "\n\n".join(parts) + "\n"


def _result(row: TaskVerdict, receipt: Mapping[str, Any]) -> EvalResult:
    """A score in the hub's form; shares are fractions, as in the verdict."""
    from huggingface_hub import EvalResult

    named = line(row.task)
    dataset, title, config, split = _DATASETS.get(row.task, (named, named, None, "test"))
    shots = receipt.get("tasks", {}).get(row.task, {}).get("shots")
    return EvalResult(
        task_type="text-generation",
        task_name="Text generation",
        dataset_type=dataset,
        dataset_name=title,
        dataset_config=config,
        dataset_split=split,
        dataset_args=None if shots is None else {"num_few_shot": shots},
        metric_type=row.metric,
        metric_name=f"{named} {row.metric}",
        metric_value=round(row.tuned, 6),
    )


def _results(verdict: Verdict) -> list[str]:
    """The scores of both models in a table; only the first metric of each task has a verdict."""
    first = verdict.primaries()
    rows = [
        (
            _escaped(row.task),
            _escaped(row.metric),
            formats.value(row, row.base),
            formats.value(row, row.tuned),
            f"{formats.difference(row, row.delta)} {formats.unit(row)}",
            f"{formats.difference(row, row.ci[0])} to {formats.difference(row, row.ci[1])}",
            f"{row.n:,}",
            row.verdict if row in first else "–",
        )
        for row in verdict.verdicts
    ]
    head = ("Task", "Metric", "Base", "Tuned", "Difference", "95 % interval", "Items", "Verdict")
    notes = "\n".join(f"- {_escaped(note)}" for note in verdict.notes)
    how = (
        "Both models answered the same items; the intervals are of the paired difference. “No worse” allows a loss of "
        f"less than {verdict.margin:g} points (for losses: {verdict.margin:g} % of the base). The first metric of each "
        "task is judged; the others are other views of the same answers."
    )
    return ["## Scores", *([_table(head, rows), how] if rows else []), *([notes] if notes else [])]


def _conditions(receipt: Mapping[str, Any]) -> list[str]:
    """Under which rules the scores were taken."""
    protocol = receipt.get("protocol")
    rules = protocol.get("name") if isinstance(protocol, Mapping) else protocol
    known = {"Protocol": rules, "Number format": receipt.get("dtype"), "Device": receipt.get("device")}
    rows = [(label, _escaped(_told(value))) for label, value in known.items() if value]
    return ["## How it was measured", _table(("", ""), rows)] if rows else []


def _training(shown: Mapping[str, Mapping[str, Any]]) -> list[str]:
    facts = {**shown.get(RECIPE, {}), **shown.get(COST, {})}
    rows = [(_escaped(label), _escaped(_told(plain(value)))) for label, value in facts.items()]
    return ["## How it was trained", _table(("", ""), rows)] if rows else []


def _beginning(base: Scores, shown: Mapping[str, Mapping[str, Any]]) -> str:
    """The name of the model with which the run's line began, or else of the one that it was compared with."""
    return str(list(shown.get(LINEAGE, {}).values())[-1]) if shown.get(LINEAGE) else _name(base)


def _name(scores: Scores) -> str:
    return str(scores.receipt.get("model_name") or "the base model")


def _hub_name(text: str) -> str | None:
    """The model's name on the hub, if `text` is a reference to there."""
    name = text.removeprefix("hub:").partition("@")[0]
    return name if text.startswith("hub:") and _HUB_NAME.fullmatch(name) else None


def _told(value: Any) -> str:
    """A value in one line; of a path its last part, as the folders of a machine are nobody's business."""
    text = line(str(value), 300)
    return re.split(r"[/\\]", text.rstrip("/\\"))[-1] if re.match(r"[/~\\.]|[A-Za-z]:[/\\]", text) else text


def _escaped(text: str) -> str:
    return _MARKS.sub(r"\\\1", line(text, 1000))


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)
