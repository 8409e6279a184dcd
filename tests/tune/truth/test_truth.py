"""The truth check: it refuses with sentences that can be allowed, and leaves everything as it was."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import pytest
import torch

from carrara.data.dataset import Dataset
from carrara.errors import Refusal
from carrara.models.load import Loaded
from carrara.tune.training import Training
from carrara.tune.truth import CHECKS, Finding, Truth, check_truth, require_truth
from tests.faults import learning_faults, step_faults
from tests.faults.ground import build, healthy, judge
from tests.faults.templates import KITS

Ground = tuple[Loaded, Dataset, Training]


def _ground(folder: Path, kit: int = 0, **tune: Any) -> Ground:
    return build(healthy(KITS[kit], random.Random(7), **tune), folder)


def _bits(training: Training) -> dict[str, Any]:
    """All that the check must leave alone; tensors as they lie in memory."""
    named = {**dict(training.network.named_parameters()), **dict(training.network.named_buffers())}
    return {
        "weights": {name: (tensor.data_ptr(), tensor.detach().clone()) for name, tensor in named.items()},
        "masters": {name: tensor.clone() for name, tensor in training.optimizer.tensors().items()},
        "gradients": [name for name, p in training.network.named_parameters() if p.grad is not None],
        "collected": list(training.optimizer.gradients()),
        "modes": [module.training for module in training.network.modules()],
        "learning": [p.requires_grad for p in training.network.parameters()],
        "torch": torch.get_rng_state(),
        "python": random.getstate(),
    }


def _same(one: Any, other: Any) -> bool:
    if isinstance(one, torch.Tensor):
        return torch.equal(one, other)
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(_same(one[key], other[key]) for key in one)
    if isinstance(one, tuple):
        return len(one) == len(other) and all(map(_same, one, other))
    return bool(one == other)


@pytest.mark.parametrize(
    "tune",
    [
        {"dropout": 0.2},
        {"method": "full", "dtype": "bfloat16"},
        {"method": "prefix", "virtual_tokens": 4, "batching": "packed"},
    ],
)
def test_it_leaves_everything_as_it_was_to_the_bit(tune: dict[str, Any], tmp_path: Path) -> None:
    loaded, dataset, training = _ground(tmp_path, **tune)
    training.network.train()
    before = _bits(training)
    truth = check_truth(loaded, dataset, training, ())
    assert truth.findings == ()
    after = _bits(training)
    assert [key for key in before if not _same(before[key], after[key])] == []


def test_it_counts_what_is_learned(tmp_path: Path) -> None:
    loaded, dataset, training = _ground(tmp_path)
    facts = check_truth(loaded, dataset, training, ()).facts
    assert facts["rows"] == len(training.rows) == facts["rows_compared_with_their_texts"]
    assert facts["supervised_tokens"] == sum(sum(row.supervised) for row in training.rows)
    assert facts["ends_with"] == ["'<|im_end|>'"]
    assert facts["seconds"] < 60


def test_a_finding_is_a_sentence_and_can_be_allowed(tmp_path: Path) -> None:
    loaded, dataset, training = _ground(tmp_path, learning_rate=10.0, warmup=0.9)
    truth = check_truth(loaded, dataset, training, ())
    assert [finding.check for finding in truth.findings] == ["learning-rate", "schedule"]
    with pytest.raises(Refusal, match=r"(?s)2 things are wrong.*rate is 10, .*--allow learning-rate --allow schedule"):
        require_truth(truth)
    allowed = check_truth(loaded, dataset, training, ("learning-rate", "schedule"))
    require_truth(allowed)
    assert [finding.check for finding in allowed.allowed] == ["learning-rate", "schedule"]
    assert json.loads(json.dumps(allowed.to_json()))["allowed"][0]["check"] == "learning-rate"


def test_a_name_that_is_no_check_is_refused(tmp_path: Path) -> None:
    loaded, dataset, training = _ground(tmp_path)
    with pytest.raises(Refusal, match="there is no check 'lerning-rate'; known are quarantine"):
        check_truth(loaded, dataset, training, ("lerning-rate",))


def test_every_finding_has_a_known_name() -> None:
    package = Path(check_truth.__code__.co_filename).parent
    import re

    named = re.findall(r'Finding\(\s*"([a-z-]+)"', "".join(path.read_text() for path in package.glob("*.py")))
    assert len(named) > 25
    assert set(named) <= set(CHECKS)


def test_nothing_wrong_raises_nothing() -> None:
    require_truth(Truth({}, (), (Finding("cut", "so it is meant"),)))


@pytest.mark.parametrize(
    "name", ["gradient not normalised", "rows twice", "last states scaled", "held-out loss by rows"]
)
def test_a_fault_shows_in_bfloat16_too(name: str, tmp_path: Path) -> None:
    setup, chance = healthy(KITS[0], random.Random(7), dtype="bfloat16"), random.Random(1)
    broken = {**step_faults.FAULTS, **learning_faults.FAULTS}[name](setup, chance)
    assert judge(setup, tmp_path, broken.before, broken.after).by in ("loss", "accumulation", "dropout")
