"""Virtual tokens stand before every text, whoever reads it: training, the scorer, packed rows, the chat."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import pytest
import torch

from carrara.data.example import Message
from carrara.data.render.batches import collate
from carrara.data.render.example import Rendered, render_prompt
from carrara.errors import Refusal
from carrara.evaluate.rows import row_of_text, rows_of_question
from carrara.evaluate.scorer import Scorer
from carrara.models import Model
from carrara.models.forward import hidden_states
from carrara.models.load import Loaded, load_model
from carrara.recipe import TuneRecipe
from carrara.serve.engine import ChatRequest
from carrara.serve.transformers_engine import load_engine
from carrara.tune.loop import mean_loss
from carrara.tune.objective import learn, summed_loss
from tests.tune.methods.ground import saved, tuned

TOKENS = {"prefix": 5, "prompt": 7}


@pytest.fixture(params=TOKENS)
def model(request: pytest.FixtureRequest, tiny_model: Model, tmp_path: Path) -> Model:
    recipe = TuneRecipe(method=request.param, virtual_tokens=TOKENS[request.param])
    return saved(tuned(tiny_model, recipe), tmp_path / request.param)


@pytest.fixture
def loaded(model: Model) -> Loaded:
    return load_model(model, "float32")


def _alone(loaded: Loaded, ids: tuple[int, ...]) -> torch.Tensor:
    """Log-probabilities `(length, vocabulary)` as PEFT computes them for one text."""
    with torch.inference_mode():
        return loaded.network(input_ids=torch.tensor([ids])).logits[0, -len(ids) :].log_softmax(-1)


def _texts(count: int) -> list[tuple[int, ...]]:
    chance = random.Random(3)
    return [tuple(chance.randrange(5, 250) for _ in range(chance.randint(4, 30))) for _ in range(count)]


def test_losses_and_scores_are_those_of_peft(loaded: Loaded) -> None:
    rows = [Rendered(ids, (False, *[True] * (len(ids) - 1)), n, str(n)) for n, ids in enumerate(_texts(9))]
    right = [
        float(sum(_alone(loaded, row.ids)[place - 1, row.ids[place]] for place in range(1, len(row.ids))))
        for row in rows
    ]
    supervised = sum(row.supervised_count for row in rows)
    assert mean_loss(loaded.network, rows, 64, loaded.device) == pytest.approx(-sum(right) / supervised, abs=1e-5)
    assert summed_loss(loaded.network, collate(rows, loaded.device)).item() == pytest.approx(-sum(right), rel=1e-5)
    scored = Scorer(loaded).score([row_of_text(row.ids, row.supervised) for row in rows])
    assert [each.loglikelihoods[0] for each in scored if each] == pytest.approx(right, abs=1e-3)


def test_answers_in_a_tree_are_scored_as_if_alone(loaded: Loaded) -> None:
    texts = _texts(24)
    questions = [(texts[n], texts[n + 1 : n + 4]) for n in range(0, 24, 4)]
    pairs = [[(context, answer) for answer in answers] for context, answers in questions]
    rows = [row for each in pairs for row in rows_of_question(each, loaded.context)]
    assert len(rows) == len(questions)
    for (context, answers), found in zip(questions, Scorer(loaded).score(rows), strict=True):
        alone = []
        for answer in answers:
            values = _alone(loaded, context + answer)
            alone.append(float(sum(values[len(context) + i - 1, token] for i, token in enumerate(answer))))
        assert found
        assert found.loglikelihoods == pytest.approx(alone, abs=1e-3)


def test_several_texts_in_a_row_do_not_see_each_other(loaded: Loaded) -> None:
    texts = _texts(4)
    ids = torch.tensor([sum(texts, ())])
    places = torch.tensor([[place for text in texts for place in range(len(text))]])
    with torch.inference_mode():
        packed = hidden_states(loaded.network, ids, positions=places)[0].split([len(text) for text in texts])
        alone = [hidden_states(loaded.network, torch.tensor([text]))[0] for text in texts]
    assert max(float((a - b).abs().max()) for a, b in zip(packed, alone, strict=True)) < 1e-4


def test_the_gradient_is_that_of_peft(tiny_model: Model, model: Model) -> None:
    method = model.adapter.name if model.adapter else ""
    done = tuned(tiny_model, TuneRecipe(method=method, virtual_tokens=TOKENS[method]), steps=1)  # type: ignore[arg-type]
    network: Any = done.network
    (parameter,) = [p for p in network.parameters() if p.requires_grad]
    ids = _texts(1)[0]
    rows = [Rendered(ids, (False, *[True] * (len(ids) - 1)), 0, "0")]
    learn(network, collate(rows, done.loaded.device), 1.0)
    ours, parameter.grad = parameter.grad, None
    logits = network(input_ids=torch.tensor([ids])).logits[0, -len(ids) :]
    torch.nn.functional.cross_entropy(logits[:-1], torch.tensor(ids[1:]), reduction="sum").backward()
    assert ours is not None
    assert parameter.grad is not None
    assert torch.allclose(ours, parameter.grad, atol=1e-4)


def test_the_chat_says_what_peft_generates(model: Model, loaded: Loaded, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("carrara.serve.generation.CHUNK", 7)
    messages = (Message("user", "Where is the quarry?"),)
    request = ChatRequest(model="tuned", messages=messages, max_tokens=20, temperature=0.0)
    answer = "".join(piece.text for piece in load_engine({"tuned": model}, "float32").answer(request, lambda: False))
    prompt = render_prompt(loaded.tokenizer, messages)
    with torch.inference_mode():
        ids = list(prompt)
        for _ in range(20):  # PEFT's own generate does not read a mask of four dimensions right with a prefix
            ids.append(int(loaded.network(input_ids=torch.tensor([ids])).logits[0, -1].argmax()))
            if ids[-1] == loaded.tokenizer.eos_token_id:
                break
    expected = str(loaded.tokenizer.decode(ids[len(prompt) :], skip_special_tokens=True))
    assert answer.rstrip("\ufffd") == expected.rstrip("\ufffd")


def test_they_take_up_context(loaded: Loaded) -> None:
    assert loaded.context in (256 - 5, 256 - 7)


@pytest.mark.parametrize("method", TOKENS)
def test_activation_checkpoints_are_refused(tiny_model: Model, method: Any) -> None:
    with pytest.raises(Refusal, match="checkpoint_activations does not go with"):
        tuned(tiny_model, TuneRecipe(method=method, checkpoint_activations=True), steps=0)
