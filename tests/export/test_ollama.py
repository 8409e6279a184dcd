"""Ollama's template writes what the model's own does, for all families that its language can express."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from tokenizers.processors import TemplateProcessing
from transformers import AutoTokenizer

from carrara.errors import Refusal
from carrara.export.gguf import write_gguf
from carrara.export.ollama import PROBES, Chat, leave_bos_to_template, modelfile, template_pieces
from tests.export.llama import Llama, make_folder
from tests.serve.tiny import make_tokenizer, model_at

CHATML = (
    "{% for message in messages %}{% if loop.first and messages[0]['role'] != 'system' %}"
    "{{ '<|im_start|>system\nYou are a helpful AI assistant<|im_end|>\n' }}{% endif %}"
    "{{'<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>' + '\n'}}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
LLAMA_2 = (
    "{% if messages[0]['role'] == 'system' %}{% set loop_messages = messages[1:] %}"
    "{% set system_message = messages[0]['content'] %}{% else %}{% set loop_messages = messages %}"
    "{% set system_message = false %}{% endif %}{% for message in loop_messages %}"
    "{% if (message['role'] == 'user') != (loop.index0 % 2 == 0) %}{{ raise_exception('roles must alternate') }}"
    "{% endif %}{% if loop.index0 == 0 and system_message != false %}"
    "{% set content = '<<SYS>>\\n' + system_message + '\\n<</SYS>>\\n\\n' + message['content'] %}{% else %}"
    "{% set content = message['content'] %}{% endif %}{% if message['role'] == 'user' %}"
    "{{ bos_token + '[INST] ' + content.strip() + ' [/INST]' }}{% elif message['role'] == 'assistant' %}"
    "{{ ' '  + content.strip() + ' ' + eos_token }}{% endif %}{% endfor %}"
)
LLAMA_3 = (
    "{% for message in messages %}{% set content = '<|start_header_id|>' + message['role'] + '<|end_header_id|>\n\n'"
    "+ message['content'] | trim + '<|eot_id|>' %}{% if loop.index0 == 0 %}{% set content = bos_token + content %}"
    "{% endif %}{{ content }}{% endfor %}{% if add_generation_prompt %}"
    "{{ '<|start_header_id|>assistant<|end_header_id|>\n\n' }}{% endif %}"
)
ZEPHYR = (
    "{% for message in messages %}\n{% if message['role'] == 'user' %}\n"
    "{{ '<|user|>\n' + message['content'] + eos_token }}\n{% elif message['role'] == 'system' %}\n"
    "{{ '<|system|>\n' + message['content'] + eos_token }}\n{% elif message['role'] == 'assistant' %}\n"
    "{{ '<|assistant|>\n'  + message['content'] + eos_token }}\n{% endif %}\n"
    "{% if loop.last and add_generation_prompt %}\n{{ '<|assistant|>' }}\n{% endif %}\n{% endfor %}"
)
MISTRAL = (  # of the third version of Mistral 7B Instruct
    "{{ bos_token }}{% for message in messages %}{% if message['role'] == 'user' %}"
    "{{ '[INST] ' + message['content'] + '[/INST]' }}{% elif message['role'] == 'assistant' %}"
    "{{ ' ' + message['content'] | trim + eos_token }}{% else %}{{ message['content'] + '\n\n' }}{% endif %}"
    "{% endfor %}"
)
TRIMMING = {"llama-2": LLAMA_2, "llama-3": LLAMA_3, "mistral": MISTRAL}
_UNTRIMMED = {name: text.replace(" | trim", "").replace(".strip()", "") for name, text in TRIMMING.items()}
FAMILIES = {"chatml": CHATML, "zephyr": ZEPHYR, **_UNTRIMMED}
OTHER_CHATS: tuple[Chat, ...] = (
    (("user", ""),),
    (("system", "Sei kurz. 短く"), ("user", "{{ if }}"), ("assistant", '"""'), ("user", "\\n `x` %}")),
    (*((role, f"{n} {role}") for n in range(4) for role in ("user", "assistant")), ("user", "last")),
)


def _tokenizer(folder: Path, template: str) -> Any:
    make_tokenizer(folder)
    (folder / "chat_template.jinja").write_text(template, encoding="utf-8")
    return AutoTokenizer.from_pretrained(folder)


def _own(tokenizer: Any, chat: Chat) -> str:
    turns = [{"role": role, "content": content} for role, content in chat]
    return tokenizer.apply_chat_template(turns, tokenize=False, add_generation_prompt=True)


@pytest.mark.parametrize("family", FAMILIES)
def test_the_template_writes_what_the_models_own_writes(tmp_path: Path, family: str) -> None:
    tokenizer = _tokenizer(tmp_path, FAMILIES[family])
    written = template_pieces(tokenizer).go_template()
    for chat in (*PROBES, *OTHER_CHATS):
        assert filled_in(written, chat) == _own(tokenizer, chat)


