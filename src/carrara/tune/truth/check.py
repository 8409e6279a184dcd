"""The truth check: every family of checks in turn, on the user's own rows, tokenizer, template and network."""

from __future__ import annotations

import time
from collections.abc import Collection, Iterator
from typing import Any

from carrara.data.dataset import Dataset
from carrara.data.render.dataset import count_tokens
from carrara.errors import Refusal
from carrara.models.load import Loaded
from carrara.tune.training import Training
from carrara.tune.truth.adapters import check_adapter
from carrara.tune.truth.finding import CHECKS, Finding, Truth
from carrara.tune.truth.gradients import check_gradients
from carrara.tune.truth.knowledge import check_knowledge
from carrara.tune.truth.passes import untouched
from carrara.tune.truth.rendering import check_rendering
from carrara.tune.truth.rows import check_rows, set_aside, unusable
from carrara.tune.truth.settings import check_settings
from carrara.tune.truth.subject import Subject, look_at
from carrara.tune.truth.vocabulary import check_vocabulary


def check_truth(loaded: Loaded, dataset: Dataset, training: Training, allow: Collection[str]) -> Truth:
    """Whether `training` will learn what was meant, found out in seconds.

    `loaded` is the model before anything was attached to it. Network, optimizer and every source of chance are left
    as they were, to the bit. Raises Refusal for a name in `allow` that is no check's.
    """
    require_known(allow)
    started = time.monotonic()
    subject = look_at(loaded, dataset, training)
    found = list(_findings(subject))
    facts = {**_facts(subject), "seconds": round(time.monotonic() - started, 2)}
    return Truth(
        facts,
        tuple(finding for finding in found if finding.check not in allow),
        tuple(finding for finding in found if finding.check in allow),
    )


def require_known(allow: Collection[str]) -> None:
    """Raise Refusal for a name that is no check's."""
    if unknown := sorted(set(allow) - set(CHECKS)):
        raise Refusal(f"tune.allow: there is no check '{unknown[0]}'; known are {', '.join(CHECKS)}.")


def require_truth(truth: Truth) -> None:
    """Raise Refusal with the sentence of every finding, and how to allow each."""
    if truth.findings:
        names = " ".join(dict.fromkeys(f"--allow {finding.check}" for finding in truth.findings))
        sentences = "\n".join(f"  {finding.check}: {finding.sentence}" for finding in truth.findings)
        many = "one thing is" if len(truth.findings) == 1 else f"{len(truth.findings)} things are"
        raise Refusal(f"{many} wrong, so training does not begin:\n{sentences}\nTo train all the same: {names}.")


def _findings(subject: Subject) -> Iterator[Finding]:
    yield from check_rows(subject)
    yield from check_settings(subject)
    yield from check_rendering(subject)
    unusable = False
    for finding in check_vocabulary(subject):
        unusable = unusable or finding.check == "vocabulary"
        yield finding
    if unusable:  # no row can go through the network
        return
    with untouched(subject.training):
        yield from check_knowledge(subject)
        yield from check_adapter(subject)
        yield from check_gradients(subject)


def _facts(subject: Subject) -> dict[str, Any]:
    training = subject.training
    counts = count_tokens(subject.rows)
    ends = {subject.token(row.ids[-1]) for row in subject.sampled_rows if row.supervised[-1]}
    bos = subject.tokenizer.bos_token_id
    return {
        "rows": len(subject.rows),
        "rows_unusable": unusable(subject),
        "rows_set_aside": set_aside(subject),
        "canary_rows": len(training.rows) - len(subject.rows),
        "tokens": counts.total,
        "supervised_tokens": counts.supervised,
        "supervised_share": round(counts.supervised / max(1, counts.total), 4),
        "rows_cut": counts.truncated_rows,
        "rows_compared_with_their_texts": len(subject.pairs),
        "ends_with": sorted(ends)[:4],
        "begins_with_bos": sum(bool(row.ids) and row.ids[0] == bos for row in subject.sampled_rows[:128]),
        "steps": training.steps,
        "learning_rate": training.recipe.effective_learning_rate,
        "trainable": sum(parameter.numel() for parameter in training.optimizer.parameters.values()),
    }
