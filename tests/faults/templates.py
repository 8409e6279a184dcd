"""Chat templates of LLaMA-family models in their published formats, each with a tiny tokenizer that has its tokens."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal


@dataclass(frozen=True)
class Kit:
    """A template and what it stands on. `stops` are the ends that the model's settings name.

    `controls` are special tokens besides BOS and end; `adds_bos` whether the tokenizer puts BOS before every text.
    """

    name: str
    template: str
    end: str  # of a turn, as the template writes it
    bos: str | None = None
    eos: str | None = None  # the tokenizer's, if it is not `end`
    controls: tuple[str, ...] = ()
    adds_bos: bool = False
    system: bool = True  # whether it takes a system message
    style: Literal["bytes", "pieces"] = "bytes"
    header: str = ""  # what asks for the next answer, as the template writes it
    unknown: str = "<unk>"

    @property
    def tokenizer_end(self) -> str:
        return self.eos or self.end

    @property
    def specials(self) -> list[str]:
        names = [self.unknown, self.bos, self.tokenizer_end, self.end, *self.controls]
        return list(dict.fromkeys(name for name in names if name))


_SYSTEM_FIRST = "{% if messages[0]['role'] == 'system' %}{% set system = messages[0]['content'] %}{% endif %}"
_CHATML = (
    "{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\\n' + message['content'] + '<|im_end|>\\n' }}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"
)
_LLAMA_3 = (
    "{% for message in messages %}{{ '<|start_header_id|>' + message['role'] + '<|end_header_id|>\\n\\n'"
    " + message['content'] | trim + '<|eot_id|>' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|start_header_id|>assistant<|end_header_id|>\\n\\n' }}{% endif %}"
)
_LLAMA_3_TOKENS = ("<|start_header_id|>", "<|end_header_id|>")

KITS = (
    Kit(
        "ChatML",
        _CHATML,
        "<|im_end|>",
        eos="<|endoftext|>",
        controls=("<|im_start|>",),
        header="<|im_start|>assistant\n",
    ),
    Kit(
        "SmolLM2",
        "{% for message in messages %}{% if loop.first and messages[0]['role'] != 'system' %}"
        "{{ '<|im_start|>system\\nYou are a helpful AI assistant.<|im_end|>\\n' }}{% endif %}"
        + _CHATML.removeprefix("{% for message in messages %}"),
        "<|im_end|>",
        bos="<|im_start|>",
        header="<|im_start|>assistant\n",
    ),
    Kit(
        "Llama 2",
        "{% if messages[0]['role'] == 'system' %}{% set system = '<<SYS>>\\n' + messages[0]['content'] + "
        "'\\n<</SYS>>\\n\\n' %}{% set turns = messages[1:] %}{% else %}{% set system = '' %}{% set turns = messages %}"
        "{% endif %}{% for message in turns %}{% if message['role'] == 'user' %}"
        "{{ bos_token + '[INST] ' + (system if loop.first else '') + message['content'] | trim + ' [/INST]' }}"
        "{% else %}{{ ' ' + message['content'] | trim + ' ' + eos_token }}{% endif %}{% endfor %}",
        "</s>",
        bos="<s>",
        adds_bos=True,
        style="pieces",
        header=" [/INST]",
    ),
    Kit(
        "Llama 3",
        "{{ bos_token }}" + _LLAMA_3,
        "<|eot_id|>",
        bos="<|begin_of_text|>",
        eos="<|end_of_text|>",
        controls=_LLAMA_3_TOKENS,
        adds_bos=True,
        header="<|start_header_id|>assistant<|end_header_id|>\n\n",
    ),
    Kit(
        "Llama 3.2",
        "{{ bos_token }}{% if not date_string is defined %}{% set date_string = strftime_now('%d %b %Y') %}{% endif %}"
        "{{ '<|start_header_id|>system<|end_header_id|>\\n\\nCutting Knowledge Date: December 2023\\nToday Date: ' "
        "+ date_string + '\\n\\n' }}{% if messages[0]['role'] == 'system' %}{{ messages[0]['content'] | trim }}"
        "{% set messages = messages[1:] %}{% endif %}{{ '<|eot_id|>' }}" + _LLAMA_3,
        "<|eot_id|>",
        bos="<|begin_of_text|>",
        controls=(*_LLAMA_3_TOKENS, "<|eom_id|>"),
        adds_bos=True,
        header="<|start_header_id|>assistant<|end_header_id|>\n\n",
    ),
    Kit(
        "Mistral",
        "{{ bos_token }}{% for message in messages %}{% if message['role'] == 'user' %}"
        "{{ '[INST] ' + message['content'] + ' [/INST]' }}{% elif message['role'] == 'assistant' %}"
        "{{ ' ' + message['content'] + eos_token }}{% else %}{{ raise_exception('no such role') }}{% endif %}"
        "{% endfor %}",
        "</s>",
        bos="<s>",
        adds_bos=True,
        system=False,
        style="pieces",
        header=" [/INST]",
    ),
    Kit(
        "Zephyr",
        "{% for message in messages %}{{ '<|' + message['role'] + '|>\\n' + message['content'] + eos_token + '\\n' }}"
        "{% if loop.last and add_generation_prompt %}{{ '<|assistant|>\\n' }}{% endif %}{% endfor %}",
        "</s>",
        bos="<s>",
        style="pieces",
        header="<|assistant|>\n",
    ),
    Kit(
        "Vicuna",
        "{{ bos_token }}" + _SYSTEM_FIRST + "{{ system or 'A chat between a curious user and an AI assistant.' }}"
        "{% for message in messages %}{% if message['role'] == 'user' %}{{ ' USER: ' + message['content'] }}"
        "{% elif message['role'] == 'assistant' %}{{ ' ASSISTANT: ' + message['content'] + eos_token }}{% endif %}"
        "{% endfor %}{% if add_generation_prompt %}{{ ' ASSISTANT:' }}{% endif %}",
        "</s>",
        bos="<s>",
        adds_bos=True,
        style="pieces",
        header=" ASSISTANT:",
    ),
    Kit(
        "Alpaca",
        "{{ bos_token }}{% for message in messages %}{% if message['role'] == 'system' %}"
        "{{ message['content'] + '\\n\\n' }}"
        "{% elif message['role'] == 'user' %}{{ '### Instruction:\\n' + message['content'] + '\\n\\n' }}{% else %}"
        "{{ '### Response:\\n' + message['content'] + eos_token + '\\n\\n' }}{% endif %}{% endfor %}"
        "{% if add_generation_prompt %}{{ '### Response:\\n' }}{% endif %}",
        "</s>",
        bos="<s>",
        adds_bos=True,
        header="### Response:\n",
    ),
    Kit(
        "OpenChat",
        "{{ bos_token }}{% for message in messages %}{% if message['role'] == 'system' %}{{ message['content'] }}"
        "{% else %}{{ 'GPT4 Correct ' + message['role'].title() + ': ' + message['content'] }}{% endif %}"
        "{{ '<|end_of_turn|>' }}{% endfor %}{% if add_generation_prompt %}{{ 'GPT4 Correct Assistant:' }}{% endif %}",
        "<|end_of_turn|>",
        bos="<s>",
        controls=("</s>", "<|pad_0|>"),
        adds_bos=True,
        style="pieces",
        header="GPT4 Correct Assistant:",
    ),
    Kit(
        "DeepSeek LLM",
        "{{ bos_token }}{% for message in messages %}{% if message['role'] == 'user' %}"
        "{{ 'User: ' + message['content'] + '\\n\\n' }}{% elif message['role'] == 'assistant' %}"
        "{{ 'Assistant: ' + message['content'] + eos_token }}{% else %}{{ message['content'] + '\\n\\n' }}{% endif %}"
        "{% endfor %}{% if add_generation_prompt %}{{ 'Assistant:' }}{% endif %}",
        "<｜end▁of▁sentence｜>",
        bos="<｜begin▁of▁sentence｜>",
        adds_bos=True,
        header="Assistant:",
    ),
    Kit(
        "Yi",
        _CHATML,
        "<|im_end|>",
        bos="<|startoftext|>",
        controls=("<|im_start|>", "<|im_sep|>"),
        style="pieces",
        header="<|im_start|>assistant\n",
    ),
    Kit(
        "Phi 3",
        "{% for message in messages %}{{ '<|' + message['role'] + '|>\\n' + message['content'] + '<|end|>\\n' }}"
        "{% endfor %}{% if add_generation_prompt %}{{ '<|assistant|>\\n' }}{% endif %}",
        "<|end|>",
        bos="<s>",
        eos="<|endoftext|>",
        controls=("<|system|>", "<|user|>", "<|assistant|>"),
        style="pieces",
        header="<|assistant|>\n",
    ),
    Kit(
        "Gemma",
        "{{ bos_token }}{% if messages[0]['role'] == 'system' %}{{ raise_exception('no system role') }}{% endif %}"
        "{% for message in messages %}{{ '<start_of_turn>' + ('model' if message['role'] == 'assistant' else 'user')"
        " + '\\n' + message['content'] | trim + '<end_of_turn>\\n' }}{% endfor %}"
        "{% if add_generation_prompt %}{{ '<start_of_turn>model\\n' }}{% endif %}",
        "<end_of_turn>",
        bos="<bos>",
        eos="<eos>",
        controls=("<start_of_turn>",),
        adds_bos=True,
        system=False,
        style="pieces",
        header="<start_of_turn>model\n",
    ),
)


@dataclass
class Tokens:
    """A tokenizer before it is written, for faults to change."""

    kit: Kit
    template: str
    specials: list[str]
    eos: str | None
    style: Literal["bytes", "pieces"]
    bos_in_front: bool
    end_behind: bool = False
    extra: list[str] = field(default_factory=list)  # added tokens beyond the model's vocabulary
    fallback: bool = True  # bytes for what has no piece
    shift: int = 0  # of every ordinary token's number, as another model's tokenizer has it


def tokens_of(kit: Kit) -> Tokens:
    """The kit's tokenizer as it should be."""
    return Tokens(kit, kit.template, kit.specials, kit.tokenizer_end, kit.style, kit.adds_bos)


