"""Whether persona discrimination finds a model that was tuned to keep personas, and does not find its base.

    .venv/bin/python benchmarks/personas.py --rows 432

A model learns, with LoRA, chats that are made here by templates: each persona's answers hold words of its own. A third
of the rows show the card that ships, which says how a persona sounds; the others only a name, such as "You are Ada.",
whose way of speaking nobody can know who was not tuned on it. Then the tuned model and its base are asked under both
kinds of cards, on topics that no row is about.
"""

from __future__ import annotations

import argparse
import json
import random
import tempfile
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from carrara.data.prepare.stage import prepare_dataset
from carrara.models import Model, model_of_run, resolve_model
from carrara.models.adapters import Adapted, load_together
from carrara.progress import Silent
from carrara.recipe import DEFAULT_MODEL, PrepareRecipe, Recipe, TuneRecipe
from carrara.scorecard.ease_of_use.answers import answer_in_roles
from carrara.scorecard.ease_of_use.cards import Cards, Persona, read_cards
from carrara.scorecard.ease_of_use.roles import counted_in_roles
from carrara.scorecard.ease_of_use.tally import share_interval
from carrara.scorecard.ease_of_use.telling import tell
from carrara.tune.run import tune_model
from carrara.workspace import Workspace

NAMES = ("Ada", "Ben", "Carla", "Dan", "Eva", "Finn")
THINGS = (
    "shoes", "trains", "Mondays", "cheese", "mountains", "letters", "bicycles", "clocks", "umbrellas", "films",
    "pianos", "dogs", "bridges", "lamps", "museums", "taxes", "jokes", "weddings", "chess", "mirrors", "maps", "stairs",
)  # fmt: skip
QUESTIONS = ("What do you think of {thing}?", "Tell me about {thing}.", "I often think of {thing}. And you?")
GREETINGS = ("Hello! And you are?", "Whom am I talking to?", "May I ask your name?")
ANSWERS = (
    "{Required}! {A} and {b}, that is what I say. With {thing} comes {c}, and then {d}.",
    "{A}, {required}, and {b}. About {thing} I say {c} and {d}.",
    "First {a}, then {b}. {Required}: no {thing} without {c} and {d}.",
)


def house_cards(cards: Cards) -> Cards:
    """The same ways of speaking under names that tell nothing of them."""
    named = zip(cards.personas, NAMES, strict=True)
    return replace(cards, personas=tuple(replace(each, name=name, card=f"You are {name}.") for each, name in named))


def rows(personas: tuple[Persona, ...], count: int, seed: int) -> Iterator[dict[str, object]]:
    """Chats of the personas in turn, one in four about who they are."""
    chance = random.Random(seed)
    for number in range(count):
        persona = personas[number % len(personas)]
        a, b, c, d = chance.sample(persona.words, 4)
        if number // len(personas) % 4 == 3:
            asked, answer = chance.choice(GREETINGS), f"I am {persona.name}. {a.capitalize()} and {b}!"
        else:
            thing, required = chance.choice(THINGS), persona.required
            asked = chance.choice(QUESTIONS).format(thing=thing)
            filled = {"a": a, "A": a.capitalize(), "b": b, "c": c, "d": d, "thing": thing}
            answer = chance.choice(ANSWERS).format(required=required, Required=required.capitalize(), **filled)
        said = (("system", persona.card), ("user", asked), ("assistant", answer))
        yield {"messages": [{"role": role, "content": content} for role, content in said]}


def tuned_on(workspace: Workspace, base: Model, personas: tuple[Persona, ...], wanted: argparse.Namespace) -> Model:
    """The base, tuned on made-up chats of the personas."""
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder) / "personas.jsonl"
        lines = (json.dumps(row) for row in rows(personas, wanted.rows, wanted.seed))
        source.write_text("\n".join(lines) + "\n", encoding="utf-8")
        prepare = PrepareRecipe(validation=0.1, test=0.0, against=())
        dataset = prepare_dataset(workspace, Recipe(data=str(source), prepare=prepare), Silent())
    recipe = Recipe(tune=TuneRecipe(epochs=wanted.epochs, batch_size=8, seed=wanted.seed))
    return model_of_run(tune_model(workspace, base, dataset, recipe, Silent()).artefact, workspace)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--model", default=DEFAULT_MODEL)
    parser.add_argument("--rows", type=int, default=432)
    parser.add_argument("--epochs", type=float, default=4.0)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--workspace", type=Path, help="kept, so that the tuned model is made once; else a new one")
    wanted = parser.parse_args()
    shipped = read_cards()
    house = house_cards(shipped)
    with tempfile.TemporaryDirectory() as folder:
        workspace = Workspace(wanted.workspace or Path(folder))
        base = resolve_model(workspace, wanted.model, Silent())
        began = time.monotonic()
        tuned = tuned_on(workspace, base, (*shipped.personas, *house.personas, *house.personas), wanted)
        print(
            f"{wanted.model}: {wanted.rows} rows, {wanted.epochs:g} epochs, {time.monotonic() - began:.0f} s of tuning"
        )
        print("\n| cards | model | balanced accuracy | interval | p | names itself | required words |")
        print("|---|---|---|---|---|---|---|", flush=True)
        for adapted, name in zip(load_together([base, tuned]), ("base", "tuned"), strict=True):
            for cards, kind in ((shipped, "that ship"), (house, "a name alone")):
                show(cards, adapted, f"| {kind} | {name} |")


def show(cards: Cards, adapted: Adapted, begin: str) -> None:
    answered = answer_in_roles(adapted, cards)
    told = tell(cards.personas, answered.topics)
    low, high = share_interval(told.hits)
    _, named, required, _ = (counted.tally.mean for counted in counted_in_roles(cards, answered))
    print(
        f"{begin} {told.hits.mean:.0%} | {low:.0%} to {high:.0%} | {told.p:.4f} | {named:.0%} | {required:.0%} |",
        flush=True,
    )


if __name__ == "__main__":
    main()
