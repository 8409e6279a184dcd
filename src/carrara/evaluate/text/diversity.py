"""How varied texts are, and whether one repeats itself. Neither case nor punctuation makes a word another."""

from __future__ import annotations

import math
import zlib
from collections import Counter
from collections.abc import Iterable, Sequence

from carrara.data.checks.contamination import words_of
from carrara.evaluate.text.overlap import bleu

LOOP_WORDS, LOOP_TIMES = 3, 3
_FACTOR = 0.72  # the share of different words below which a factor of MTLD is full


def distinct(texts: Iterable[str], n: int) -> float:
    """The different n-grams of all texts over all their n-grams (Li et al. 2016, arXiv 1510.03055); 0 without any.

    Falls with the number of words, so compare it at like lengths.
    """
    grams = [gram for text in texts for gram in _grams(words_of(text), n)]
    return len(set(grams)) / len(grams) if grams else 0.0


def distinct_among(texts: Iterable[str], n: int, budget: int) -> float | None:
    """The share of different n-grams to expect among `budget` that are drawn from all texts without putting back.

    So texts of unlike length can be compared: rarefaction, as Hurlbert 1971 counts species (Ecology 52:577-586) and
    HD-D words. None where the texts have fewer n-grams. Raises ValueError where `budget` is below 1.
    """
    if budget < 1:
        raise ValueError(f"at least one n-gram is drawn, not {budget}")
    times = Counter(gram for text in texts for gram in _grams(words_of(text), n))
    total = times.total()
    if total < budget:
        return None
    draws = math.comb(total, budget)
    alike = Counter(times.values())  # how many n-grams stand there so often
    return sum(many * (1 - math.comb(total - each, budget) / draws) for each, many in alike.items()) / budget


def factors_a_word(texts: Iterable[str], fewest: int) -> float | None:
    """How often, in a word, the share of different words falls below 0.72, which is one over MTLD.

    McCarthy and Jarvis 2010 (Behavior Research Methods 42:381-392): the mean of reading forwards and backwards. Of
    several texts, each is read by itself, words and factors are summed. It hardly hangs on length, and is 0 where no
    word comes again in its text. None where the texts have fewer than `fewest` words.
    """
    read = [words_of(text) for text in texts]
    words = sum(map(len, read))
    if words < fewest:
        return None
    return sum(_factors(text) + _factors(text[::-1]) for text in read) / (2 * words)


def self_bleu(texts: Sequence[str], at_most: int = 32) -> float:
    """The mean BLEU of each text against all others (Zhu et al. 2018, arXiv 1802.01886); 0 for fewer than two.

    Of more texts than `at_most`, as many are taken at equal distances, since the work grows with the square. It
    rises with the number of texts, so compare it at like numbers.
    """
    count = min(len(texts), at_most)
    taken = [texts[number * len(texts) // count] for number in range(count)]
    if count < 2:
        return 0.0
    return sum(bleu(text, taken[:number] + taken[number + 1 :]) for number, text in enumerate(taken)) / count


def repeated(text: str, n: int = 4) -> float:
    """The share of a text's n-grams that stand earlier in it (rep-n of Welleck et al. 2020, arXiv 1908.04319).

    0 where the text is shorter.
    """
    grams = list(_grams(words_of(text), n))
    return 1 - len(set(grams)) / len(grams) if grams else 0.0


def has_loop(text: str) -> bool:
    """Whether anywhere the same `LOOP_WORDS` words, or more, stand `LOOP_TIMES` times in a row.

    So nine times the same word is a loop, and "no, no, no" is none.
    """
    words = words_of(text)
    return any(
        _matching(words, at, period) >= (LOOP_TIMES - 1) * period
        for period in range(LOOP_WORDS, len(words) // LOOP_TIMES + 1)
        for at in range(0, len(words) - period, period)  # one of these lies in any loop of that period
    )


def compression(texts: Iterable[str]) -> float:
    """The bytes of all texts over those that zlib makes of them (arXiv 2403.00553); 1 where there are none.

    The more the texts resemble each other, the higher. Rises with their bytes, so compare it at like sizes.
    """
    raw = "\n".join(texts).encode("utf-8", "surrogatepass")
    return len(raw) / len(zlib.compress(raw, 9)) if raw else 1.0


def _factors(words: Sequence[str]) -> float:
    """The factors of MTLD in a text read forwards; what follows the last full one is a part of one."""
    full, seen, read = 0, set[str](), 0
    for word in words:
        seen.add(word)
        read += 1
        if len(seen) / read < _FACTOR:
            full, seen, read = full + 1, set(), 0
    return full + ((1 - len(seen) / read) / (1 - _FACTOR) if read else 0.0)


def _grams(words: list[str], n: int) -> Iterable[tuple[str, ...]]:
    return zip(*(words[start:] for start in range(n)), strict=False)


def _matching(words: list[str], at: int, period: int) -> int:
    """How many words in a row, the one at `at` among them, equal the word `period` later."""
    start = end = at
    while start >= 0 and words[start] == words[start + period]:
        start -= 1
    while end + period < len(words) and words[end] == words[end + period]:
        end += 1
    return max(0, end - start - 1)
