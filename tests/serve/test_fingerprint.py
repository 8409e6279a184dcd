"""What is served is held to the scored model: faults are refused at the start by name, and rounding is none."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from carrara.errors import Refusal
from carrara.export.gguf import QUANTIZATIONS, Quantization
from carrara.export.reference import Reference
from carrara.models import Model, resolve_model
from carrara.progress import Silent
from carrara.serve.engine import TokenLogprob
from carrara.serve.engines import LlamaCppBases, open_engine
from carrara.serve.fingerprint import Fingerprint, require_scored, sure_tokens
from carrara.workspace import Workspace
from tests.export.llama import make_folder
from tests.tiny import write_tiny_adapter

REFERENCE = Reference((1, 2), (10, 11, 12), ((-0.1, -3.0), (-0.7, -0.75), (-0.2, -4.0)))


def found(*places: tuple[int, float]) -> dict[str, Fingerprint]:
    logprobs = tuple(TokenLogprob("x", value) for _, value in places)
    return {"run/1": Fingerprint(tuple(token for token, _ in places), logprobs)}


@pytest.mark.parametrize(
    "places",
    [
        ((10, -0.1), (11, -0.7), (12, -0.2)),
        ((10, -0.19), (11, -0.61), (12, -0.29)),
        ((10, -0.1), (44, -0.72), (45, -9.0)),  # a near-tie that went the other way: nothing is known after it
        ((10, -0.1),),
    ],
)
def test_what_rounding_does_is_no_fault(places: tuple[tuple[int, float], ...]) -> None:
    require_scored(found(*places), {"run/1": REFERENCE}, "f16")
    require_scored(found(*places), {"run/1": None}, "f16")


@pytest.mark.parametrize(
    ("places", "said"),
    [
        (((44, -0.1), (11, -0.7)), "token 1 .* -0.10 nats, and the model -0.10"),
        (((10, -0.25), (11, -0.7)), "token 1 .* -0.25 nats, and the model -0.10 .* bound of f16 is 0.1"),
        (((10, -0.1), (44, -0.95)), "token 2"),
        (((10, -0.1), (11, -0.7), (12, -0.4)), "token 3"),
    ],
)
def test_what_rounding_does_not_is_refused_by_name(places: tuple[tuple[int, float], ...], said: str) -> None:
    with pytest.raises(Refusal, match=f"run/1 is not the model that was scored.*{said}"):
        require_scored(found(*places), {"run/1": REFERENCE}, "f16")


def test_a_coarser_format_is_held_to_fewer_tokens() -> None:
    clear = replace(REFERENCE, top=((-0.1, -3.0), (-0.7, -1.1), (-0.2, -4.0)))
    assert sure_tokens(clear, "f16") == (10, 11, 12)
    assert sure_tokens(clear, "q8_0") == (10,)
    assert sure_tokens(REFERENCE, "f16") == (10,)
    assert sure_tokens(None, "f16") is None


# ---- from files to the first answer ----


@pytest.fixture
def models(workspace: Workspace, tmp_path: Path) -> dict[str, Model]:
    base = make_folder(tmp_path / "base")
    adapter = write_tiny_adapter(base, tmp_path / "adapter", width=64, r=4, lora_alpha=8)
    tuned = resolve_model(workspace, str(adapter), Silent())
    return {"base": replace(tuned, adapter=None, adapter_digest=None), "tuned": tuned}


def opened(models: dict[str, Model], workspace: Workspace, quantization: Quantization = "f16") -> list[str]:
    engine = open_engine("llamacpp", models, workspace, quantization, Silent())
    assert isinstance(engine, LlamaCppBases)
    try:
        return engine.models()
    finally:
        engine.close()


@pytest.mark.parametrize("quantization", QUANTIZATIONS)
def test_what_was_scored_is_served_in_every_format(
    models: dict[str, Model], workspace: Workspace, quantization: Quantization
) -> None:
    assert opened(models, workspace, quantization) == ["base", "tuned"]
    assert len(workspace.list("reference")) == 2
    assert opened(models, workspace, quantization) == ["base", "tuned"]


def _scaled(pairs: Any) -> Any:
    return lambda *given: [replace(pair, scale=3 * pair.scale) for pair in pairs(*given)]


FAULTS: dict[str, tuple[str, Callable[[Any], Any], str]] = {
    "scale": ("carrara.export.gguf.read_pairs", _scaled, "tuned"),
    "rope base": (
        "carrara.export.gguf.hyperparameters",
        lambda own: lambda config: own(config) | {"llama.rope.freq_base": 10.0},
        "base",
    ),
    "no rotary order": ("carrara.export.gguf._permuted", lambda _: lambda rows, heads: rows, "base"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_file_that_is_another_model_is_refused_before_the_first_answer(
    models: dict[str, Model], workspace: Workspace, monkeypatch: pytest.MonkeyPatch, fault: str
) -> None:
    place, breaks, named = FAULTS[fault]
    for check in ("require_same_settings", "require_same_adapter"):  # as if the file had been changed afterwards
        monkeypatch.setattr(f"carrara.export.package.{check}", lambda *_: None)
    module, _, name = place.rpartition(".")
    monkeypatch.setattr(place, breaks(getattr(__import__(module, fromlist=[name]), name)))
    with pytest.raises(Refusal, match=f"^{named} is not the model that was scored: its GGUF file gives token"):
        opened(models, workspace)


def test_the_adapter_of_another_model_is_refused(
    models: dict[str, Model], workspace: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from carrara.export import package

    other = write_tiny_adapter(models["base"].path, tmp_path / "other", seed=5, width=64, r=4, lora_alpha=8)
    wrong = package.adapter_gguf(workspace, resolve_model(workspace, str(other), Silent()), Silent())
    files = SimpleNamespace(base_gguf=package.base_gguf, adapter_gguf=lambda *_: wrong)
    monkeypatch.setitem(__import__("sys").modules, "carrara.export.package", files)
    with pytest.raises(Refusal, match="tuned is not the model that was scored"):
        opened(models, workspace)


def test_a_swapped_template_is_refused(models: dict[str, Model], workspace: Workspace) -> None:
    assert opened(models, workspace) == ["base", "tuned"]
    template = models["base"].path / "chat_template.jinja"
    template.write_text(template.read_text() + " ")
    with pytest.raises(Refusal, match="base is not the model that was scored: its chat template or tokenizer makes"):
        opened(models, workspace)


def test_without_memory_it_is_said_that_nothing_is_compared(
    models: dict[str, Model], workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    said: list[str] = []
    monkeypatch.setattr("carrara.export.reference._SPARE", 1 << 60)
    monkeypatch.setattr(Silent, "say", lambda _, sentence: said.append(sentence))
    assert opened(models, workspace) == ["base", "tuned"]
    assert sum("is not compared with itself as it was scored" in sentence for sentence in said) == 2
    assert not workspace.list("reference")
