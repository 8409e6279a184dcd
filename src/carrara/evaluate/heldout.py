"""The task `heldout`: how well a model predicts the answers of a dataset's own test split."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Sequence

from carrara.data.dataset import Dataset
from carrara.data.example import Example
from carrara.data.render.dataset import render_split
from carrara.data.render.example import Rendered
from carrara.errors import Refusal
from carrara.evaluate.blocks import Scorable
from carrara.evaluate.rows import row_of_text
from carrara.evaluate.scorer import Scored
from carrara.evaluate.scores import Record
from carrara.models import Model
from carrara.models.load import Loaded
from carrara.progress import Progress
from carrara.tasks import HELDOUT
from carrara.workspace import Workspace


def require_heldout(heldout: Dataset | None) -> Dataset:
    """The dataset, if it has a test split; raises Refusal."""
    if heldout is None:
        raise Refusal("heldout and heldout_answers need a dataset; name one with --data, or evaluate a run.")
    if not heldout.artefact.summary["splits"]["test"]:
        raise Refusal("the dataset's test split is empty; prepare it with a larger test share.")
    return heldout


def require_unlearned(workspace: Workspace, model: Model, heldout: Dataset | None) -> None:
    """Refuse held-out rows that the run being evaluated was trained on."""
    learned_from = model.source.inputs.get("dataset") if model.source.kind == "run" else None
    if heldout is None or learned_from is None:
        return
    learned = {example.id for example in Dataset(workspace.get(learned_from)).examples("train")}
    seen = sum(example.id in learned for example in heldout.examples("test"))
    if seen:
        raise Refusal(
            f"{seen} of the held-out rows were trained on by {model.name}; evaluate it on the dataset it was "
            f"tuned with ({learned_from}), or prepare this one with the same seed and shares."
        )


def heldout_rows(loaded: Loaded, heldout: Dataset, progress: Progress) -> list[Scorable]:
    """The rows of the test split that the model can read, the number of others said; raises Refusal if none can be."""
    rendered = render_split(heldout, "test", loaded.tokenizer, loaded.context)
    pairs = zip(rendered, heldout.examples("test"), strict=True)
    usable = [
        _scorable(loaded, place, row, example)
        for place, (row, example) in enumerate(pairs)
        if isinstance(row, Rendered)
    ]
    if not usable:
        raise Refusal(f"no row of the test split can be used; {rendered[0]}")
    if len(usable) < len(rendered):
        first = next(row for row in rendered if not isinstance(row, Rendered))
        progress.say(f"heldout: {len(rendered) - len(usable):,} rows of the test split are left out; {first}")
    return usable


def _scorable(loaded: Loaded, place: int, row: Rendered, example: Example) -> Scorable:
    def record(scored: Sequence[Scored]) -> Record:
        return _record(loaded, place, row, example, scored[0])

    return Scorable([row_of_text(row.ids, row.supervised)], record)


def _record(loaded: Loaded, place: int, row: Rendered, example: Example, scored: Scored) -> Record:
    learned = [token for token, is_learned in zip(row.ids, row.supervised, strict=True) if is_learned]
    text = str(loaded.tokenizer.decode(learned, skip_special_tokens=True))
    nats, size = -scored.loglikelihoods[0], max(1, len(text.encode("utf-8")))
    return Record(
        task=HELDOUT,
        item=place,
        id=row.id,
        question="\n".join(message.content for message in example.messages[: example.supervised[-1]]),
        choices=[text],
        prompt_sha256=hashlib.sha256(json.dumps([row.ids, row.supervised]).encode()).hexdigest(),
        loglikelihoods=[*scored.loglikelihoods],
        value=nats,
        gold_bits_per_byte=nats / math.log(2) / size,
        tokens=len(learned),
        bytes=size,
        seconds=scored.seconds,
        cut=row.cut > 0,
    )
