"""Speed: models are timed in turn at the same work, and a change is told where there is one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from carrara.errors import Refusal
from carrara.models import Model, resolve_model
from carrara.models.adapters import load_together
from carrara.models.stepper import Stepper
from carrara.progress import Silent
from carrara.scorecard.ease_of_use import speed
from carrara.scorecard.ease_of_use.speed import Timed, speed_figures, time_in_turn
from carrara.workspace import Workspace
from tests.tiny import one_thread, write_tiny_adapter, write_tiny_model

FAST = Timed(tuple(0.10 + 0.001 * n for n in range(16)), tuple(50.0 + n for n in range(16)))


def test_the_bad_end_is_the_slow_end_of_either() -> None:
    figures = {figure.measure: figure for figure in speed_figures(FAST, None, merges=False)}
    assert figures.keys() == {
        "first token p50", "first token p95", "tokens per second p50", "tokens per second p95",
    }  # fmt: skip
    assert figures["first token p50"].value == pytest.approx(0.1075)
    assert figures["first token p95"].value == pytest.approx(0.115)
    assert figures["tokens per second p50"].value == pytest.approx(57.5)
    assert figures["tokens per second p95"].value == 50.0
    for name, figure in figures.items():
        assert isinstance(figure.value, float)
        assert "adapter" not in figure.meaning
        if name.endswith("p50"):
            assert figure.interval
            assert figure.interval[0] < figure.value < figure.interval[1]
        else:
            assert figure.interval is None  # 16 answers hold their p95 in 56 of 100 cases at most
            assert figure.source.startswith("the slowest of 16 answers")
    assert figures["first token p95"].meaning == "The slowest of 16 answers begins after 0.12 s."
    assert figures["tokens per second p95"].meaning == "The slowest of 16 answers is written at 50 tokens a second."


def test_a_slower_model_is_told_and_noise_is_not() -> None:
    slower = Timed(tuple(1.2 * first for first in FAST.first), tuple(reversed(FAST.rate)))
    figures = {figure.measure: figure for figure in speed_figures(slower, FAST, merges=True)}
    first, rate = figures["first token p50 (change)"], figures["tokens per second p50 (change)"]
    assert first.value == pytest.approx(20)
    assert first.interval == pytest.approx((20, 20))
    assert first.meaning.startswith("Tuning raised this by 20 %. It was timed with its adapter beside the weights; ")
    assert rate.meaning.startswith("Whether tuning changed this cannot be told from these answers.")
    whole = {figure.measure: figure for figure in speed_figures(slower, FAST, merges=False)}
    assert whole["first token p50 (change)"].meaning == "Tuning raised this by 20 %."
    assert figures["first token p50 (base)"].value == pytest.approx(0.1075)


def test_models_take_turns_and_read_the_same_prompt(
    workspace: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(speed, "_REPEATS", 3)
    folder = write_tiny_model(tmp_path / "model", context=512)
    adapter = write_tiny_adapter(folder, tmp_path / "adapter")
    models = [resolve_model(workspace, name, Silent()) for name in (str(adapter), str(folder))]
    step, read, who = Stepper.__call__, list[list[int]](), list[bool]()

    def counted(self: Stepper, tokens: Any) -> Any:
        if len(tokens) > 1:
            network = self._loaded.network  # pyright: ignore[reportPrivateUsage]
            read.append(list(tokens))
            who.append(any(getattr(part, "disable_adapters", False) is True for part in network.modules()))
        return step(self, tokens)

    monkeypatch.setattr(Stepper, "__call__", counted)
    with one_thread():
        timed = time_in_turn(load_together(models, "float32"))
    assert [len(each.first) for each in timed] == [3, 3]
    assert all(value > 0 for each in timed for value in (*each.first, *each.rate))
    assert who == [False, True, True, False, False, True, True, False]  # neither is always the second
    assert {len(tokens) for tokens in read} == {256}
    assert read[1:] == read[:-1]


def test_a_model_too_small_for_the_prompt_is_refused(tiny_model: Model) -> None:
    with pytest.raises(Refusal, match="holds 256 tokens; a prompt of 256 and an answer of 24 do not fit"):
        time_in_turn(load_together([tiny_model], "float32"))
