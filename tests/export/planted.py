"""A tuned tiny model, its export as it should be, and exports that something broke; each fault by its name."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from gguf import GGMLQuantizationType, dequantize, quantize
from safetensors.torch import load_file, save_file
from transformers import LlamaConfig, LlamaForCausalLM

from carrara.export.passport import Form
from carrara.models.load import Loaded, load_model
from carrara.models.sources import TOKENIZER_FILES
from tests.faults.templates import KITS, tokens_of, write_tokenizer
from tests.serve.tiny import model_at
from tests.tiny import CHAT_TEMPLATE, write_tiny_adapter

HEADS, KV_HEADS, WIDTH = 4, 2, 64
Weights = dict[str, torch.Tensor]
LLAMA_3_ROPE = {
    "rope_type": "llama3",
    "rope_theta": 20000.0,
    "factor": 8.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 64,
}


def write_base(folder: Path, seed: int = 0, kit: str = "Llama 3", **settings: Any) -> Path:
    """A random model of two layers, every norm and bias of its own, with the tokenizer of a kit and one token more."""
    folder.mkdir(parents=True)
    tokens = replace(tokens_of(next(each for each in KITS if each.name == kit)), extra=["<|tool|>"])
    write_tokenizer(folder, tokens)
    names = json.loads((folder / "tokenizer.json").read_text(encoding="utf-8"))
    torch.manual_seed(seed)
    config: dict[str, Any] = {
        "vocab_size": len(names["model"]["vocab"]) + 1,
        "hidden_size": WIDTH,
        "intermediate_size": 96,
        "num_hidden_layers": 2,
        "num_attention_heads": HEADS,
        "num_key_value_heads": KV_HEADS,
        "max_position_embeddings": 256,
        "attention_bias": True,
        "tie_word_embeddings": False,
        "rope_parameters": LLAMA_3_ROPE,
        "bos_token_id": 1,
        "eos_token_id": 2,
    }
    network = LlamaForCausalLM(LlamaConfig(**config | settings))
    for parameter in network.parameters():
        parameter.data = parameter.data * 4 + 0.05 * torch.randn_like(parameter)
    network.save_pretrained(folder)
    return folder


@dataclass
class Package:
    """An export on its way: `weights` will be rounded to `form` and written beside the files in `folder`."""

    base: Path
    adapter: Path
    folder: Path
    weights: Weights
    form: Form

    def read(self) -> Loaded:
        """Write the weights and read the package back."""
        stored = {name: rounded(values, self.form) for name, values in self.weights.items()}
        save_file(stored, self.folder / "model.safetensors", metadata={"format": "pt"})
        return load_model(model_at(self.folder, None), "float32")

    def change(self, file: str, **fields: Any) -> None:
        """Change fields of a JSON file; None takes one out."""
        path = self.folder / file
        content = json.loads(path.read_text(encoding="utf-8")) | fields
        path.write_text(json.dumps({k: v for k, v in content.items() if v is not None}), encoding="utf-8")

    def base_weights(self) -> Weights:
        return load_file(self.base / "model.safetensors")

    def merged(self, times: float, base: Path | None = None) -> Weights:
        """The weights with the adapter merged so many times, by PEFT, into `base`."""
        start, end = load_file((base or self.base) / "model.safetensors"), merged(base or self.base, self.adapter)
        start = {name: values.float() for name, values in start.items()}
        return {name: start[name] + times * (end[name] - start[name]) for name in end}


def package(base: Path, adapter: Path, folder: Path, form: Form = "safetensors") -> Package:
    """The export as it should be."""
    folder.mkdir(parents=True)
    for name in (*TOKENIZER_FILES, "config.json", "generation_config.json"):
        if (base / name).is_file():
            shutil.copy(base / name, folder)
    return Package(base, adapter, folder, merged(base, adapter), form)


def merged(base: Path, adapter: Path) -> Weights:
    """What PEFT merges."""
    network = load_model(model_at(base, adapter), "float32").network.merge_and_unload()
    tied = {"lm_head.weight"} if network.config.tie_word_embeddings else set[str]()
    return {name: values.clone() for name, values in network.state_dict().items() if name not in tied}


def rounded(values: torch.Tensor, form: str) -> torch.Tensor:
    """Weights as a format gives them back."""
    if form in ("f16", "bf16"):
        return (values.half() if form == "f16" else values.bfloat16()).float()
    if form in ("q8_0", "q4_0") and values.dim() == 2:
        kind = GGMLQuantizationType[form.upper()]
        return torch.from_numpy(dequantize(quantize(values.numpy(), kind), kind))
    return values.contiguous()


def adapter_on(base: Path, target: Path, **lora: Any) -> Path:
    """A random adapter on every linear module but the head."""
    return write_tiny_adapter(base, target, width=WIDTH, **{"r": 4, "target_modules": "all-linear"} | lora)


# ---- faults ----


def _no_op(package: Package) -> None:
    package.weights = package.base_weights()


def _half_scale(package: Package) -> None:
    package.weights = package.merged(0.5)


def _root_of_rank(package: Package) -> None:
    package.weights = package.merged(2.0**0.5)


def _twice(package: Package) -> None:
    package.weights = package.merged(2)


def _other_base(package: Package) -> None:
    package.weights = package.merged(1, write_base(package.folder.with_name("another"), seed=9))


def _one_layer_without(package: Package) -> None:
    base = package.base_weights()
    package.weights |= {name: values for name, values in base.items() if ".layers.1." in name}


def _dropped_layer(package: Package) -> None:
    package.weights = {name: values for name, values in package.weights.items() if ".layers.1." not in name}
    package.change("config.json", num_hidden_layers=1)


def _no_bos(package: Package) -> None:
    package.change("tokenizer.json", post_processor=None)


def _template_without_bos(package: Package) -> None:
    _template(package, _template_of(package).replace("{{ bos_token }}", ""))


def _double_bos(package: Package) -> None:
    _template(package, "{{ bos_token }}" + _template_of(package))


def _tokenizer_doubles_bos(package: Package) -> None:
    content = json.loads((package.folder / "tokenizer.json").read_text(encoding="utf-8"))
    processor = content["post_processor"]
    processor["single"] = [processor["single"][0], *processor["single"]]
    package.change("tokenizer.json", post_processor=processor)


def _swapped_template(package: Package) -> None:
    _template(package, CHAT_TEMPLATE)


def _lost_template(package: Package) -> None:
    (package.folder / "chat_template.jinja").unlink()


def _template_of(package: Package) -> str:
    return (package.folder / "chat_template.jinja").read_text(encoding="utf-8")


def _template(package: Package, text: str) -> None:
    (package.folder / "chat_template.jinja").write_text(text, encoding="utf-8")


def _transposed_head(package: Package) -> None:
    head = package.weights["lm_head.weight"]
    package.weights["lm_head.weight"] = head.T.reshape(head.shape)


def _transposed_square(package: Package) -> None:
    name = "model.layers.0.self_attn.o_proj.weight"
    package.weights[name] = package.weights[name].T


def _tied_head(package: Package) -> None:
    package.weights["lm_head.weight"] = package.weights["model.embed_tokens.weight"].clone()


def _rope_base(package: Package) -> None:
    package.change("config.json", rope_parameters=LLAMA_3_ROPE | {"rope_theta": 10000.0})


def _no_rope_scaling(package: Package) -> None:
    package.change("config.json", rope_parameters={"rope_type": "default", "rope_theta": 20000.0})


def _rope_factor(package: Package) -> None:
    package.change("config.json", rope_parameters=LLAMA_3_ROPE | {"factor": 4.0})


def _not_reordered_back(package: Package) -> None:
    for name, values in package.weights.items():
        if heads := {"q_proj": HEADS, "k_proj": KV_HEADS}.get(name.split(".")[-2]):
            halves = values.reshape(heads, 2, -1, *values.shape[1:]).transpose(1, 2)
            package.weights[name] = halves.reshape(values.shape)


def _stale_tokenizer(package: Package) -> None:
    content = json.loads((package.folder / "tokenizer.json").read_text(encoding="utf-8"))
    added = [token for token in content["added_tokens"] if token["content"] != "<|tool|>"]
    package.change("tokenizer.json", added_tokens=added)


def _wrong_eos(package: Package) -> None:
    package.change("tokenizer_config.json", eos_token="<|start_header_id|>")


def _wrong_end(package: Package) -> None:
    package.change("generation_config.json", eos_token_id=7)


def _lost_norms(package: Package) -> None:
    package.weights |= {name: torch.ones_like(values) for name, values in package.weights.items() if "norm" in name}


def _rounded_to(stored: str) -> Callable[[Package], None]:
    def fault(package: Package) -> None:
        package.weights = {name: rounded(values, stored) for name, values in package.weights.items()}

    return fault


def _epsilon(package: Package) -> None:
    package.change("config.json", rms_norm_eps=1e-3)


def _one_number(package: Package) -> None:
    """No output shows it: a number of one token's embedding that nothing here writes."""
    package.weights["model.embed_tokens.weight"][200, 3] += 0.5


