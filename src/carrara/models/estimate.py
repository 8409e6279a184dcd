"""What a run asks of a machine, as sums of parts: seconds at the machine's own rates, and bytes.

Each part is arithmetic from shape, recipe and work; what a machine makes of it is one constant a part, fitted to
measured runs. A prediction is the sum of parts times constants.
"""

from __future__ import annotations

from dataclasses import dataclass

from carrara.models.catalogue import Shape
from carrara.models.fitted import Kind
from carrara.models.forward import LOGITS_AT_ONCE, QUERIES_AT_ONCE
from carrara.models.rates import Rates
from carrara.recipe import TuneRecipe

_NF4 = 0.53  # bytes a weight: four bits and the block scales of QLoRA (arXiv 2305.14314)
_CALLS = 20  # small operations in a layer's forward pass, whatever the sizes
_ADAM = 40  # bytes that a step moves for each trained parameter: gradient, master, moments, the network's copy
_COLLECT = 10  # bytes that a pass moves for each: its gradient, added to the sum


@dataclass(frozen=True)
class Passes:
    """What some passes through the network compute, summed over them.

    `places` are tokens with padding, `squares` the squares of each row's places, `learned` supervised tokens.
    """

    count: float
    rows: float
    places: float
    squares: float
    learned: float

    def times(self, factor: float) -> Passes:
        return Passes(*(value * factor for value in vars(self).values()))


@dataclass(frozen=True)
class Work:
    """A whole run: its steps, their passes and those of all validations; `widest` is the most places of one pass."""

    steps: int
    tokens: int  # without padding
    training: Passes
    validation: Passes
    widest: int


def trained_parameters(shape: Shape, parameters: int, tune: TuneRecipe) -> int:
    """How many parameters a method learns."""
    linears = adapted(shape, tune)
    if tune.method == "full":
        return parameters
    if tune.method == "prompt":
        return tune.virtual_tokens * shape.width
    if tune.method == "prefix":
        return tune.virtual_tokens * shape.layers * 2 * shape.kv_heads * shape.head_width
    if tune.method == "ia3":  # the inside of the feed-forward is scaled on its way in
        each = sum(i if name == "down_proj" else o for name, (i, o) in linears.items())
    else:
        each = sum(tune.rank * (i + o) + (o if tune.dora else 0) for i, o in linears.values())
    return shape.layers * each + len(tune.new_tokens) * shape.width


def adapted(shape: Shape, tune: TuneRecipe) -> dict[str, tuple[int, int]]:
    """The linear modules of a layer that LoRA or IA3 change; none for other methods."""
    usual = {"lora": None, "qlora": None, "ia3": ("k_proj", "v_proj", "down_proj")}
    if tune.method not in usual:
        return {}
    targets = tune.targets or usual[tune.method]
    names = {target.rpartition(".")[2] for target in targets} if targets else set(shape.linears())
    return {name: sides for name, sides in shape.linears().items() if name in names}


def time_parts(shape: Shape, parameters: int, tune: TuneRecipe, work: Work, rates: Rates) -> dict[str, float]:
    """Seconds that each part of a run would take at the full rates of the machine."""
    width = 2 if rates.dtype == "bfloat16" else 4
    full, again = tune.method == "full", bool(tune.checkpoint_activations)
    train, held = _with_virtual(work.training, tune), _with_virtual(work.validation, tune)
    weights = shape.layers * sum(i * o for i, o in shape.linears().values())
    head = shape.vocabulary * shape.width
    trained = trained_parameters(shape, parameters, tune)
    ends = shape.layers * sum(i + o for i, o in adapted(shape, tune).values())
    values = shape.layers * sum(_kept_values(shape))
    attention = 4 * shape.layers * shape.heads * shape.head_width
    # forward, the gradient of what came in, and forward again where activations are not kept
    dequantised = weights * width * (train.count * (2 + again) + held.count) if tune.method == "qlora" else 0.0
    products = 2 * weights * (train.places * (2 + again) + held.places) + 2 * head * (2 * train.learned + held.learned)
    return {
        f"products_{rates.dtype}": products / rates.products,
        "gradients": 2 * (weights * train.places + head * train.learned) / rates.products if full else 0.0,
        "attention": attention * (train.squares * (3 + again) + held.squares) / rates.products,
        "dequantised": dequantised / rates.memory,
        "adapters": ends * width * (train.places * (2 + again) + held.places) / rates.memory,
        "values": values * width * (train.places * (2 + again) + held.places) / rates.memory,
        "logits": shape.vocabulary * 4 * (2 * train.learned + held.learned) / rates.memory,
        "calls": shape.layers * _CALLS * (train.count * (2 + again) + held.count) * rates.call,
        "adapter_calls": shape.layers * len(adapted(shape, tune)) * 3 * train.count * rates.call,
        "optimizer": trained * (_ADAM * work.steps + _COLLECT * train.count) / rates.memory,
    }


