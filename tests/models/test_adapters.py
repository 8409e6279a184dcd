"""Models on one network compute what each computes alone, and only adapters share that leave the base as it is."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from carrara.errors import Refusal
from carrara.models import Model, resolve_model
from carrara.models.adapters import by_network, load_together, switched_on
from carrara.models.forward import hidden_states, project
from carrara.models.load import Loaded, load_model
from carrara.progress import Silent
from carrara.workspace import Workspace
from tests.tiny import write_tiny_adapter

IDS = torch.tensor([[5, 60, 7, 180, 9, 33]])
TOKENIZER = ("tokenizer.json", "tokenizer_config.json", "chat_template.jinja")


def _logits(loaded: Loaded) -> torch.Tensor:
    with torch.inference_mode():
        return project(loaded.network, hidden_states(loaded.network, IDS).flatten(0, 1))


def _adapter(workspace: Workspace, base: Model, place: Path, **options: Any) -> Model:
    return resolve_model(workspace, str(write_tiny_adapter(base.path, place, **options)), Silent())


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_switched_on_each_computes_what_it_computes_alone(
    workspace: Workspace, tiny_model: Model, tmp_path: Path, dtype: str
) -> None:
    options: list[dict[str, Any]] = [
        {},
        {"r": 4, "target_modules": ["q_proj", "up_proj"], "use_rslora": True},
        {"target_modules": ["k_proj"], "use_dora": True},
    ]
    adapters = [_adapter(workspace, tiny_model, tmp_path / str(n), seed=n, **o) for n, o in enumerate(options, 1)]
    models = [adapters[0], tiny_model, *adapters[1:]]
    alone = [_logits(load_model(model, dtype)) for model in models]
    together = load_together(models, dtype)
    assert len({id(each.loaded.network) for each in together}) == 1
    for place in (1, 0, 2, 3, 1, 3, 0, 1):
        with switched_on(together[place]) as loaded:
            assert loaded.model is models[place]
            assert torch.equal(_logits(loaded), alone[place])
    assert not any(torch.equal(alone[a], alone[b]) for a in range(4) for b in range(a))


@pytest.mark.parametrize(
    "options", [{"modules_to_save": ["norm"]}, {"init_lora_weights": "pissa"}], ids=["modules-to-save", "pissa"]
)
def test_an_adapter_that_touches_the_base_gets_a_network_of_its_own(
    workspace: Workspace, tiny_model: Model, tmp_path: Path, options: dict[str, Any]
) -> None:
    plain = _adapter(workspace, tiny_model, tmp_path / "plain", seed=1)
    own = _adapter(workspace, tiny_model, tmp_path / "own", seed=2, **options)
    assert by_network([own, tiny_model, plain]) == [[0], [1, 2]]


def test_whole_embeddings_beside_an_adapter_do_not_replace_the_base(
    workspace: Workspace, tiny_model: Model, tmp_path: Path
) -> None:
    """PEFT saves them where it thinks that the vocabulary grew; the configuration does not tell."""
    place = write_tiny_adapter(tiny_model.path, tmp_path / "own", seed=2)
    weights = load_file(place / "adapter_model.safetensors")
    embedding = load_file(tiny_model.path / "model.safetensors")["model.embed_tokens.weight"]
    weights["base_model.model.model.embed_tokens.weight"] = embedding + 1
    save_file(weights, place / "adapter_model.safetensors", metadata={"format": "pt"})
    models = [resolve_model(workspace, str(place), Silent()), tiny_model]
    alone = [_logits(load_model(model, "float32")) for model in models]
    for each, expected in zip(load_together(models, "float32"), alone, strict=True):
        with switched_on(each) as loaded:
            assert torch.equal(_logits(loaded), expected)


def test_other_bases_and_four_bits_do_not_share(workspace: Workspace, tiny_model: Model, tmp_path: Path) -> None:
    adapter = _adapter(workspace, tiny_model, tmp_path / "adapter")
    other = replace(tiny_model, digest="another")
    models = [tiny_model, other, adapter, replace(adapter, four_bit=True), replace(adapter, digest="another")]
    assert by_network(models) == [[0, 2], [1, 4], [3]]


@pytest.mark.parametrize(
    "other", [{"layers": 1}, {"layers": 3}, {"width": 64}], ids=["fewer layers", "more layers", "wider"]
)
def test_a_further_adapter_of_another_base_is_refused_by_name(
    workspace: Workspace, tiny_model: Model, tmp_path: Path, other: dict[str, int]
) -> None:
    right = _adapter(workspace, tiny_model, tmp_path / "right", seed=1)
    wrong = _adapter(workspace, tiny_model, tmp_path / "wrong", seed=2, **other)
    with pytest.raises(Refusal, match=r"the adapter .*wrong does not fit") as refused:
        load_together([tiny_model, right, wrong], "float32")
    assert len(str(refused.value).splitlines()) == 1


def test_each_has_its_own_tokenizer_and_equal_ones_are_one(
    workspace: Workspace, tiny_model: Model, tmp_path: Path
) -> None:
    models = [tiny_model]
    for seed, name in enumerate(("without", "copied", "changed"), 1):
        place = write_tiny_adapter(tiny_model.path, tmp_path / name, seed=seed)
        if name != "without":
            for file in TOKENIZER:
                shutil.copyfile(tiny_model.path / file, place / file)
        if name == "changed":
            path = place / "tokenizer.json"
            path.write_text(json.dumps(json.loads(path.read_text()) | {"normalizer": {"type": "Lowercase"}}))
        models.append(resolve_model(workspace, str(place), Silent()))
    base, without, copied, changed = (each.loaded.tokenizer for each in load_together(models, "float32"))
    assert base is without is copied
    assert changed is not base
    assert changed.encode("Marble") == base.encode("marble") != base.encode("Marble")


def test_asking_who_may_share_is_silent_and_fetches_nothing(tiny_folder: Path, tmp_path: Path) -> None:
    """PEFT imports bitsandbytes, which would fetch kernels from the hub, or complain that it cannot."""
    place = write_tiny_adapter(tiny_folder, tmp_path / "adapter")
    code = (
        "import pathlib, sys\n"
        "from carrara.models.adapters import _can_share\n"
        "print(_can_share(pathlib.Path(sys.argv[1])))"
    )
    done = subprocess.run([sys.executable, "-c", code, place], capture_output=True, text=True, timeout=120, check=True)
    assert done.stdout == "True\n"
    assert "kernels" not in done.stderr
