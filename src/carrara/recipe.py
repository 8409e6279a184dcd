"""The recipe: everything that determines a way from model and data to a verdict, typed, unknown keys refused."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

import yaml
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from carrara.errors import Refusal

DEFAULT_MODEL = "smollm2-135m-instruct"

Positive = Annotated[float, Field(gt=0)]
Share = Annotated[float, Field(ge=0, lt=1)]
Count = Annotated[int, Field(gt=0)]
Seed = Annotated[int, Field(ge=0, lt=2**63)]


class Section(BaseModel):
    """A part of a recipe; keys that it does not know are errors."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


_S = TypeVar("_S", bound=Section)


class PrepareRecipe(Section):
    """How rows become examples: `chat` uses the model's template, `plain` joins prompt and completion.

    `map` names the field that holds each part (prompt: question); `group` a field whose equal values stay on one
    side of a split; `against` the benchmarks whose questions must not be among the rows.
    """

    render: Literal["chat", "plain"] = "chat"
    map: dict[str, str] = {}
    validation: Share = 0.05
    test: Share = 0.1
    group: str | None = None
    seed: Seed = 0
    drop_duplicates: Literal["none", "exact", "near"] = "exact"
    against: tuple[str, ...] | None = None  # None: the tasks that `evaluate` names
    contamination: Literal["refuse", "drop", "report"] = "refuse"
    personal_data: Literal["report", "redact", "drop"] = "report"


class TuneRecipe(Section):
    """How the model learns.

    `targets` names the modules that LoRA and IA3 change (None: every linear one, for IA3 k_proj, v_proj, down_proj);
    `lora_plus` is the learning rate of B over that of A; `allow` names checks of the truth check that may find
    something; `track` names who else gets the curves.
    """

    method: Literal["lora", "qlora", "full", "ia3", "prefix", "prompt"] = "lora"
    rank: Count = 16
    alpha: Positive | None = None  # None: twice the rank
    dropout: Share = 0.0
    targets: Annotated[tuple[str, ...], Field(min_length=1)] | None = None
    rslora: bool = False  # scale by the root of the rank (arXiv 2312.03732)
    dora: bool = False  # learn direction and size apart (arXiv 2402.09353)
    pissa: bool = False  # begin at the base's principal components (arXiv 2404.02948)
    lora_plus: Annotated[float, Field(ge=1)] = 1.0  # (arXiv 2402.12354)
    virtual_tokens: Count = 20  # of prefix and prompt tuning
    new_tokens: tuple[str, ...] = ()  # special tokens whose embeddings are learned as well
    epochs: Positive = 1.0
    batch_size: Count = 16
    micro_batch_tokens: Count | Literal["auto"] = 1536  # places in one pass; moves memory and speed, not the batch
    batching: Literal["auto", "sorted", "packed"] = "auto"  # auto: packed on a GPU, sorted by length on a processor
    learning_rate: Positive | None = None  # None: the method's own
    schedule: Literal["linear", "cosine", "constant"] = "linear"
    warmup: Share = 0.03  # share of all steps
    weight_decay: Annotated[float, Field(ge=0)] = 0.0
    clip: Positive = 1.0  # largest norm of the gradient
    max_length: Count | None = None  # tokens; None: the model's context
    validate_every: Count | None = None  # steps; None: at the end of each epoch
    patience: Count | None = None  # held-out losses without a better one before it stops early; None: never
    keep: Literal["best", "last"] = "best"  # by held-out loss, where one was measured
    checkpoint_activations: bool | Literal["auto"] = "auto"  # auto: where the memory does not suffice without
    compile: bool = False
    dtype: Literal["auto", "float32", "bfloat16"] = "auto"
    parallel: Literal["auto", "replicate", "shard"] = "auto"  # under torchrun; auto: shard what does not fit whole
    seed: Seed = 0
    checkpoint_minutes: Annotated[float, Field(ge=0)] = 1.0  # 0: after every step
    track: tuple[Literal["tensorboard", "mlflow", "trackio", "wandb"], ...] = ()
    allow: tuple[str, ...] = ()
    canaries: Annotated[int, Field(ge=0, le=1024)] = 0  # made-up secrets among the rows, for the scorecard's privacy

    @property
    def effective_learning_rate(self) -> float:
        usual = {"lora": 5e-4, "qlora": 5e-4, "full": 5e-5, "ia3": 5e-3, "prefix": 1e-2, "prompt": 3e-2}
        if self.method in ("lora", "qlora") and self.pissa:  # begins where much already moves
            return self.learning_rate or 2e-4
        return self.learning_rate or usual[self.method] / self.lora_plus**0.5

    @property
    def effective_alpha(self) -> float:
        return self.alpha or 2.0 * self.rank

    @property
    def adapter_scale(self) -> float:
        """By what LoRA multiplies what its two matrices give."""
        return self.effective_alpha / (self.rank**0.5 if self.rslora else self.rank)


