"""Many prompts at once are gone on with as each alone is, whatever company it has and whatever adapter is on."""

from __future__ import annotations

import random
from collections.abc import Collection, Sequence
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from carrara.errors import Refusal
from carrara.models import Model, generate, resolve_model
from carrara.models.generate import Draw, as_written, cut_into_passes, write_all
from carrara.models.load import Loaded, load_model
from carrara.progress import Silent
from carrara.recipe import TuneRecipe
from carrara.workspace import Workspace
from tests.tiny import one_thread, write_tiny_adapter, write_tiny_tokenizer
from tests.tune.methods.ground import saved, tuned

BUDGET = 12


def _alone(loaded: Loaded, prompt: Sequence[int], budget: int = BUDGET, ends: Collection[int] = ()) -> list[int]:
    """The plain loop: the whole text through the whole network for each token, nothing kept."""
    ids = [*prompt]
    with one_thread(), torch.inference_mode():
        while len(ids) < len(prompt) + budget and len(ids) < loaded.context:
            ids.append(int(loaded.network(input_ids=torch.tensor([ids])).logits[0, -1].argmax()))
            if ids[-1] in ends:
                break
    return ids[len(prompt) :]


def _prompts(count: int, opening: int = 0, longest: int = 40) -> list[list[int]]:
    chance = random.Random(7)
    start = [chance.randrange(3, 250) for _ in range(opening)]
    return [start + [chance.randrange(3, 250) for _ in range(chance.randint(1, longest))] for _ in range(count)]


def _ids(
    loaded: Loaded, prompts: Sequence[Sequence[int]], ends: Collection[int] = (), draw: Draw | None = None
) -> list[list[int]]:
    with one_thread():
        return [list(written.ids) for written in write_all(loaded, prompts, BUDGET, ends, draw=draw)]


@pytest.mark.parametrize("opening", [0, 5, 50])
def test_prompts_of_unequal_length_are_gone_on_with_as_alone(tiny_model: Model, opening: int) -> None:
    """Those that share their beginning too, with which it is read once."""
    loaded = load_model(tiny_model, "float32")
    prompts = _prompts(20, opening)
    endless = [_alone(loaded, prompt) for prompt in prompts]
    assert _ids(loaded, prompts) == endless
    ends = {endless[0][2], endless[1][0], endless[2][5]}
    expected = [_alone(loaded, prompt, ends=ends) for prompt in prompts]
    assert len({len(ids) for ids in expected}) > 2  # rows leave at unlike times
    assert _ids(loaded, prompts, ends) == expected
    written = write_all(loaded, prompts, BUDGET, ends)
    assert [each.ended for each in written] == [ids[-1] in ends for ids in expected]


def test_the_company_does_not_matter(tiny_model: Model, monkeypatch: pytest.MonkeyPatch) -> None:
    loaded = load_model(tiny_model, "float32")
    prompts = _prompts(12, 40)
    together = _ids(loaded, prompts)
    assert [_ids(loaded, [prompt])[0] for prompt in prompts] == together
    assert _ids(loaded, prompts[::-1])[::-1] == together
    monkeypatch.setattr(generate, "_HELD", 300)
    assert max(map(len, cut_into_passes(loaded, prompts, BUDGET))) < 6
    assert _ids(loaded, prompts) == together


@pytest.mark.parametrize("method", ["lora", "prefix", "prompt"])
def test_adapters_are_heard(tiny_model: Model, workspace: Workspace, tmp_path: Path, method: str) -> None:
    """Un-merged, with the virtual tokens that some put in front."""
    if method == "lora":
        adapter = write_tiny_adapter(tiny_model.path, tmp_path / "lora", init_lora_weights=False)
        model = resolve_model(workspace, str(adapter), Silent())
    else:
        recipe = TuneRecipe.model_validate({"method": method, "virtual_tokens": 5})
        model = saved(tuned(tiny_model, recipe), tmp_path / method)
    loaded = load_model(model, "float32")
    prompts = _prompts(8, 33)
    found = _ids(loaded, prompts)
    assert found == [_alone(loaded, prompt) for prompt in prompts]
    assert found != _ids(load_model(tiny_model, "float32"), prompts)


def test_a_text_ends_where_the_context_does(tiny_model: Model) -> None:
    loaded = load_model(tiny_model, "float32")
    prompts = [[5] * (loaded.context - 3), [6] * (loaded.context - 1), [7, 8]]
    found = _ids(loaded, prompts)
    assert [len(ids) for ids in found] == [3, 1, BUDGET]
    assert found == [_alone(loaded, prompt) for prompt in prompts]


def test_a_sliding_window_is_kept(tmp_path: Path, workspace: Workspace) -> None:
    from transformers import MistralConfig, MistralForCausalLM

    torch.manual_seed(0)
    config = MistralConfig(
        vocab_size=write_tiny_tokenizer(tmp_path), hidden_size=32, intermediate_size=64, num_hidden_layers=2,
        num_attention_heads=4, num_key_value_heads=2, max_position_embeddings=128, sliding_window=8,
    )  # fmt: skip
    network = MistralForCausalLM(config)
    for parameter in network.parameters():
        parameter.data *= 4
    network.save_pretrained(tmp_path)
    loaded = load_model(resolve_model(workspace, str(tmp_path), Silent()), "float32")
    prompts = _prompts(6, 10)
    assert _ids(loaded, prompts) == [_alone(loaded, prompt) for prompt in prompts]


