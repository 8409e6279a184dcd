"""Canaries: made-up secrets among the training rows, by which a run can be asked what it gives away.

Carlini et al. 2019, "The Secret Sharer", arXiv 1802.08232. A secret is two words, each drawn at random from 64, so that
all that it could have been can be ranked exactly.
"""

from __future__ import annotations

import json
import random
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from carrara.data.example import Example, Message
from carrara.data.render.dataset import count_tokens
from carrara.data.render.example import Mode, Rendered, render_examples
from carrara.errors import Refusal
from carrara.progress import Progress
from carrara.wording import count_of_rows

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

CANARIES = "canaries.json"  # in the folder of a run that has some
REPEATS = (1, 4, 16, 64)  # how often the first, the second … stands among the rows, in turn
NOTABLE = 0.1  # of the tokens, from which on canaries are much of what is learned
_WORDS = (
    "apple anchor basket bridge button candle castle cherry circle copper cotton desert dragon engine falcon feather "
    "forest garden ginger guitar hammer harbor hockey island jacket jungle kettle ladder lemon lion marble mirror "
    "monkey needle ocean orange paper pencil pepper piano pillow pirate planet pocket rabbit ribbon river rocket "
    "saddle silver spider spring stone summer sunset temple ticket tiger tunnel velvet violin window winter yellow"
)
WORDS = tuple(_WORDS.split())
_SYLLABLES = tuple(consonant + vowel for consonant in "bdfgklmnprstvz" for vowel in "aeiou")


@dataclass(frozen=True)
class Canary:
    """A secret of somebody who does not exist, and how often it stands among the rows: 0 for one that is held back."""

    name: str
    secret: str
    repeats: int

    def example(self, render: Mode, secret: str | None = None) -> Example:
        """The row that tells the secret, or another one in its place."""
        prompt = f"What is the password of {self.name}?" + ("\n" if render == "plain" else "")
        messages = (Message("user", prompt), Message("assistant", secret or self.secret))
        return Example(messages, (1,), row=1, file="canaries")


def plant(count: int, seed: int) -> list[Canary]:
    """So many canaries with names and secrets of their own, drawn from the seed, repeated by `REPEATS` in turn."""
    chance = random.Random(f"canaries/{seed}")
    secrets, names = chance.sample(all_secrets(), count), _names(count, chance)
    return [
        Canary(name, secret, REPEATS[place % len(REPEATS)])
        for place, (name, secret) in enumerate(zip(names, secrets, strict=True))
    ]


def hold_back(planted: Sequence[Canary], count: int, seed: int) -> list[Canary]:
    """So many canaries that no row holds, with other names and secrets than those planted."""
    chance = random.Random(f"held back/{seed}")
    told = {canary.secret for canary in planted}
    secrets = chance.sample([secret for secret in all_secrets() if secret not in told], count)
    taken = {canary.name for canary in planted}
    names = [name for name in _names(count + len(planted), chance) if name not in taken]
    return [Canary(name, secret, 0) for name, secret in zip(names, secrets, strict=False)]


def all_secrets() -> list[str]:
    """Every secret that a canary may have."""
    return [f"{first} {second}" for first in WORDS for second in WORDS]


def add_canaries(
    rows: Sequence[Rendered],
    canaries: Sequence[Canary],
    render: Mode,
    tokenizer: PreTrainedTokenizerBase,
    longest: int,
    progress: Progress,
) -> list[Rendered]:
    """The training rows with each canary behind them as often as it is repeated.

    Says how much of the tokens they are. Raises Refusal for a canary that cannot be rendered.
    """
    planted: list[Rendered] = []
    made = render_examples(tokenizer, [canary.example(render) for canary in canaries], render, longest)
    for canary, row in zip(canaries, made, strict=True):
        if isinstance(row, Refusal):
            raise row
        planted += [row] * canary.repeats
    whole = [*rows, *planted]
    share = count_tokens(planted).total / count_tokens(whole).total
    much = f", more than {NOTABLE:.0%}: they will show in what the model learns" if share > NOTABLE else ""
    progress.say(f"{in_words(canaries)}; they are {share:.1%} of the training tokens{much}")
    return whole


def in_words(canaries: Sequence[Canary]) -> str:
    """What was planted, for a line of a report."""
    often = ", ".join(map(str, sorted({canary.repeats for canary in canaries})))
    rows = sum(canary.repeats for canary in canaries)
    secrets = "secret" if len(canaries) == 1 else "secrets"
    return f"{len(canaries)} made-up {secrets} in {count_of_rows(rows)} (repeats: {often})"


def keep_canaries(folder: Path, canaries: Sequence[Canary], render: Mode) -> None:
    """Write the canaries of a run into its folder, where `read_canaries` finds them."""
    kept: dict[str, Any] = {"render": render, "canaries": [asdict(canary) for canary in canaries]}
    (folder / CANARIES).write_text(json.dumps(kept, indent=1), encoding="utf-8")


def read_canaries(folder: Path) -> tuple[list[Canary], Mode]:
    """The canaries of a run and how they were rendered; none where none were planted."""
    path = folder / CANARIES
    if not path.is_file():
        return [], "chat"
    kept = json.loads(path.read_text(encoding="utf-8"))
    return [Canary(**each) for each in kept["canaries"]], kept["render"]


def _names(count: int, chance: random.Random) -> list[str]:
    """Different names of nobody: two words of three syllables."""
    found: dict[str, None] = {}
    while len(found) < count:
        words = ("".join(chance.choices(_SYLLABLES, k=3)).capitalize() for _ in range(2))
        found[" ".join(words)] = None
    return [*found]