class EvaluateRecipe(Section):
    """What the model is measured on. `benchmarks` is a folder of benchmark files."""

    tasks: tuple[str, ...] = ("arc_easy", "arc_challenge", "hellaswag", "truthfulqa_mc1", "truthfulqa_mc2", "heldout")
    protocol: str = "lm-eval-0.4"
    shots: Annotated[int, Field(ge=0)] | None = None  # None: the protocol's number for each task
    limit: Count | None = None
    limits: dict[str, Count] = {}  # for single tasks, instead of `limit`
    dtype: Literal["auto", "float32", "bfloat16"] = "float32"
    benchmarks: Path | None = None
    skip_near_copies: bool = True  # of training rows, when a dataset is known


class GateRule(Section):
    """One demand on a verdict: the tuned model must be better, or no worse by more than `margin` points.

    A recipe may say it in words as well (`gate_rules`).
    """

    task: str
    metric: str | None = None
    require: Literal["better", "no_worse"] = "no_worse"
    margin: Annotated[float, Field(ge=0)] = 1.5


_BETTER = re.compile(r"must improve\s+(.+)", re.IGNORECASE)
_NO_WORSE = re.compile(r"no worse than\s+(\d{1,3}(?:\.\d{1,6})?)\s+points?\s+on\s+(.+)", re.IGNORECASE)
_TARGET = re.compile(r"([\w.-]+)(?:\s+([\w.-]+))?")


def gate_rules(sentence: str) -> tuple[GateRule, ...]:
    """The rules that a sentence names, separated by ";"; raises Refusal showing the form for anything else.

    "must improve TASK[ METRIC], TASK" and "no worse than 1.5 points on TASK[ METRIC], TASK".
    """
    return tuple(rule for part in sentence.rstrip("; ").split(";") for rule in _rules(" ".join(part.split()), sentence))


def _rules(part: str, sentence: str) -> list[GateRule]:
    better, no_worse = _BETTER.fullmatch(part), _NO_WORSE.fullmatch(part)
    if better:
        targets, demand = better[1], {"require": "better"}
    elif no_worse:
        targets, demand = no_worse[2], {"require": "no_worse", "margin": float(no_worse[1])}
    else:
        raise _no_gate(sentence)
    named = [_TARGET.fullmatch(target.strip()) for target in targets.split(",")]
    if not all(named):
        raise _no_gate(sentence)
    return [GateRule.model_validate({"task": name[1], "metric": name[2], **demand}) for name in named if name]


def _no_gate(sentence: str) -> Refusal:
    return Refusal(
        f'the gate \'{sentence}\' is no list of rules; write "must improve TASK", "must improve TASK METRIC, TASK" or '
        '"no worse than 1.5 points on TASK, TASK", with ";" between them.'
    )


def _spelled_out(entries: Any) -> Any:
    """The entries of a recipe's gate, with the rules of each sentence in its place."""
    entries = [entries] if isinstance(entries, str) else entries
    if not isinstance(entries, list | tuple):
        return entries
    return [rule for entry in entries for rule in (gate_rules(entry) if isinstance(entry, str) else [entry])]


Gate = Annotated[tuple[GateRule, ...], BeforeValidator(_spelled_out)]


class CostRecipe(Section):
    """Prices for the ledger; `watts` None means measured where the machine tells, otherwise estimated."""

    per_hour: Annotated[float, Field(ge=0)] = 0.0
    per_kwh: Annotated[float, Field(ge=0)] = 0.30
    currency: str = "EUR"
    watts: Positive | None = None


