"""What holds together: order that means something to a judge, no loop, few repetitions."""

from __future__ import annotations

import random

import pytest

from carrara.models import Model
from carrara.models.load import load_model
from carrara.scorecard.creativity.answers import Answer
from carrara.scorecard.creativity.coherence import Order, is_coherent, least_saved, orders_of
from carrara.scorecard.creativity.prompts import Asking, OpenPrompt
from tests.tiny import one_thread

KEEPER = (
    "Last night I saw a ship made of glass. It sailed slowly past the rocks without a crew, and its lamps burned blue "
    "until the morning came."
)
LATER = " On the next day the fishermen found nothing but a ring of salt where it had been, and nobody believed me."
ASKING = Asking((OpenPrompt("story", "Tell what strange thing you saw last night.", "Last night"),), chat=True)


def _answer(text: str) -> Answer:
    return Answer(0, 0.7, text, ended=True)


def _mixed(text: str) -> str:
    words = text.split()
    random.Random(5).shuffle(words)
    return " ".join(words)


def test_half_of_what_order_saves_the_judge_is_asked_for() -> None:
    assert least_saved([Order(0.6, 1.0), Order(0.5, 1.6), Order(0.7, 3.0)]) == pytest.approx(0.8)
    assert least_saved([Order(3.0, 0.01)] * 5) == 0.4  # a judge that babbles itself passes nothing by that


def test_each_fault_alone_makes_a_text_incoherent() -> None:
    assert is_coherent(KEEPER, Order(0.8, 1.2), least=0.8)
    assert not is_coherent(KEEPER, Order(0.8, 0.79), least=0.8)
    assert not is_coherent(KEEPER + " and then again" * 3, Order(0.8, 1.2), least=0.8)
    assert not is_coherent("a b c d x " * 2 + "a b c d y " * 2, Order(0.8, 1.2), least=0.8)


def test_bits_are_of_the_first_words_and_order_of_all(tiny_model: Model) -> None:
    """A judge of letters, whose bits can be added up by hand; a text without words has none."""
    import torch

    judge = load_model(tiny_model, "float32")
    asking = Asking((OpenPrompt("story", "Tell.", "Last"),), chat=False)
    texts = ["one two three", " ".join(["w"] * 40), "", "one", "one two"]
    with one_thread():
        found = orders_of(judge, asking, [_answer(text) for text in texts])
        ids = torch.tensor([judge.tokenizer.encode("Lastone two three")])
        with torch.inference_mode():
            logs = judge.network(input_ids=ids).logits[0].log_softmax(dim=-1)
    nats = -sum(float(logs[at - 1, ids[0, at]]) for at in range(4, ids.shape[1]))
    assert found[0].bits == pytest.approx(nats / 0.693147 / len("one two three"), rel=1e-4)
    shortened = orders_of(judge, asking, [_answer(" ".join(["w"] * 32))])[0]
    assert found[1].bits == pytest.approx(shortened.bits, rel=1e-4)
    assert found[1].saved == pytest.approx(0.0, abs=1e-5)  # the words are all the same, in any order
    assert found[2] == Order(0.0, 0.0)
    assert found[3].saved == pytest.approx(0.0, abs=1e-5)  # a word alone has no order
    assert abs(found[4].saved) > 0.01  # two words have another


@pytest.mark.model
def test_a_model_knows_a_text_from_its_words_in_another_order(smollm: Model) -> None:
    """Rare words cost bits, and a text stays a text; babble of common words costs no more, and is none."""
    judge = load_model(smollm)
    rare = "The vicar's ocarina, a mauve heirloom from Szczecin, wheezed like an asthmatic walrus when he played it."
    written, shuffled, odd, later = orders_of(
        judge, ASKING, [_answer(text) for text in (KEEPER, _mixed(KEEPER), rare, KEEPER + LATER)]
    )
    least = least_saved([written, later])
    assert 0.4 < least < 1.0
    assert is_coherent(rare, odd, least)
    assert odd.bits > 1.5 * written.bits
    assert not is_coherent(_mixed(KEEPER), shuffled, least)
    assert abs(shuffled.saved) < 0.25
