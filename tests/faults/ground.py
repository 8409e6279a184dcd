"""A whole set-up to look at: a tiny model in a template's format, rows, a recipe; and what the truth check says."""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch

from carrara.data.dataset import Dataset
from carrara.data.prepare.stage import prepare_dataset
from carrara.errors import GateFailed, Refusal
from carrara.models import resolve_model
from carrara.models.load import Loaded
from carrara.progress import Silent
from carrara.recipe import make_recipe
from carrara.tune.distributed import World
from carrara.tune.job import Job, make_training
from carrara.tune.training import Training
from carrara.tune.truth import check_truth, require_truth
from carrara.workspace import Workspace
from tests.faults.rows import SHAPES, Row
from tests.faults.templates import Kit, Tokens, tokens_of, write_tokenizer

CONTEXT = 1024


class DoesNotApply(Exception):
    """The fault cannot be made in this format."""


@dataclass
class SetUp:
    """Everything a user brings, before it is written to files; faults change it."""

    kit: Kit
    tokens: Tokens
    rows: list[Row]
    recipe: dict[str, Any]
    stops: list[str]  # the ends that generation_config.json names
    weights: list[Callable[[Any, Any], None]] = field(default_factory=list)  # changes of network, given its tokenizer
    own_tokenizer: bool = True  # whether the weights were made for this tokenizer
    width: int = 32  # of the model


@dataclass(frozen=True)
class Outcome:
    """`by` is who found something: a check of the truth check, "refused" for an earlier stage, or None."""

    by: str | None
    sentence: str


Before = Callable[[], AbstractContextManager[None]]
After = Callable[[Training], None]


def healthy(kit: Kit, chance: random.Random, shape: str = "pairs", **tune: Any) -> SetUp:
    """A set-up with nothing wrong."""
    rows = SHAPES[shape](chance, 40, kit.system)
    settings = {"batch_size": 8, "rank": 4, "micro_batch_tokens": 1024, "dtype": "float32", **tune}
    recipe = {"prepare": {"validation": 0, "test": 0}, "tune": settings}
    stops = list(dict.fromkeys([kit.end, kit.tokenizer_end]))
    return SetUp(kit, tokens_of(kit), rows, recipe, stops)


def judge(setup: SetUp, folder: Path, before: Before = nullcontext, after: After | None = None) -> Outcome:
    """What becomes of a set-up: found by the truth check, refused earlier, or neither."""
    try:
        with before():
            loaded, dataset, training = build(setup, folder)
            if after:
                after(training)
            require_truth(check_truth(loaded, dataset, training, training.recipe.allow))
    except (Refusal, GateFailed) as refusal:
        found = [line.split(":")[0].strip() for line in str(refusal).splitlines()[1:-1]]
        return Outcome(found[0] if found else "refused", str(refusal))
    return Outcome(None, "")


def build(setup: SetUp, folder: Path) -> tuple[Loaded, Dataset, Training]:
    """Write the set-up's files and take the way of `carrara tune` up to its first step."""
    model = write_model(setup, folder / "model")
    path = folder / "rows.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in setup.rows), encoding="utf-8")
    recipe = make_recipe({"model": str(model), "data": str(path), **setup.recipe})
    workspace = Workspace(folder / "workspace")
    base = resolve_model(workspace, recipe.model, Silent())
    dataset = prepare_dataset(workspace, recipe, Silent())
    run = folder / "run"
    run.mkdir()
    loaded, training = make_training(Job(base, dataset, recipe, World(0, 1), run, Silent()))
    return loaded, dataset, training


def write_model(setup: SetUp, folder: Path) -> Path:
    """A LLaMA of two layers, shortly trained on text with the kit's own tokenizer, as a Hugging Face folder."""
    from transformers import AutoTokenizer

    folder.mkdir(parents=True)
    size = write_tokenizer(folder, tokens_of(setup.kit) if not setup.own_tokenizer else setup.tokens)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    network = _new(size, setup.kit.specials.index(setup.kit.tokenizer_end), setup.width)
    network.load_state_dict(_trained(setup.kit, size, setup.width))
    for change in setup.weights:
        change(network, tokenizer)
    network.save_pretrained(folder)
    write_tokenizer(folder, setup.tokens)
    known = AutoTokenizer.from_pretrained(folder).get_vocab()
    ends = [known[stop] for stop in setup.stops if stop in known]
    settings = {"eos_token_id": ends, "bos_token_id": known.get(setup.kit.bos or "")}
    (folder / "generation_config.json").write_text(json.dumps(settings), encoding="utf-8")
    return folder


def _new(size: int, end: int, width: int) -> Any:
    from transformers import LlamaConfig, LlamaForCausalLM

    config = LlamaConfig(
        vocab_size=size,
        hidden_size=width,
        intermediate_size=4 * width,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=CONTEXT,
        tie_word_embeddings=True,
        eos_token_id=end,
    )
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return LlamaForCausalLM(config)


@lru_cache(maxsize=32)
def _trained(kit: Kit, size: int, width: int, steps: int = 80) -> dict[str, torch.Tensor]:
    """Weights that know the kit's letters a little, so that a wrong tokenizer can be told from the right one."""
    import tempfile

    from transformers import AutoTokenizer

    with tempfile.TemporaryDirectory() as name:
        write_tokenizer(Path(name), tokens_of(kit))
        tokenizer = AutoTokenizer.from_pretrained(name)
    rows = [row for shape in ("pairs", "lines") for row in SHAPES[shape](random.Random(1), 60, False)]
    text = " ".join(f"{row['prompt']} {row['completion']}" for row in random.Random(2).sample(rows, len(rows)))
    ids = torch.tensor(tokenizer.encode(text * 3, add_special_tokens=False)[:8192]).view(-1, 64)
    network = _new(size, 0, width)
    optimizer = torch.optim.AdamW(network.parameters(), lr=5e-3)
    for step in range(steps):
        batch = ids[step * 8 % len(ids) :][:8]
        network(input_ids=batch, labels=batch).loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    return {name: weight.detach() for name, weight in network.state_dict().items()}


@contextmanager
def patched(owner: Any, name: str, value: Any) -> Iterator[None]:
    """Another value for an attribute for a while."""
    before = getattr(owner, name)
    setattr(owner, name, value)
    try:
        yield
    finally:
        setattr(owner, name, before)


@dataclass(frozen=True)
class Broken:
    """How to break the trainer: patches that hold while it works, and a change once it is set up."""

    patches: tuple[tuple[Any, str, Callable[..., Any]], ...] = ()  # owner, name, value made from the one before
    after: Callable[[Training], None] | None = None

    @contextmanager
    def before(self) -> Any:
        with ExitStack() as stack:
            for owner, name, make in self.patches:
                stack.enter_context(patched(owner, name, make(getattr(owner, name))))
            yield


UserFault = Callable[[SetUp, random.Random], None]
TrainerFault = Callable[[SetUp, random.Random], Broken]