class Recipe(Section):
    """The whole way. `data` is a file of rows or a prepared dataset (a folder or `dataset/<id>`)."""

    model: str = DEFAULT_MODEL
    data: str | None = None
    prepare: PrepareRecipe = PrepareRecipe()
    tune: TuneRecipe = TuneRecipe()
    evaluate: EvaluateRecipe = EvaluateRecipe()
    gate: Gate = ()
    cost: CostRecipe = CostRecipe()


def read_recipe(path: Path) -> Recipe:
    """The recipe in a YAML file; raises Refusal with the key that is wrong."""
    return make_recipe(_content(path, "recipe", "keys such as model, data and tune"), where=str(path))


def read_section(path: Path, kind: type[_S], what: str) -> _S:
    """A YAML file that holds one section, called `what` in sentences; raises Refusal with the key that is wrong."""
    content = _content(path, what, f"the keys {', '.join(kind.model_fields)}")
    try:
        return kind.model_validate(content)
    except ValidationError as error:
        raise Refusal(f"{path}: {_problems([dict(item) for item in error.errors()], kind)}") from error


def _content(path: Path, what: str, expected: str) -> dict[str, Any]:
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise Refusal(f"the {what} {path} does not exist; give the path of a YAML file.") from error
    except (IsADirectoryError, PermissionError) as error:
        raise Refusal(f"the {what} {path} cannot be read ({error.strerror}); give the path of a YAML file.") from error
    except UnicodeDecodeError as error:
        raise Refusal(f"{path} is not UTF-8 text (byte {error.start}); save it as UTF-8.") from error
    except (yaml.YAMLError, ValueError, RecursionError) as error:  # ValueError for a date or number that is none
        raise Refusal(f"{path} is no valid YAML: {' '.join(str(error).split())}") from error
    if not isinstance(content, dict):
        raise Refusal(f"{path} holds no {what}: a mapping with {expected} is expected.")
    return content


def make_recipe(content: dict[str, Any], where: str = "the recipe") -> Recipe:
    """A recipe from a mapping; raises Refusal naming each wrong key and its reason."""
    try:
        return Recipe.model_validate(content)
    except ValidationError as error:
        raise Refusal(f"{where}: {_problems([dict(item) for item in error.errors()], Recipe)}") from error


def override(recipe: Recipe, given: Mapping[str, Any]) -> Recipe:
    """The recipe with every given value that is not None put over it; sections are merged key by key."""
    content: dict[str, Any] = recipe.model_dump(exclude_unset=True)  # a default is not something the user named
    for key, value in given.items():
        if isinstance(value, Mapping):
            inner = {name: item for name, item in value.items() if item is not None}
            content[key] = content.get(key, {}) | inner
        elif value is not None:
            content[key] = value
    return make_recipe(content, where="the options")


def _problems(errors: list[dict[str, Any]], kind: type[Section]) -> str:
    """Each wrong key once; what may be of several types is wrong for several reasons."""
    by_key: dict[str, list[dict[str, Any]]] = {}
    for error in errors:
        key = ".".join(str(part) for part in error["loc"] if not _is_type(str(part)))
        by_key.setdefault(key, []).append(error)
    return "; ".join(_problem(key, each, kind) for key, each in by_key.items())


def _is_type(part: str) -> bool:
    """Whether a part of an error's place names a type that was tried, not a key."""
    return "[" in part or part in ("bool", "constrained-int")


def _problem(key: str, errors: list[dict[str, Any]], kind: type[Section]) -> str:
    first = errors[0]
    if first["type"] != "extra_forbidden":
        return f"key '{key}': {' or '.join(error['msg'].lower() for error in errors)}, not {first['input']!r}"
    parent = first["loc"][0] if len(first["loc"]) > 1 else None
    sections = {"prepare": PrepareRecipe, "tune": TuneRecipe, "evaluate": EvaluateRecipe, "gate": GateRule}
    section = sections.get(str(parent), CostRecipe if parent == "cost" else kind)
    return f"unknown key '{key}' (known here: {', '.join(section.model_fields)})"
