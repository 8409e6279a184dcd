"""Instructions that a program can verify: the 25 kinds of IFEval (Zhou et al. 2023, arXiv 2311.07911).

The kinds, the names of their settings and what they count are those of the paper's own program, oddities included,
so that scores can be compared: a rule `---` is a bullet, a bold phrase is a highlight. Where that program draws a
setting by chance because one is missing, this one raises ValueError. Keywords are taken literally, languages told by
py3langid and sentences counted by `sentences`, so there single verdicts can differ.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any
from unicodedata import category

from carrara.evaluate.text.sentences import count_sentences

_ANSWERS = ("My answer is yes.", "My answer is no.", "My answer is maybe.")
_HIGHLIGHTS = (r"\*([^\n*]*)\*", r"\*\*([^\n*]*)\*\*")  # a bold phrase is blank to the first
# As nltk's word_tokenize splits words in capitals, but for contractions without an apostrophe, such as CANNOT.
_BETWEEN_WORDS = re.compile(r"[\s;:,!?@#$%&(){}\[\]<>\"'`“”‘’„«»]+|\.\.+|--+")


@dataclass(frozen=True)
class Settings:
    """The settings of an instruction; a reader raises ValueError that names a setting missing or of another type."""

    given: Mapping[str, Any]

    def number(self, name: str, least: int = 0) -> int:
        """A whole number, not below `least`."""
        value = self.given.get(name)
        if not isinstance(value, int) or isinstance(value, bool) or value < least:
            raise self._wrong(name, f"a whole number from {least}")
        return value

    def phrase(self, name: str) -> str:
        """A text that is not blank, without the blanks around it."""
        value = self.given.get(name)
        if not isinstance(value, str) or not value.strip():
            raise self._wrong(name, "a text that is not blank")
        return value.strip()

    def phrases(self, name: str) -> list[str]:
        """Some texts, none of them empty."""
        value = self.given.get(name)
        if not isinstance(value, list) or not value or not all(isinstance(each, str) and each for each in value):
            raise self._wrong(name, "a list of texts")
        return list(value)

    def is_met(self, count: int, number: str, relation: str) -> bool:
        """Whether a count is `at least` the number so named, or `less than` it, as the relation so named says."""
        wanted, how = self.number(number), self.given.get(relation)
        if how not in ("at least", "less than"):
            raise self._wrong(relation, "'at least' or 'less than'")
        return count >= wanted if how == "at least" else count < wanted

    def _wrong(self, name: str, wanted: str) -> ValueError:
        value = self.given.get(name)
        if value is None:
            return ValueError(f"{name} is missing; it should be {wanted}")
        return ValueError(f"{name} should be {wanted}, not {value!r}")


def check(text: str, kind: str, settings: Mapping[str, Any], prompt: str) -> bool:
    """Whether a text follows an instruction of a kind in `KINDS`; a blank text follows none.

    A setting that is None counts as missing. `combination:repeat_prompt` takes the whole prompt where
    `prompt_to_repeat` is missing. Raises ValueError naming an unknown kind, or a setting that is missing or wrong.
    """
    if kind not in KINDS:
        raise ValueError(f"{kind!r} is no kind of instruction; the kinds are {', '.join(KINDS)}")
    given = {name: value for name, value in settings.items() if value is not None}
    follows = KINDS[kind](text, Settings({"prompt_to_repeat": prompt, **given}))
    return follows and bool(text.strip())


def loosened(text: str) -> list[str]:
    """The 8 variants of which one must follow for the paper's loose score, the text itself first.

    Without the first line, the last, or both, and each of these without asterisks.
    """
    lines = text.split("\n")
    cut = [text, *("\n".join(part).strip() for part in (lines[1:], lines[:-1], lines[1:-1]))]
    return cut + [variant.replace("*", "") for variant in cut]


def _has_keywords(text: str, settings: Settings) -> bool:
    return all(_times(word, text) for word in settings.phrases("keywords"))


def _has_keyword_often(text: str, settings: Settings) -> bool:
    return settings.is_met(_times(settings.phrase("keyword"), text), "frequency", "relation")


def _times(phrase: str, text: str) -> int:
    """Inside words as well."""
    return len(re.findall(re.escape(phrase), text, re.IGNORECASE))


def _lacks_words(text: str, settings: Settings) -> bool:
    words = "|".join(map(re.escape, settings.phrases("forbidden_words")))
    return not re.search(rf"(?<!\w)(?:{words})(?!\w)", text, re.IGNORECASE)


def _has_letter_often(text: str, settings: Settings) -> bool:
    letter = settings.phrase("letter")
    if len(letter) > 1:
        raise ValueError(f"letter should be a single character, not {letter!r}")
    return settings.is_met(text.lower().count(letter.lower()), "let_frequency", "let_relation")


def _is_in_language(text: str, settings: Settings) -> bool:
    return _is_in(settings.phrase("language"), text)


def _is_in(language: str, text: str) -> bool:
    """Whether a text is likeliest in the language of that ISO 639-1 code, or has no letters to tell by."""
    import py3langid

    ranked = [code for code, _ in py3langid.rank(text)]
    if language not in ranked:
        raise ValueError(f"language should be one of {', '.join(sorted(ranked))}, not {language!r}")
    return language == ranked[0] or not any(map(str.isalpha, text))


def _has_sentences(text: str, settings: Settings) -> bool:
    return settings.is_met(count_sentences(text), "num_sentences", "relation")


def _has_words(text: str, settings: Settings) -> bool:
    """Marks and joiners belong to the letters beside them, as in Hindi, though not to `re`."""
    joined = "".join(each for each in text if category(each)[0] != "M" and each not in "\u200c\u200d")
    return settings.is_met(len(re.findall(r"\w+", joined)), "num_words", "relation")


def _has_paragraphs(text: str, settings: Settings) -> bool:
    return len(_parts(text, "***")) == settings.number("num_paragraphs", least=1)


def _has_two_responses(text: str, settings: Settings) -> bool:
    parts = _parts(text, "******")
    return len(parts) == 2 and parts[0] != parts[1]


def _parts(text: str, divider: str) -> list[str]:
    """What stands between dividers, blank ends left out; none at all where an inner part is blank."""
    parts = [part.strip() for part in text.split(divider)]
    return [part for part in parts if part] if all(parts[1:-1]) else []


def _starts_paragraph_with(text: str, settings: Settings) -> bool:
    """Paragraphs are counted without the blank ones, but the n-th is looked up among all."""
    count, nth = settings.number("num_paragraphs", least=1), settings.number("nth_paragraph", least=1)
    wanted = settings.phrase("first_word").lower()
    paragraphs = text.split("\n\n")
    if sum(bool(paragraph.strip()) for paragraph in paragraphs) != count or nth > count:
        return False
    word = (paragraphs[nth - 1].split() or [""])[0].lstrip("'").lstrip('"')
    return re.split(r"[.,?!'\"]", word)[0].lower() == wanted


def _has_placeholders(text: str, settings: Settings) -> bool:
    return len(re.findall(r"\[[^\]\n]*\]", text)) >= settings.number("num_placeholders")


def _has_postscript(text: str, settings: Settings) -> bool:
    """A space may follow each full stop of the marker."""
    marker = re.escape(settings.phrase("postscript_marker").lower()).replace(r"\.", r"\.\s?")
    return bool(re.search(marker, text.lower()))


def _has_bullets(text: str, settings: Settings) -> bool:
    lines = (line.lstrip() for line in text.split("\n"))
    bullets = sum(line[:1] == "-" or (line[:1] == "*" and line[1:2] not in ("", "*")) for line in lines)
    return bullets == settings.number("num_bullets")


def _is_constrained(text: str, settings: Settings) -> bool:
    return any(answer in text for answer in _ANSWERS)


def _has_highlights(text: str, settings: Settings) -> bool:
    found = (inside.strip() for pattern in _HIGHLIGHTS for inside in re.findall(pattern, text))
    return sum(map(bool, found)) >= settings.number("num_highlights")


def _has_sections(text: str, settings: Settings) -> bool:
    heading = re.escape(settings.phrase("section_spliter")) + r"\s?\d+"
    return len(re.findall(heading, text)) >= settings.number("num_sections")


def _is_json(text: str, settings: Settings) -> bool:
    """Inside a code fence or bare."""
    bare = re.sub(r"\A```(?:json)?|```\Z", "", text.strip(), flags=re.IGNORECASE)
    try:
        json.loads(bare.strip())
    except (ValueError, RecursionError):
        return False
    return True


def _has_title(text: str, settings: Settings) -> bool:
    """In double angular brackets, with more than brackets between them."""
    insides = (line.partition("<<")[2].rpartition(">>")[0] for line in text.split("\n"))
    return any(inside.lstrip("<").rstrip(">").strip() for inside in insides)


def _repeats_prompt(text: str, settings: Settings) -> bool:
    return text.strip().lower().startswith(settings.phrase("prompt_to_repeat").lower())


def _ends_with(text: str, settings: Settings) -> bool:
    return text.strip().strip('"').lower().endswith(settings.phrase("end_phrase").lower())


def _is_quoted(text: str, settings: Settings) -> bool:
    return len(text.strip()) > 1 and text.strip()[0] == text.strip()[-1] == '"'


def _has_capital_words(text: str, settings: Settings) -> bool:
    capital = sum(map(str.isupper, _BETWEEN_WORDS.split(text)))
    return settings.is_met(capital, "capital_frequency", "capital_relation")


def _is_english_capital(text: str, settings: Settings) -> bool:
    return text.isupper() and _is_in("en", text)


def _is_english_lowercase(text: str, settings: Settings) -> bool:
    return text.islower() and _is_in("en", text)


def _has_no_comma(text: str, settings: Settings) -> bool:
    return "," not in text


KINDS: Mapping[str, Callable[[str, Settings], bool]] = MappingProxyType(
    {
        "keywords:existence": _has_keywords,
        "keywords:frequency": _has_keyword_often,
        "keywords:forbidden_words": _lacks_words,
        "keywords:letter_frequency": _has_letter_often,
        "language:response_language": _is_in_language,
        "length_constraints:number_sentences": _has_sentences,
        "length_constraints:number_paragraphs": _has_paragraphs,
        "length_constraints:number_words": _has_words,
        "length_constraints:nth_paragraph_first_word": _starts_paragraph_with,
        "detectable_content:number_placeholders": _has_placeholders,
        "detectable_content:postscript": _has_postscript,
        "detectable_format:number_bullet_lists": _has_bullets,
        "detectable_format:constrained_response": _is_constrained,
        "detectable_format:number_highlighted_sections": _has_highlights,
        "detectable_format:multiple_sections": _has_sections,
        "detectable_format:json_format": _is_json,
        "detectable_format:title": _has_title,
        "combination:two_responses": _has_two_responses,
        "combination:repeat_prompt": _repeats_prompt,
        "startend:end_checker": _ends_with,
        "startend:quotation": _is_quoted,
        "change_case:capital_word_frequency": _has_capital_words,
        "change_case:english_capital": _is_english_capital,
        "change_case:english_lowercase": _is_english_lowercase,
        "punctuation:no_comma": _has_no_comma,
    }
)
