"""What the truth check finds, and the names by which a finding is allowed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from types import MappingProxyType
from typing import Any

# Every check by its name, with what holds where it finds nothing.
CHECKS: Mapping[str, str] = MappingProxyType(
    {
        "quarantine": "nearly all rows of the source can be used",
        "set-aside": "nearly all rows can be rendered",
        "nothing-learned": "every row that is trained has an answer to learn",
        "cut": "nearly all rows fit whole",
        "one-answer": "answers differ",
        "placeholder": "answers are no words for a missing value, unless that is a label",
        "answer-in-prompt": "prompts do not end with their answers",
        "few-rows": "there are rows to learn from",
        "serving": "training's context is the prompt that serving feeds, token for token",
        "mask": "the answer and its end are learned, all of it and nothing else",
        "content": "every message is shown whole",
        "bos": "a row begins with the model's BOS, where it has one, once",
        "end": "an answer ends with a token at which the model's settings stop",
        "control-tokens": "control tokens of the template are single tokens of the vocabulary",
        "unknown-tokens": "the tokenizer can write the rows",
        "vocabulary": "tokenizer and embeddings fit each other",
        "untrained-tokens": "the control tokens' embeddings were trained, or will be",
        "guessing": "the model knows its own tokens",
        "loss": "loss and gradient are those of a plain computation",
        "accumulation": "loss and gradient do not depend on how a batch is cut up",
        "packing": "packed rows give the sum of single ones",
        "neighbours": "a row's loss does not depend on what stands beside it",
        "positions": "every row's positions count from 0",
        "trained": "what should learn learns, and nothing else",
        "adapter": "the adapter sits on the modules named, at the recipe's scale",
        "fresh-adapter": "a fresh adapter leaves the model as it is",
        "dropout": "nothing is dropped when the loss is measured",
        "learning-rate": "the learning rate suits the method",
        "schedule": "the learning rate reaches its peak and stays there long enough",
        "steps": "steps and epochs make sense",
        "weight-decay": "weight decay leaves the weights standing",
        "clip": "clipping leaves the gradient standing",
        "scale": "alpha suits the rank",
    }
)


@dataclass(frozen=True)
class Finding:
    """Something wrong. `check` is the name for `tune.allow`; `sentence` says what, where, and the way out."""

    check: str
    sentence: str


@dataclass(frozen=True)
class Truth:
    """What was counted, what is wrong, and what of it is allowed."""

    facts: Mapping[str, Any]
    findings: tuple[Finding, ...]
    allowed: tuple[Finding, ...]

    def to_json(self) -> dict[str, Any]:
        return {
            "facts": dict(self.facts),
            "findings": [asdict(finding) for finding in self.findings],
            "allowed": [asdict(finding) for finding in self.allowed],
        }