_FILES: tuple[Form, ...] = ("safetensors",)  # faults beside the weights, which know no form
_ALL: tuple[Form, ...] = ("safetensors", "q4_0")


@dataclass(frozen=True)
class Fault:
    """What breaks a package, how the passport's sentence must begin, and the forms in which it is planted."""

    breaks: Callable[[Package], None]
    named: str
    forms: tuple[Form, ...] = _ALL


FAULTS: Mapping[str, Fault] = {
    "no-op merge": Fault(_no_op, "the adapter is not in the export"),
    "half the scale": Fault(_half_scale, "the adapter was merged at 0.5 times its scale"),
    "rsLoRA's root at another rank": Fault(_root_of_rank, "the adapter was merged at 1.4 times its scale"),
    "merged twice": Fault(_twice, "the adapter was merged twice"),
    "another base": Fault(_other_base, "the adapter was merged into another base"),
    "a layer without its adapter": Fault(_one_layer_without, "the adapter was left out in a part of the export"),
    "a layer left out": Fault(_dropped_layer, "a layer was left out"),
    "tokenizer adds no BOS": Fault(_no_bos, "BOS is missing: a text", _FILES),
    "template without BOS": Fault(_template_without_bos, "BOS is missing: a chat", _FILES),
    "double BOS of the template": Fault(_double_bos, "there is a double BOS: a chat", _FILES),
    "double BOS of the tokenizer": Fault(_tokenizer_doubles_bos, "there is a double BOS: a text", _FILES),
    "swapped template": Fault(_swapped_template, "the chat template is another", _FILES),
    "lost template": Fault(
        _lost_template, "the chat template is another: the export renders a conversation as nothing"
    ),
    "transposed head": Fault(_transposed_head, "weights were transposed: lm_head.weight"),
    "transposed square": Fault(_transposed_square, "weights were transposed: model.layers.0.self_attn.o_proj.weight"),
    "head tied wrongly": Fault(_tied_head, "the head is wrong"),
    "rope base": Fault(_rope_base, "the rope base is 10000.0 in the export and 20000.0", _FILES),
    "lost rope scaling": Fault(_no_rope_scaling, "the rope scaling 'llama3' was lost", _FILES),
    "rope factor": Fault(_rope_factor, "the rope scaling was changed: factor is 4.0", _FILES),
    "unpermuted q and k": Fault(_not_reordered_back, "the rows of queries and keys are in the wrong order for rope"),
    "stale tokenizer": Fault(_stale_tokenizer, "the tokenizer is stale", _FILES),
    "wrong EOS": Fault(_wrong_eos, "the wrong end (EOS) token was written", _FILES),
    "wrong end in the settings": Fault(_wrong_end, "the end tokens are wrong", _FILES),
    "lost norms": Fault(
        _lost_norms, "weights were lost: model.layers.0.input_layernorm.weight and 4 more hold nothing but 1"
    ),
    "q4_0 sold as q8_0": Fault(_rounded_to("q4_0"), "the rounding is too coarse for q8_0", ("q8_0",)),
    "through bfloat16": Fault(_rounded_to("bf16"), "the rounding is too coarse", ("f16", "q8_0")),
    "epsilon": Fault(_epsilon, "the configuration was changed: rms_norm_eps is 0.001", _FILES),
    "one number": Fault(_one_number, "weights were changed: model.embed_tokens.weight"),
}
