"""The matrices of a PEFT LoRA adapter, where the adapter is nothing more than these."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from carrara.errors import Refusal
from carrara.export.weights import Weights

if TYPE_CHECKING:
    import numpy as np

_WAY_OUT = "export --to gguf, which merges it"
_ANEW = "make it again"
_SAME = 1e-4  # relative: scales pass through float32 once more on their way
_FRONT, _SIDES = "base_model.model.", ("lora_A", "lora_B")
_PLAIN_STARTS = (True, False, "gaussian", "orthogonal")  # all others change the base, too
_MORE = (
    "use_dora",
    "modules_to_save",
    "trainable_token_indices",
    "layer_replication",
    "lora_bias",
    "target_parameters",
    "alora_invocation_tokens",
    "arrow_config",
    "kasa_config",
    "monteclora_config",
    "use_bdlora",
    "use_qalora",
)


@dataclass(frozen=True)
class Pair:
    """What is added to the weight `source`: `scale` times b (out, rank) times a (rank, in), both in float32."""

    source: str
    a: np.ndarray
    b: np.ndarray
    scale: float

    @property
    def rank(self) -> int:
        return self.a.shape[0]


def read_pairs(adapter: Path, base: Weights, known: Collection[str]) -> list[Pair]:
    """The pairs of a LoRA adapter on some of the `known` weights of a base.

    Scales are alpha / rank, or alpha / sqrt(rank) of rsLoRA (arXiv 2312.03732). Raises Refusal for an adapter of
    another kind, one that is more than such pairs, and one that does not fit the base.
    """
    config = _config(adapter)
    weights = Weights(adapter)
    pairs: list[Pair] = []
    for name in (name for name in weights.names() if name.endswith("lora_A.weight")):
        module = name.removeprefix(_FRONT).removesuffix(".lora_A.weight")
        source = f"{module}.weight"
        if source not in known:
            raise Refusal(f"the adapter {adapter} changes {module}, which a GGUF adapter cannot; {_WAY_OUT}.")
        pair = Pair(source, weights.read(name), weights.read(name.replace("lora_A", "lora_B")), _scale(config, module))
        if (len(pair.b), pair.a.shape[1]) != base.shape(source) or pair.b.shape[1] != pair.rank:
            raise Refusal(f"the adapter {adapter} does not fit {base.folder}: {module} has another size.")
        pairs.append(pair)
    if len(weights.names()) != 2 * len(pairs) or not pairs:
        other = [name for name in weights.names() if not any(side in name for side in _SIDES)]
        raise Refusal(f"the adapter {adapter} holds {(other or ['no pairs'])[0]}, which is no LoRA pair; {_WAY_OUT}.")
    return pairs


def write_pairs(pairs: Sequence[Pair], target: Path) -> None:
    """Write pairs as a PEFT adapter: `adapter_config.json` and `adapter_model.safetensors`."""
    from safetensors.numpy import save_file

    modules = {pair.source.removesuffix(".weight"): pair for pair in pairs}
    config = {
        "peft_type": "LORA",
        "task_type": "CAUSAL_LM",
        "target_modules": sorted(modules),
        "rank_pattern": {f"^{re.escape(module)}": pair.rank for module, pair in modules.items()},
        "alpha_pattern": {f"^{re.escape(module)}": pair.scale * pair.rank for module, pair in modules.items()},
    }
    matrices = {
        f"{_FRONT}{module}.{side}.weight": matrix
        for module, pair in modules.items()
        for side, matrix in zip(_SIDES, (pair.a, pair.b), strict=True)
    }
    (target / "adapter_config.json").write_text(json.dumps(config), encoding="utf-8")
    save_file(matrices, target / "adapter_model.safetensors")


def require_same_pairs(meant: Sequence[Pair], found: Sequence[Pair]) -> None:
    """Refuse pairs that do not add the same to the same weights, by what is wrong with them."""
    import numpy as np

    wanted, given = ({pair.source: pair for pair in pairs} for pairs in (meant, found))
    for source in sorted({*wanted, *given}):
        if source not in wanted or source not in given or wanted[source].a.shape != given[source].a.shape:
            raise Refusal(f"the file holds another adapter: {source} is changed otherwise by it; {_ANEW}.")
        one, other = wanted[source], given[source]
        right, left = one.scale * one.b, other.scale * other.b
        size = float((right * right).sum())
        times = float((left * right).sum()) / size if size else 1.0
        room = _SAME * float(np.abs(right).max())
        if not np.array_equal(one.a, other.a) or not np.allclose(left, times * right, rtol=_SAME, atol=room):
            raise Refusal(f"the file holds another adapter: the matrices for {source} differ; {_ANEW}.")
        if abs(times - 1) > _SAME:
            raise Refusal(f"the adapter's scale is wrong: the file has {times:.2g} times that of training; {_ANEW}.")


def _config(adapter: Path) -> dict[str, Any]:
    """The adapter's configuration; raises Refusal unless it is of LoRA and no more than that."""
    path = adapter / "adapter_config.json"
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
        kind = config["peft_type"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise Refusal(f"{path} is no PEFT configuration ({error}); give a PEFT adapter folder.") from error
    more = [key for key in _MORE if config.get(key)]
    if kind != "LORA":
        problem = f"is of the kind {kind}"
    elif more or config.get("bias", "none") != "none":
        problem = f"has {(more or ['bias'])[0]}"
    elif config.get("init_lora_weights", True) not in _PLAIN_STARTS:
        problem = f"began as {config['init_lora_weights']}, which changes the base"
    else:
        return config
    raise Refusal(f"the adapter {adapter} {problem}, which no GGUF adapter can say; {_WAY_OUT}.")


def _scale(config: dict[str, Any], module: str) -> float:
    rank = _of_module(config.get("rank_pattern") or {}, module, config["r"])
    alpha = _of_module(config.get("alpha_pattern") or {}, module, config["lora_alpha"])
    return alpha / (math.sqrt(rank) if config.get("use_rslora") else rank)


def _of_module(patterns: dict[str, float], module: str, usual: float) -> float:
    """The value whose pattern ends the module's name, as PEFT looks for it; else the usual one."""
    return next((value for key, value in patterns.items() if re.match(rf"(.*\.)?({key})$", module)), usual)