def test_passes_hold_prompts_of_like_length_and_no_more_than_fits(tiny_model: Model) -> None:
    loaded = load_model(tiny_model, "float32")
    lengths = [30, 3, 3, 30, 200, 3] * 20
    prompts = [[5] * length for length in lengths]
    passes = cut_into_passes(loaded, prompts, 60)
    assert sorted(place for places in passes for place in places) == list(range(120))
    assert [lengths[place] for places in passes for place in places] == sorted(lengths)
    assert max(map(len, passes)) == 32
    for places in passes:
        assert cut_into_passes(loaded, [prompts[place] for place in places], 60) == [list(range(len(places)))]


def test_a_stop_string_cuts_the_text_and_ends_the_row(tiny_model: Model) -> None:
    """Tokens are bytes here, so that a text of two of them is found across their border."""
    loaded = load_model(tiny_model, "float32")
    prompt = next(p for p in _prompts(60) if len(set(_text(loaded, _alone(loaded, p)))) > 4)
    whole = _text(loaded, _alone(loaded, prompt))
    stop = whole[2:4]
    (written,) = write_all(loaded, [prompt], BUDGET, (), [stop, "nowhere"])
    assert (written.text, written.ended) == (whole[: whole.index(stop)], True)
    assert len(written.ids) < BUDGET
    (other,) = write_all(loaded, [prompt], BUDGET, (), ["nowhere"])
    assert (other.text, other.ended) == (whole, False)


def _text(loaded: Loaded, ids: Sequence[int]) -> str:
    return as_written(loaded, ids, (), (), 0.0).text


def test_half_a_character_at_the_end_is_no_part_of_the_text(tiny_model: Model) -> None:
    loaded = load_model(tiny_model, "float32")
    ids = loaded.tokenizer.encode("né", add_special_tokens=False)
    assert _text(loaded, ids) == "né"
    assert _text(loaded, ids[:-1]) == "n"
    ended = as_written(loaded, [*ids, 2], {2}, (), 0.5)
    assert (ended.text, ended.ended, ended.ids[-1], ended.seconds) == ("né", True, 2, 0.5)


def test_numbers_that_are_none_are_refused(tiny_model: Model) -> None:
    loaded = load_model(tiny_model, "float32")
    with torch.no_grad():
        loaded.network.model.norm.weight[:] = float("nan")
    with pytest.raises(Refusal, match="logits are no numbers"):
        write_all(replace(loaded), [[5, 6], [7]], BUDGET, ())


# ---- drawn by chance ----


def test_the_company_does_not_matter_to_what_is_drawn(tiny_model: Model, monkeypatch: pytest.MonkeyPatch) -> None:
    """A prompt's text follows from its own seed, the place it stands at added."""
    loaded = load_model(tiny_model, "float32")
    prompts, draw = _prompts(12, 40), Draw(1.3, top_p=0.9, seed=5)
    together = _ids(loaded, prompts, draw=draw)
    assert together != _ids(loaded, prompts)
    alone = [_ids(loaded, [prompt], draw=replace(draw, seed=5 + at))[0] for at, prompt in enumerate(prompts)]
    assert alone == together
    monkeypatch.setattr(generate, "_HELD", 300)
    assert _ids(loaded, prompts, draw=draw) == together
    assert _ids(loaded, prompts, draw=replace(draw, seed=6)) != together


def test_a_prompt_that_is_asked_again_gets_another_text(tiny_model: Model) -> None:
    loaded = load_model(tiny_model, "float32")
    texts = _ids(loaded, [[5, 6, 7]] * 8, draw=Draw(1.0))
    assert len({tuple(ids) for ids in texts}) == 8


def test_hardly_any_temperature_is_the_likeliest_token(tiny_model: Model) -> None:
    loaded = load_model(tiny_model, "float32")
    prompts = _prompts(6)
    assert _ids(loaded, prompts, draw=Draw(1e-9)) == _ids(loaded, prompts)
    assert _ids(loaded, prompts, draw=Draw(2.0, top_p=1e-6)) == _ids(loaded, prompts)


@pytest.mark.parametrize(("temperature", "top_p"), [(1.0, 1.0), (2.5, 1.0), (0.7, 0.8)])
def test_tokens_are_drawn_as_often_as_their_probabilities_say(
    tiny_model: Model, temperature: float, top_p: float
) -> None:
    from scipy import stats

    loaded, times, prompt = load_model(tiny_model, "float32"), 4000, [9, 40, 7]
    with one_thread(), torch.inference_mode():
        logits = loaded.network(input_ids=torch.tensor([prompt])).logits[0, -1]
        drawn = write_all(loaded, [prompt] * times, 1, (), draw=Draw(temperature, top_p))
    expected = (logits / temperature).softmax(dim=-1).double()
    order = expected.argsort(descending=True)
    kept = order[: int((expected[order].cumsum(0) < top_p).sum()) + 1]
    counts = torch.tensor([ids for each in drawn for ids in each.ids]).bincount(minlength=len(expected))
    assert counts[kept].sum() == times  # nothing outside of the nucleus
    often = kept[expected[kept] * times > 5]
    found = [*counts[often].tolist(), times - int(counts[often].sum())]
    shares = expected[often] / expected[kept].sum()
    wanted = [*(shares * times).tolist(), times * (1 - float(shares.sum())) + 1e-9]
    assert stats.chisquare(found, wanted, sum_check=False).pvalue > 0.001


@pytest.mark.parametrize("wrong", [{"temperature": 0.0}, {"top_p": 0.0}, {"top_p": 1.5}, {"seed": -1}])
def test_what_cannot_be_drawn(wrong: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="nothing can be drawn"):
        Draw(**{"temperature": 1.0, **wrong})  # type: ignore[arg-type]
