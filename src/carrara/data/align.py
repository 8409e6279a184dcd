"""Two texts word by word: what both have, and what one has in the other's place."""

from __future__ import annotations

import re
from dataclasses import dataclass
from difflib import SequenceMatcher

from carrara.data.checks.minhash import normalise
from carrara.wording import line

_PIECES = re.compile(r"\s*\S+")  # a word with the space before it
_MOST_PIECES = 2000  # compared word by word; difflib's time grows with the square
_WIDTH = 100  # characters of a run of words that is shown
_AROUND = 40  # characters of what stayed equal, shown on either side of what did not


@dataclass(frozen=True)
class Aligned:
    """A run of words of each of two texts; `alike` if they are the same words. One of the two may be empty."""

    before: str
    after: str
    alike: bool


def align_words(before: str, after: str) -> list[Aligned]:
    """Two texts as a sequence of what both have and what one has in the other's place; case and marks do not count.

    Beyond 2,000 words a text is not compared further; the rest counts as different.
    """
    old, new = _PIECES.findall(before), _PIECES.findall(after)
    plain = [[normalise(piece) for piece in pieces[:_MOST_PIECES]] for pieces in (old, new)]
    steps = SequenceMatcher(None, plain[0], plain[1], autojunk=False).get_opcodes()
    runs = [Aligned("".join(old[a:b]), "".join(new[c:d]), step == "equal") for step, a, b, c, d in steps]
    rest = Aligned("".join(old[_MOST_PIECES:]), "".join(new[_MOST_PIECES:]), False)
    return [*runs, rest] if rest.before or rest.after else runs


def woven(before: str, after: str) -> str:
    """Two texts as one line that cannot steer a terminal: `[-gone-]`, `{+new+}`, and the ends of what stayed equal."""
    return " ".join(_woven(run) for run in align_words(before, after))


def _woven(run: Aligned) -> str:
    if run.alike:
        words = line(run.after, len(run.after) + 1)
        return words if len(words) <= 2 * _AROUND else f"{words[:_AROUND].rstrip()} … {words[-_AROUND:].lstrip()}"
    gone = f"[-{line(run.before, _WIDTH)}-]" if run.before else ""
    return gone + (f"{{+{line(run.after, _WIDTH)}+}}" if run.after else "")
