"""Overlap with references: hand-worked values, and those of sacrebleu 2.6.0 and rouge-score 0.1.2."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from carrara.evaluate.text.overlap import bleu, chrf, corpus_bleu, corpus_chrf, rouge_l, signature

_WORDS = st.lists(st.sampled_from("abcdé"), max_size=12).map(" ".join)


def test_bleu_by_hand() -> None:
    """Of 6, 5, 4 and 3 n-grams, 5, 3, 2 and 1 stand in the reference: `the` counts once."""
    expected = (5 / 6 * 3 / 5 * 2 / 4 * 1 / 3) ** (1 / 4)
    assert bleu("the cat sat on the mat", ["the cat sat on a mat"]) == pytest.approx(expected)


def test_bleu_of_a_short_text_is_not_zero() -> None:
    """Its two words have no n-grams of three words, and a brevity penalty of exp(1 - 3 / 2)."""
    assert bleu("the cat", ["the cat sat"]) == pytest.approx(2.718281828 ** (1 - 3 / 2))


def test_bleu_smooths_what_is_missing() -> None:
    """No pair matches of 2: half of one does, as `exp` has it; no triple of 1: a quarter."""
    assert bleu("a c b", ["a b c"]) == pytest.approx((3 / 3 * 1 / 4 * 1 / 4) ** (1 / 3))


def test_chrf_by_hand() -> None:
    """One of two letters and none of one pair match; there are no longer runs, and blanks do not count."""
    assert chrf("a b", ["ac"]) == pytest.approx(0.25)


def test_several_references() -> None:
    text, near, far = "the cat sat", "the cat sat", "dogs bark loudly"
    assert chrf(text, [far, near]) == rouge_l(text, [far, near]) == 1.0
    assert bleu(text, [far, near]) == pytest.approx(1.0)
    assert bleu("the dogs bark", ["the cat", "dogs bark"]) > bleu("the dogs bark", ["the cat"])  # pooled


@pytest.mark.parametrize("measure", [chrf, bleu, rouge_l])
def test_nothing_to_compare(measure: Callable[[str, list[str]], float]) -> None:
    assert measure("", ["some words"]) == measure("some words", [""]) == measure("", [""]) == 0.0


def test_no_references_are_refused() -> None:
    with pytest.raises(ValueError, match="a reference"):
        chrf("a", [])
    with pytest.raises(ValueError, match="2 texts need as many"):
        corpus_bleu(["a", "b"], [["a"]])
    with pytest.raises(ValueError, match="none of them empty"):
        corpus_chrf(["a"], [[]])
    with pytest.raises(ValueError, match="0 texts"):
        corpus_bleu([], [])


def test_a_corpus_is_no_mean_of_its_texts() -> None:
    texts = ["the cat sat on the mat", "no"]
    references = [["the cat sat on a mat", "a cat sat on the mat"], ["yes"]]
    expected = (5 / 7 * 5 / 5 * 4 / 4 * 3 / 3) ** (1 / 4)  # `the` counts once in each reference
    assert corpus_bleu(texts, references) == pytest.approx(expected)
    assert corpus_chrf(texts, references) > (chrf(texts[0], references[0]) + chrf(texts[1], references[1])) / 2


def test_signatures() -> None:
    assert signature("corpus_bleu", 1) == "nrefs:1|case:mixed|eff:no|tok:13a|smooth:exp|version:2.6.0"
    assert signature("bleu") == "nrefs:var|case:mixed|eff:yes|tok:13a|smooth:exp|version:2.6.0"
    assert signature("chrf", 2) == "nrefs:2|case:mixed|eff:yes|nc:6|nw:0|space:no|version:2.6.0"
    with pytest.raises(ValueError, match="'rouge' is none of chrf, bleu"):
        signature("rouge")


def test_rouge_l_by_hand() -> None:
    """`the cat on mat` is common to both."""
    assert rouge_l("The cat sat on the mat.", "the cat lay on a mat") == pytest.approx(8 / 12)
    assert rouge_l("don't", "DON'T!") == 1.0
    assert rouge_l("кот", "кот") == 0.0  # its words are of ASCII letters
    assert rouge_l("a", []) == 0.0


@pytest.mark.parametrize(
    ("text", "reference", "of_rouge_l", "of_bleu", "of_chrf"),
    [
        (
            "don't mat, the 今日 B-52 x_y café B-52 cat don't",
            "3.5 Ünder “quoted” 3.5 the café mat, “quoted” the naïve café naïve 3.5",
            0.1875,
            0.068030852374,
            0.125408994598,
        ),
        (
            "on “quoted” café café cats cat Ünder on naïve don't it's the café",
            "Straße don't 3.5 The sat B-52 The don't x_y B-52 café it's mat, 今日",
            0.216216216216,
            0.02988662869,
            0.195562420663,
        ),
        ("B-52", "the cats Straße cats Straße café cat the The “quoted” the Ünder", 0.0, 0.0, 0.0),
    ],
)
def test_golden_values(text: str, reference: str, of_rouge_l: float, of_bleu: float, of_chrf: float) -> None:
    assert rouge_l(text, reference) == pytest.approx(of_rouge_l, abs=1e-11)
    assert bleu(text, [reference]) == pytest.approx(of_bleu, abs=1e-11)
    assert chrf(text, [reference]) == pytest.approx(of_chrf, abs=1e-11)


@given(_WORDS, _WORDS)
def test_rouge_l_is_that_of_the_whole_table(text: str, reference: str) -> None:
    words, others = text.replace("é", "").split(), reference.replace("é", "").split()
    table = [[0] * (len(others) + 1) for _ in range(len(words) + 1)]
    for i, word in enumerate(words):
        for j, other in enumerate(others):
            table[i + 1][j + 1] = table[i][j] + 1 if word == other else max(table[i][j + 1], table[i + 1][j])
    both = len(words) + len(others)
    assert rouge_l(text, reference) == pytest.approx(2 * table[-1][-1] / both if both else 0.0)
    assert rouge_l(text, reference) == rouge_l(reference, text)


@given(st.text(max_size=60), st.lists(st.text(max_size=60), min_size=1, max_size=3))
def test_any_text_has_a_share(text: str, references: list[str]) -> None:
    for value in (chrf(text, references), bleu(text, references), rouge_l(text, references)):
        assert 0.0 <= value <= 1.0
    assert chrf(text, references) == corpus_chrf([text], [references])
    assert rouge_l(text, text) in (0.0, 1.0)
