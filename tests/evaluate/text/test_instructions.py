"""Verifiable instructions: verdicts that the paper's own program gives too, unless a comment says otherwise."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from carrara.evaluate.text.instructions import KINDS, check, loosened

_GERMAN = "Alle Menschen sind frei und gleich an Würde und Rechten geboren."
_ENGLISH = "All human beings are born free and equal in dignity and rights."

_SETTINGS: dict[str, dict[str, Any]] = {  # some that are right, for every kind that has any
    "keywords:existence": {"keywords": ["river", "C++"]},
    "keywords:frequency": {"keyword": "river", "frequency": 2, "relation": "at least"},
    "keywords:forbidden_words": {"forbidden_words": ["river", "C++"]},
    "keywords:letter_frequency": {"letter": "Q", "let_frequency": 2, "let_relation": "less than"},
    "language:response_language": {"language": "de"},
    "length_constraints:number_sentences": {"num_sentences": 2, "relation": "less than"},
    "length_constraints:number_paragraphs": {"num_paragraphs": 2},
    "length_constraints:number_words": {"num_words": 4, "relation": "at least"},
    "length_constraints:nth_paragraph_first_word": {"num_paragraphs": 2, "nth_paragraph": 2, "first_word": "River"},
    "detectable_content:number_placeholders": {"num_placeholders": 2},
    "detectable_content:postscript": {"postscript_marker": "P.P.S"},
    "detectable_format:number_bullet_lists": {"num_bullets": 2},
    "detectable_format:number_highlighted_sections": {"num_highlights": 2},
    "detectable_format:multiple_sections": {"section_spliter": "Day", "num_sections": 2},
    "combination:repeat_prompt": {"prompt_to_repeat": "Say hello."},
    "startend:end_checker": {"end_phrase": "That is all."},
    "change_case:capital_word_frequency": {"capital_frequency": 2, "capital_relation": "at least"},
}

_VERDICTS = [
    ("keywords:existence", "Rivers and c++", True),
    ("keywords:existence", "Rivers and c", False),  # to the paper's program a keyword is a pattern
    ("keywords:frequency", "River rivers", True),
    ("keywords:frequency", "A river", False),
    ("keywords:forbidden_words", "Rivers and C--", True),  # the same
    ("keywords:forbidden_words", "The RIVER.", False),
    ("keywords:forbidden_words", "Upriver, downriver", True),
    ("keywords:letter_frequency", "a quiet place", True),
    ("keywords:letter_frequency", "Quiet quarrels", False),
    ("language:response_language", _GERMAN, True),
    ("language:response_language", _ENGLISH, False),
    ("language:response_language", "12345 !", True),  # nothing to tell by
    ("length_constraints:number_sentences", "One sentence only", True),
    ("length_constraints:number_sentences", "One. Two.", False),
    ("length_constraints:number_paragraphs", "***\none\n***\ntwo", True),
    ("length_constraints:number_paragraphs", "one***two***", True),
    ("length_constraints:number_paragraphs", "one\n***\n***\ntwo", False),
    ("length_constraints:number_words", "it's a-b", True),
    ("length_constraints:number_words", "three words only", False),
    ("length_constraints:number_words", "सभी मनुष्यों को", False),  # its vowel signs split no word
    ("length_constraints:nth_paragraph_first_word", "One\n\n'\"River's end", True),
    ("length_constraints:nth_paragraph_first_word", "One\n\nRivers end", False),
    ("length_constraints:nth_paragraph_first_word", "One\n\nRiver\n\nthree", False),
    ("length_constraints:nth_paragraph_first_word", "One\n\n\n\nRiver", False),  # the blank one is the second
    ("detectable_content:number_placeholders", "[name][]", True),
    ("detectable_content:number_placeholders", "[name] [two\nlines]", False),
    ("detectable_content:postscript", "Bye. p. p. s: more", True),
    ("detectable_content:postscript", "Bye. P.S. more", False),
    ("detectable_format:number_bullet_lists", "* one\n  - two\n**bold**", True),
    ("detectable_format:number_bullet_lists", "*\n* one\n- two", True),
    ("detectable_format:number_bullet_lists", "* one\n* two\n---", False),
    ("detectable_format:constrained_response", "Well: My answer is maybe.", True),
    ("detectable_format:constrained_response", "my answer is yes.", False),
    ("detectable_format:number_highlighted_sections", "*one* **two**", True),
    ("detectable_format:number_highlighted_sections", "*one* ** ** *two\n*", False),
    ("detectable_format:multiple_sections", "Day 1 and Day2", True),
    ("detectable_format:multiple_sections", "Day 1 and day 2", False),
    ("detectable_format:json_format", '```json\n{"a": [1]}\n```', True),
    ("detectable_format:json_format", " null", True),
    ("detectable_format:json_format", "```python\n{}\n```", False),
    ("detectable_format:json_format", "[" * 100_000, False),  # too deep for the paper's program
    ("detectable_format:title", "A song: <<joy>>", True),
    ("detectable_format:title", "<< >> <<<>>>", True),  # from the first brackets to the last
    ("detectable_format:title", "<<<>>", False),
    ("detectable_format:title", "<<two\nlines>>", False),
    ("combination:two_responses", "one\n******\ntwo", True),
    ("combination:two_responses", "******one******two******", True),
    ("combination:two_responses", "one******one ", False),
    ("combination:two_responses", "one************two", False),
    ("combination:repeat_prompt", "\nsay HELLO. Hello!", True),
    ("combination:repeat_prompt", "Sure. Say hello.", False),
    ("startend:end_checker", 'Well, "that is ALL."', True),
    ("startend:end_checker", "That is all. Bye", False),
    ("startend:quotation", ' "quoted" ', True),
    ("startend:quotation", '"', False),
    ("change_case:capital_word_frequency", "the DON'T", True),  # `DON` and `T`
    ("change_case:capital_word_frequency", "The CEO did WELL-Known things", False),
    ("change_case:english_capital", _ENGLISH.upper(), True),  # langdetect takes it for another language
    ("change_case:english_capital", _ENGLISH, False),
    ("change_case:english_capital", _GERMAN.upper(), False),
    ("change_case:english_lowercase", _ENGLISH.lower(), True),
    ("change_case:english_lowercase", _ENGLISH, False),
    ("change_case:english_lowercase", _GERMAN.lower(), False),
    ("punctuation:no_comma", "One; two", True),
    ("punctuation:no_comma", "One, two", False),
]


def test_there_are_25_kinds_each_tried_both_ways() -> None:
    assert len(KINDS) == 25
    tried = {(kind, follows) for kind, _, follows in _VERDICTS}
    assert tried == {(kind, follows) for kind in KINDS for follows in (True, False)}


@pytest.mark.parametrize(("kind", "text", "follows"), _VERDICTS)
def test_verdicts(kind: str, text: str, follows: bool) -> None:
    assert check(text, kind, _SETTINGS.get(kind, {}), "the prompt") is follows


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("blank", ["", " \n"])
def test_a_blank_text_follows_nothing(kind: str, blank: str) -> None:
    assert check(blank, kind, _SETTINGS.get(kind, {}), "the prompt") is False


@pytest.mark.parametrize(("kind", "name"), [(kind, name) for kind, given in _SETTINGS.items() for name in given])
def test_a_missing_or_wrong_setting_is_named(kind: str, name: str) -> None:
    for wrong in (None, [], -1, True, "", [1], 1.5):
        if wrong is None and name == "prompt_to_repeat":
            continue
        with pytest.raises(ValueError, match=rf"^{name} (is missing|should be)"):
            check("text", kind, {**_SETTINGS[kind], name: wrong}, "the prompt")


def test_what_a_wrong_setting_says() -> None:
    with pytest.raises(ValueError, match=r"^num_words is missing; it should be a whole number from 0$"):
        check("a", "length_constraints:number_words", {"relation": "at least", "num_words": None}, "")
    with pytest.raises(ValueError, match=r"^relation should be 'at least' or 'less than', not 'more than'$"):
        check("a", "length_constraints:number_words", {"relation": "more than", "num_words": 1}, "")
    with pytest.raises(ValueError, match=r"^letter should be a single character, not 'ab'$"):
        check("a", "keywords:letter_frequency", {"letter": "ab", "let_frequency": 1, "let_relation": "at least"}, "")
    with pytest.raises(ValueError, match=r"^language should be one of .*de, .*not 'German'$"):
        check("a", "language:response_language", {"language": "German"}, "")
    with pytest.raises(ValueError, match=r"^'haiku' is no kind of instruction; the kinds are keywords:existence, "):
        check("a", "haiku", {}, "")


def test_the_whole_prompt_is_repeated_where_no_part_is_named() -> None:
    assert check("Say hello. Hello!", "combination:repeat_prompt", {}, "Say hello.")
    assert not check("Say hello. Hello!", "combination:repeat_prompt", {}, "Say goodbye.")


def test_loosened() -> None:
    assert loosened("Sure:\n*one*\n\ntwo\nBye*") == [
        "Sure:\n*one*\n\ntwo\nBye*",
        "*one*\n\ntwo\nBye*",
        "Sure:\n*one*\n\ntwo",
        "*one*\n\ntwo",
        "Sure:\none\n\ntwo\nBye",
        "one\n\ntwo\nBye",
        "Sure:\none\n\ntwo",
        "one\n\ntwo",
    ]
    assert loosened("one line") == ["one line", "", "", "", "one line", "", "", ""]


@given(st.text(st.characters(), max_size=80) | st.text('*-[]<>".,\n P.S1`{}', max_size=40))
def test_any_text_has_verdicts(text: str) -> None:
    for kind in KINDS:
        for variant in loosened(text)[:2]:
            assert check(variant, kind, _SETTINGS.get(kind, {}), "the prompt") in (True, False)


def test_the_paper_s_own_prompts_have_settings_that_can_be_read(benchmark_folder: Path) -> None:
    path = benchmark_folder / "ifeval" / "input_data.jsonl"
    if not path.exists():
        pytest.skip("the prompts of IFEval are not here")
    rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    verdicts = [
        check(row["prompt"], kind, settings, row["prompt"])
        for row in rows
        for kind, settings in zip(row["instruction_id_list"], row["kwargs"], strict=True)
    ]
    assert len(verdicts) == 834
    assert 0.2 < sum(verdicts) / len(verdicts) < 0.6