def _with_virtual(passes: Passes, tune: TuneRecipe) -> Passes:
    """Passes with the virtual tokens of prompt tuning among the places, or those of prefix tuning attended to."""
    if tune.method not in ("prompt", "prefix"):
        return passes
    places = passes.places + (passes.rows * tune.virtual_tokens if tune.method == "prompt" else 0)
    squares = passes.squares + passes.places * tune.virtual_tokens
    return Passes(passes.count, passes.rows, places, squares, passes.learned)


def memory_parts(
    shape: Shape, parameters: int, tune: TuneRecipe, work: Work, width: int, kind: Kind
) -> dict[str, float]:
    """Bytes of each part of what a process holds at its peak; `width` is the bytes of a value in the network."""
    trained = trained_parameters(shape, parameters, tune)
    seen = _with_virtual(work.training, tune)
    places = work.widest * seen.places / work.training.places
    logits = work.widest * work.training.learned / work.training.places * shape.vocabulary * 4
    inputs, between = _kept_values(shape)
    if tune.method not in ("full", "lora", "qlora"):  # whose linear modules need not know what entered them
        inputs = 0
    length = seen.squares / seen.places  # of a row, on the average
    if kind == "cpu" and tune.method not in ("prompt", "prefix"):  # layers written by hand, `tune/fused.py`
        if tune.method == "lora" and not (tune.dora or tune.dropout):
            inputs = shape.heads * shape.head_width  # the rest is computed again
        between += round(shape.heads * min(length, QUERIES_AT_ONCE) * 0.6)  # attention's weights, less what is masked
    layers = 1 if tune.checkpoint_activations else shape.layers  # all of one layer, or of each
    scores = shape.heads * min(QUERIES_AT_ONCE, length)
    return {
        "runtime": 1.0,
        "weights": parameters * (_NF4 if tune.method == "qlora" else width),
        # Master, its gradient and two moments in float32, and the network's copy unless it is the weights. The
        # network's own gradients come as activations go.
        "trained": trained * (16.0 + (0 if tune.method == "full" else width)),
        "inputs": layers * inputs * width * places,
        "between": layers * between * width * places,
        "entries": shape.layers * shape.width * width * places if tune.checkpoint_activations else 0.0,
        "passing": (sum(_kept_values(shape)) + 3 * scores) * width * places,
        "logits": 2 * min(logits, LOGITS_AT_ONCE[kind]),  # with their logarithms, which become the gradient
    }


def _kept_values(shape: Shape) -> tuple[int, int]:
    """Values of a layer and place kept for the backward pass: what enters linear modules, and what is between."""
    heads, kv = shape.heads * shape.head_width, shape.kv_heads * shape.head_width
    inputs = 2 * shape.width + heads + shape.feed_forward  # two norms, the heads' answers, gate times up
    between = 2 * shape.width + heads + 2 * kv + 2 * shape.feed_forward  # what enters norms, attention and gate
    return inputs, between
