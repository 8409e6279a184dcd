"""What a model's files tell: the system role, a sane template, tools, and where it can go; no weights are loaded."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from carrara.data.render.template import chat_template
from carrara.errors import Refusal
from carrara.models import Model, resolve_model
from carrara.models.load import load_tokenizer
from carrara.progress import Silent
from carrara.scorecard.ease_of_use.abilities import (
    ability_figures,
    own_system_message,
    require_system_role,
    system_role,
    template_faults,
)
from carrara.scorecard.figure import Figure
from carrara.workspace import Workspace
from tests.models.tiny_embedder import write_tiny_embedder
from tests.tiny import CHAT_TEMPLATE, write_tiny_adapter

_END = "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
_ONE = "<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n"
_ALONE = "{% for m in messages %}" + _ONE + "{% endfor %}"
_DROPS = "{% for m in messages %}{% if m.role != 'system' %}" + _ONE + "{% endif %}{% endfor %}" + _END
_DEFAULT = "{% if messages[0].role != 'system' %}<|im_start|>system\nYou are Tiny.<|im_end|>\n{% endif %}"
_REFUSES = "{% if messages[0].role == 'system' %}{{ raise_exception('no system role') }}{% endif %}" + CHAT_TEMPLATE
_MERGES = (  # as templates of Mistral do
    "{% if messages[0].role == 'system' %}{% set said = messages[0].content + '\n\n' %}{% set rest = messages[1:] %}"
    "{% else %}{% set said = '' %}{% set rest = messages %}{% endif %}"
    "{% for m in rest %}<|im_start|>{{ m.role }}\n{{ said if loop.first else '' }}{{ m.content }}<|im_end|>\n"
    "{% endfor %}" + _END
)


def _with_template(folder: Path, target: Path, template: str | None) -> Path:
    shutil.copytree(folder, target)
    if template is None:
        (target / "chat_template.jinja").unlink()
    else:
        (target / "chat_template.jinja").write_text(template, encoding="utf-8")
    return target


@pytest.fixture
def model_with(workspace: Workspace, tiny_folder: Path, tmp_path: Path):
    def make(template: str | None) -> Model:
        return resolve_model(workspace, str(_with_template(tiny_folder, tmp_path / "model", template)), Silent())

    return make


def _by_measure(model: Model) -> dict[str, Figure]:
    return {figure.measure: figure for figure in ability_figures(model)}


@pytest.mark.parametrize(
    ("template", "role"),
    [
        (CHAT_TEMPLATE, "a turn of its own"),
        (_DEFAULT + CHAT_TEMPLATE, "a turn of its own"),
        (_MERGES, "part of the first question"),
        (_DROPS, "not shown"),
        (_REFUSES, "refused"),
        (None, "no template"),
    ],
    ids=["own", "default", "merged", "dropped", "refused", "none"],
)
def test_where_a_system_message_stands(model_with, template: str | None, role: str) -> None:
    tokenizer = load_tokenizer(model_with(template))
    assert system_role(tokenizer) == role
    if role in ("not shown", "refused", "no template"):
        with pytest.raises(Refusal, match="cannot be given a role"):
            require_system_role(tokenizer)
    else:
        require_system_role(tokenizer)


def test_a_model_without_a_template_is_not_said_to_have_one(model_with) -> None:
    figure = _by_measure(model_with(None))["system role"]
    assert (figure.value, figure.meaning[:24]) == ("no template", "It has no chat template,")


@pytest.mark.parametrize(
    ("template", "said"),
    [(CHAT_TEMPLATE, ""), (_DEFAULT + CHAT_TEMPLATE, "You are Tiny."), (_REFUSES, ""), (_MERGES, "")],
)
def test_a_system_message_put_in_unasked_is_told(model_with, template: str, said: str) -> None:
    model = model_with(template)
    assert own_system_message(chat_template(load_tokenizer(model))) == said
    assert _by_measure(model)["system message of its own"].value == (said or "none")


@pytest.mark.parametrize(
    ("template", "fault"),
    [
        (CHAT_TEMPLATE, None),
        (_ALONE, "asks for no answer"),
        (CHAT_TEMPLATE.replace("<|im_end|>", ""), "no end-of-turn token"),
        (CHAT_TEMPLATE.replace("message['content']", "message['content'] | upper"), "changes the answer's text"),
        (CHAT_TEMPLATE.replace("messages %}", "messages[-2:] %}"), "turn by turn"),
    ],
)
def test_a_template_that_is_not_sane_is_told_why(model_with, template: str, fault: str | None) -> None:
    model = model_with(template)
    faults = template_faults(chat_template(load_tokenizer(model)))
    assert bool(faults) == (fault is not None)
    figure = _by_measure(model)["template sane"]
    assert figure.value is (fault is None)
    assert fault is None or fault in figure.meaning


def test_tools_are_known_by_a_template_that_shows_them(model_with, tmp_path: Path) -> None:
    tools = "{% if tools %}{{ tools | tojson }}\n{% endif %}"
    calls = "{% if message.tool_calls %}{{ message.tool_calls | tojson }}{% endif %}"
    shows = tools + CHAT_TEMPLATE.replace("{{ message['content'] }}", "{{ message['content'] }}" + calls)
    assert _by_measure(model_with(shows))["tool calls"].value is True
    shutil.rmtree(tmp_path / "model")
    figure = _by_measure(model_with(CHAT_TEMPLATE))["tool calls"]
    assert figure.value is False
    assert "would vanish unseen" in figure.meaning


def test_where_a_model_can_go_is_told_with_the_reason_against(
    workspace: Workspace, tiny_model: Model, tiny_folder: Path, tmp_path: Path
) -> None:
    """The tiny tokenizer has no merges, so that there is no GGUF file of it."""
    found = _by_measure(tiny_model)
    assert found["context"].value == 256
    assert (found["engines"].value, found["formats"].value) == ("transformers", "safetensors")
    assert "not llama.cpp: " in found["engines"].meaning
    assert "has no merges" in found["formats"].meaning
    adapter = write_tiny_adapter(tiny_folder, tmp_path / "adapter")
    tuned = resolve_model(workspace, str(adapter), Silent())
    assert _by_measure(tuned)["formats"].value == "safetensors, adapter"


def test_an_adapter_that_cannot_be_merged_leaves_as_an_adapter_alone(
    workspace: Workspace, tiny_folder: Path, tmp_path: Path
) -> None:
    adapter = write_tiny_adapter(tiny_folder, tmp_path / "adapter")
    config = adapter / "adapter_config.json"
    changed = json.loads(config.read_text(encoding="utf-8")) | {"peft_type": "PREFIX_TUNING"}
    config.write_text(json.dumps(changed), encoding="utf-8")
    tuned = resolve_model(workspace, str(adapter), Silent())
    assert _by_measure(tuned)["formats"].value == "adapter"


@pytest.mark.model
def test_the_embedded_model_goes_everywhere(smollm: Model) -> None:
    found = _by_measure(smollm)
    assert found["engines"].value == "transformers, llama.cpp"
    assert found["formats"].value == "safetensors, gguf, ollama"
    assert found["system role"].value == "a turn of its own"
    assert str(found["system message of its own"].value).startswith("You are a helpful AI assistant named SmolLM")
    assert found["template sane"].value is True
    assert found["tool calls"].value is False


def test_an_embedder_is_no_one_to_talk_to(workspace: Workspace, tmp_path: Path) -> None:
    embedder = resolve_model(workspace, str(write_tiny_embedder(tmp_path / "embedder")), Silent())
    with pytest.raises(Refusal, match="nobody can talk with it"):
        ability_figures(embedder)