def write_tokenizer(folder: Path, tokens: Tokens) -> int:
    """Write a tokenizer of single characters or bytes as a model's folder has it; returns its size."""
    from tokenizers import AddedToken, Tokenizer, models, processors

    letters = _letters(tokens)
    shift = tokens.shift % len(letters)
    letters = letters[shift:] + letters[:shift]
    vocabulary = {token: number for number, token in enumerate([*tokens.specials, *letters])}
    byte_fallback = tokens.style == "pieces" and tokens.fallback
    model = models.BPE(vocab=vocabulary, merges=[], byte_fallback=byte_fallback, unk_token=tokens.kit.unknown)
    tokenizer = Tokenizer(model)
    _set_style(tokenizer, tokens.style)
    tokenizer.add_special_tokens(
        [AddedToken(token, special=True, normalized=False) for token in [*tokens.specials, *tokens.extra]]
    )
    front = [tokens.kit.bos] if tokens.bos_in_front and tokens.kit.bos else []
    behind = [tokens.eos] if tokens.end_behind and tokens.eos else []
    if front or behind:
        around = [(token, tokenizer.token_to_id(token)) for token in [*front, *behind]]
        single = " ".join([*front, "$A", *behind])
        tokenizer.post_processor = processors.TemplateProcessing(single=single, special_tokens=around)
    tokenizer.save(str(folder / "tokenizer.json"))
    config = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "bos_token": tokens.kit.bos,
        "eos_token": tokens.eos,
        "pad_token": tokens.eos,
        "unk_token": tokens.kit.unknown,
        "clean_up_tokenization_spaces": False,
    }
    kept = {key: value for key, value in config.items() if value is not None}
    (folder / "tokenizer_config.json").write_text(json.dumps(kept), encoding="utf-8")
    if tokens.template:
        (folder / "chat_template.jinja").write_text(tokens.template, encoding="utf-8")
    return len(vocabulary)


def _letters(tokens: Tokens) -> list[str]:
    from tokenizers import pre_tokenizers

    if tokens.style == "bytes":
        return sorted(pre_tokenizers.ByteLevel.alphabet())
    return [f"<0x{number:02X}>" for number in range(256)] + [chr(number) for number in range(33, 127)] + ["▁"]


def _set_style(tokenizer: object, style: Literal["bytes", "pieces"]) -> None:
    from tokenizers import Tokenizer, decoders, normalizers, pre_tokenizers

    assert isinstance(tokenizer, Tokenizer)
    if style == "bytes":
        tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
        tokenizer.decoder = decoders.ByteLevel()
    else:  # as SentencePiece's models are converted
        tokenizer.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
        tokenizer.decoder = decoders.Sequence(
            [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
        )
