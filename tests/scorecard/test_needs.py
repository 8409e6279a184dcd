"""What is asked for, read from a user's words."""

from __future__ import annotations

import pytest

from carrara.errors import Refusal
from carrara.scorecard.needs import Needs, read_needs


def _read(task: str = "chat", **given: str) -> Needs:
    limits = (given.get(name) for name in ("memory", "budget", "licence", "context", "language"))
    return read_needs(task, *limits, currency="EUR")


def test_the_words_of_the_issue_are_read() -> None:
    found = _read(memory="16GB", budget="5EUR", licence="commercial", context="8k", language="de")
    assert found == Needs("chat", 16e9, 5.0, True, 8192, "de")


@pytest.mark.parametrize(("text", "size"), [("16 GiB", 16 * 2**30), ("0.5gb", 5e8), ("512 MB", 512e6), (" 2TB ", 2e12)])
def test_memory_has_a_unit_of_either_kind(text: str, size: float) -> None:
    assert _read(memory=text).memory == size


@pytest.mark.parametrize(("text", "money"), [("5 EUR", 5), ("5€", 5), ("0.50eur", 0.5), ("0EUR", 0)])
def test_money_is_an_amount_in_the_currency_of_the_prices(text: str, money: float) -> None:
    assert _read(budget=text).budget == money


@pytest.mark.parametrize(("text", "tokens"), [("8192", 8192), ("128K", 131072), ("1m", 2**20), ("0.5k", 512)])
def test_a_context_is_counted_in_tokens(text: str, tokens: int) -> None:
    assert _read(context=text).context == tokens


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"memory": "16"}, "such as 16GB or 16GiB, not '16'"),
        ({"memory": "5 apples"}, "not '5 apples'"),
        ({"memory": "0GB"}, "above 0"),
        ({"memory": "-3GB"}, "above 0"),
        ({"budget": "5 apples"}, "an amount of money such as 5EUR"),
        ({"budget": "5"}, "an amount of money"),
        ({"budget": "5USD"}, "--budget is in USD and the prices are in EUR"),
        ({"licence": "free"}, "commercial or any, not 'free'"),
        ({"context": "8 pages"}, "a number of tokens above 0"),
        ({"context": "0"}, "a number of tokens above 0"),
        ({"context": "1.5"}, "a number of tokens above 0"),
        ({"language": "german"}, "two letters, such as de"),
        ({"task": "paint"}, "there is no task 'paint'; --task takes classify, generate, similarity, chat."),
    ],
)
def test_other_words_are_refused_in_a_sentence(given: dict[str, str], said: str) -> None:
    with pytest.raises(Refusal) as refusal:
        _read(**given)
    assert said in str(refusal.value)
    assert str(refusal.value).endswith((".", ")."))