def test_an_answer_begun_is_gone_on_with(tmp_path: Path) -> None:
    written = template_pieces(_tokenizer(tmp_path, FAMILIES["llama-3"])).go_template()
    assert filled_in(written, (("user", "a"), ("assistant", "b"))).endswith("assistant<|end_header_id|>\n\nb")


@pytest.mark.parametrize(
    ("template", "words"),
    [
        (CHATML.replace("message['content'] +", "message['content'] | upper +"), "changes a message"),
        (CHATML + "{{ messages | length }}", "does more than write something"),
        (CHATML.replace("message in messages", "message in messages[-1:]"), "leaves it away"),
        ("{{ raise_exception('no') }}", "refuses this conversation: no"),
    ],
    ids=["changes", "counts", "forgets", "raises"],
)
def test_a_template_that_cannot_be_expressed_is_refused(tmp_path: Path, template: str, words: str) -> None:
    with pytest.raises(Refusal, match=words):
        template_pieces(_tokenizer(tmp_path, template))


@pytest.mark.parametrize("family", TRIMMING)
def test_a_template_that_trims_is_refused_with_the_reason(tmp_path: Path, family: str) -> None:
    with pytest.raises(Refusal, match=r"trims its messages, which Ollama's language cannot.*; export --to gguf"):
        template_pieces(_tokenizer(tmp_path, TRIMMING[family]))


def test_the_modelfile_names_the_file_the_template_and_the_end(tmp_path: Path) -> None:
    folder = make_folder(tmp_path / "model")
    lines = modelfile(model_at(folder, None), "model.gguf").splitlines()
    template = template_pieces(AutoTokenizer.from_pretrained(folder)).go_template()
    assert lines == [
        "FROM ./model.gguf",
        f'TEMPLATE """{template}"""',
        'PARAMETER stop "<|im_end|>"',
        "PARAMETER num_ctx 256",
        "PARAMETER repeat_penalty 1",
    ]


def test_bos_is_left_to_the_template(tmp_path: Path) -> None:
    folder = make_folder(tmp_path / "model")
    tokenizer: Any = AutoTokenizer.from_pretrained(folder)
    tokenizer.backend_tokenizer.post_processor = TemplateProcessing(
        single="<|im_start|> $A", special_tokens=[("<|im_start|>", 0)]
    )
    tokenizer.save_pretrained(folder)
    path = tmp_path / "m.gguf"
    write_gguf(folder, path, "f16")
    before = path.read_bytes()
    assert Llama(path).encode("It", special=True)[0] == 0
    leave_bos_to_template(path)
    assert Llama(path).encode("It", special=True)[0] != 0
    assert sum(a != b for a, b in zip(before, path.read_bytes(), strict=True)) == 1


# ---- Go's template language, as much of it as is written ----

_ACTION = re.compile(r'\{\{ ((?:"(?:\\.|[^"\\])*"|[^"{}])+) \}\}')


def filled_in(template: str, chat: Chat) -> str:
    """The text that Go's `text/template` makes of a template of actions alone."""
    actions = _ACTION.findall(template)
    assert "".join(f"{{{{ {action} }}}}" for action in actions) == template
    nodes, rest = _parse(iter(actions))
    assert rest == ""
    return _run(nodes, {"Messages": chat})


def _parse(actions: Iterator[str]) -> tuple[list[Any], str]:
    """The actions up to the one that ends the block, which comes second; what has blocks is a list of them."""
    nodes: list[Any] = []
    for action in actions:
        if action == "end" or action.startswith("else"):
            return nodes, action
        if not action.startswith(("if ", "range ")):
            nodes.append(action)
            continue
        blocks: list[tuple[str, list[Any]]] = []
        rest = action
        while rest != "end":
            block, after = _parse(actions)
            blocks.append((rest.removeprefix("else").strip(), block))
            rest = after
        nodes.append(blocks)
    return nodes, ""


def _run(nodes: Sequence[Any], names: dict[str, Any]) -> str:
    text = ""
    for node in nodes:
        if isinstance(node, list) and node[0][0] == "range .Messages":
            for role, content in names["Messages"]:
                names |= {".Role": role, ".Content": content}
                text += _run(node[0][1], names)
        elif isinstance(node, list):
            text += _run(next((block for condition, block in node if _holds(condition, names)), []), names)
        elif found := re.fullmatch(r"(\$\w+) :?= (.+)", node):
            names[found[1]] = _value(found[2], names)
        else:
            text += _value(node, names)
    return text


def _holds(condition: str, names: dict[str, Any]) -> bool:
    if not condition:
        return True
    _, verb, left, right = condition.split(" ")
    return (_value(left, names) == _value(right, names)) == (verb == "eq")


def _value(word: str, names: dict[str, Any]) -> str:
    return json.loads(word) if word.startswith('"') else names[word]
