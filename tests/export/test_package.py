"""The stage: each form holds what it should, is made once, and leaves nothing when it cannot be made."""

from __future__ import annotations

import hashlib
import json
import pkgutil
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM

from carrara.errors import Refusal
from carrara.export import gguf
from carrara.export.card import base_name
from carrara.export.merge import merge
from carrara.export.package import TARGETS, Target, adapter_gguf, base_gguf, export_model, merged_gguf
from carrara.models import Model, resolve_model
from carrara.models.gguf import convert_gguf
from carrara.progress import Silent
from carrara.workspace import Draft, Workspace
from tests.export.llama import IDS, Llama, make_folder, write_sentencepiece
from tests.tiny import write_tiny_adapter

FILES: dict[Target, set[str]] = {
    "safetensors": {"README.md", "config.json", "generation_config.json", "model.safetensors", "tokenizer.json",
                    "tokenizer_config.json", "chat_template.jinja"},
    "adapter": {"README.md", "adapter_config.json", "adapter_model.safetensors"},
    "gguf": {"model.gguf"},
    "gguf-adapter": {"adapter.gguf"},
    "ollama": {"model.gguf", "Modelfile"},
}  # fmt: skip


@pytest.fixture
def model(workspace: Workspace, tmp_path: Path) -> Model:
    base = make_folder(tmp_path / "base")
    adapter = write_tiny_adapter(base, tmp_path / "adapter", width=64, r=4, lora_alpha=8)
    return resolve_model(workspace, str(adapter), Silent())


@pytest.mark.parametrize("target", TARGETS)
def test_each_form_holds_its_files(workspace: Workspace, model: Model, tmp_path: Path, target: Target) -> None:
    (tmp_path / "out").mkdir()  # empty, so it may be filled
    package = export_model(workspace, model, target, "f16", tmp_path / "out", Silent())
    files = FILES[target] | {"passport.json"}
    assert {*package.files} == {path.name for path in (tmp_path / "out").iterdir()} == files
    told = package.to_json()
    assert told["files"] == sorted(files)
    assert told["passport"] == json.loads((tmp_path / "out" / "passport.json").read_text(encoding="utf-8"))
    assert told["passport"]["holds"] is True
    assert told["passport"]["model"] == {"model": model.digest, "adapter": model.adapter_digest}
    assert len(told["passport"]["checks"]) == 14
    assert {path.name for path in tmp_path.iterdir()} == {"base", "adapter", "workspace", "out"}


def test_merged_and_separate_answers_are_the_same(workspace: Workspace, model: Model, tmp_path: Path) -> None:
    base, adapter = base_gguf(workspace, model, "f16", Silent()), adapter_gguf(workspace, model, Silent())
    merged = merged_gguf(workspace, model, "f16", Silent())
    expected = Llama(base, [adapter]).greedy(IDS, 8)[0]
    assert Llama(merged).greedy(IDS, 8)[0] == expected != Llama(base).greedy(IDS, 8)[0]
    export_model(workspace, model, "safetensors", "f16", tmp_path / "out", Silent())
    network: Any = AutoModelForCausalLM.from_pretrained(tmp_path / "out", dtype=torch.float32)
    written = network.generate(torch.tensor([IDS]), max_new_tokens=8, do_sample=False, eos_token_id=None)
    assert written[0, len(IDS) :].tolist() == expected


def test_the_same_is_made_once_and_what_differs_anew(workspace: Workspace, model: Model) -> None:
    paths = [
        base_gguf(workspace, model, "f16", Silent()),
        base_gguf(workspace, model, "q8_0", Silent()),
        merged_gguf(workspace, model, "f16", Silent()),
        adapter_gguf(workspace, model, Silent()),
    ]
    before = [path.stat().st_mtime_ns for path in paths]
    bare = replace(model, adapter=None, adapter_digest=None, name="another name")
    assert base_gguf(workspace, bare, "f16", Silent()) == merged_gguf(workspace, bare, "f16", Silent()) == paths[0]
    assert merged_gguf(workspace, model, "f16", Silent()) == paths[2]
    assert adapter_gguf(workspace, model, Silent()) == paths[3]
    assert [path.stat().st_mtime_ns for path in paths] == before
    assert len(workspace.list("gguf")) == len({*paths}) == 4
    assert all({path.name for path in paths[2].parent.iterdir()} == {"model.gguf", "artefact.json"} for _ in paths)


def test_a_file_that_was_changed_since_it_was_made_is_refused(workspace: Workspace, model: Model) -> None:
    path = adapter_gguf(workspace, model, Silent())
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    with pytest.raises(Refusal, match=r"adapter\.gguf was changed since it was made; remove that folder"):
        adapter_gguf(workspace, model, Silent())
    shutil.rmtree(path.parent)
    assert adapter_gguf(workspace, model, Silent()).read_bytes()[-1] == content[-1] ^ 1


def test_what_was_exported_is_read_again(workspace: Workspace, model: Model, tmp_path: Path) -> None:
    export_model(workspace, model, "gguf", "f16", tmp_path / "out", Silent())
    export_model(workspace, model, "safetensors", "f16", tmp_path / "whole", Silent())
    (tmp_path / "back").mkdir()
    convert_gguf(tmp_path / "out/model.gguf", tmp_path / "back")
    whole, back = (load_file(tmp_path / place / "model.safetensors") for place in ("whole", "back"))
    assert all(
        torch.equal(whole[name].half().float() if whole[name].dim() > 1 else whole[name], back[name]) for name in whole
    )
    assert resolve_model(workspace, str(tmp_path / "whole"), Silent()).path.is_dir()


def test_the_adapter_is_copied_as_it_is_but_for_the_name_of_its_base(
    workspace: Workspace, model: Model, tmp_path: Path
) -> None:
    export_model(workspace, model, "adapter", "f16", tmp_path / "out", Silent())
    weights = "adapter_model.safetensors"
    assert (tmp_path / "out" / weights).read_bytes() == (tmp_path / "adapter" / weights).read_bytes()
    before, after = (json.loads((tmp_path / at / "adapter_config.json").read_text()) for at in ("adapter", "out"))
    assert before["base_model_name_or_path"] == str(tmp_path / "base")
    assert after == before | {"base_model_name_or_path": "base"}
    card = (tmp_path / "out/README.md").read_text(encoding="utf-8")
    pulled = resolve_model(workspace, str(tmp_path / "base"), Silent())  # as `carrara models pull` does
    assert f"belongs to base alone: `carrara models pull` prints the digest `{pulled.digest}` for that base" in card
    for path in (tmp_path / "base").glob("*.safetensors"):
        assert f"| {path.name} | `{hashlib.sha256(path.read_bytes()).hexdigest()}` |" in card
    assert 'PeftModel.from_pretrained(base, "path/of/this/folder")' in card
    assert "library_name: peft" in card
    assert not any(str(tmp_path) in path.read_text() for path in (tmp_path / "out").glob("*[!s]"))


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("smollm2-135m-instruct", "HuggingFaceTB/SmolLM2-135M-Instruct"),
        ("hub:somebody/marble-1b@v2", "somebody/marble-1b"),
        ("/home/somebody/models/marble/", "marble"),
    ],
)
def test_the_base_is_called_what_others_know_it_by(workspace: Workspace, model: Model, name: str, told: str) -> None:
    assert base_name(workspace, replace(model, source=replace(model.source, name=name))) == told


def test_the_card_tells_what_the_model_is_and_no_path(workspace: Workspace, model: Model, tmp_path: Path) -> None:
    export_model(workspace, model, "safetensors", "f16", tmp_path / "out", Silent())
    card = (tmp_path / "out/README.md").read_text(encoding="utf-8")
    assert card.startswith("---\n")
    assert "base, tuned with the method lora." in card
    assert "AutoModelForCausalLM.from_pretrained" in card
    assert f"| the adapter merged here | | `{model.adapter_digest}` |" in card
    assert f"| {model.source.reference} | base | `{model.source.digest}` |" in card
    assert str(tmp_path) not in card


def test_the_card_of_a_run_tells_what_it_learned_from(workspace: Workspace, model: Model, tmp_path: Path) -> None:
    def fill_dataset(draft: Draft) -> None:
        draft.summary.update(splits={"train": 1234, "test": 5})

    def fill_run(draft: Draft) -> None:
        assert model.adapter is not None
        shutil.copytree(model.adapter, draft.path, dirs_exist_ok=True)
        draft.summary.update(method="lora")

    dataset = workspace.make("dataset", {}, fill_dataset, name="/home/somebody/answers.jsonl")
    inputs = {"model": model.source, "dataset": dataset}
    run = workspace.make("run", {}, fill_run, name="base-lora", inputs=inputs)
    tuned = resolve_model(workspace, run.reference, Silent())
    export_model(workspace, tuned, "safetensors", "f16", tmp_path / "out", Silent(), examined=False)
    card = (tmp_path / "out/README.md").read_text(encoding="utf-8")
    assert "# base-lora" in card
    assert "It learned from answers.jsonl: 1,234 rows." in card
    assert f"| {run.reference} | base-lora | `{run.digest}` |" in card
    assert "somebody" not in card


# ---- files that chat and serve answer from ----

FAULTS: dict[str, tuple[str, Any, str]] = {
    "rope base": (
        "carrara.export.gguf.hyperparameters",
        lambda original: lambda config: original(config) | {"llama.rope.freq_base": 50000.0},
        "the rope base is 50000.0 in the export and 10000.0",
    ),
    "template": (
        "carrara.export.gguf.tokenizer_fields",
        lambda original: lambda *given: original(*given) | {"tokenizer.chat_template": "{{ messages[0].content }}"},
        "the chat template is another",
    ),
    "end": (
        "carrara.export.gguf.tokenizer_fields",
        lambda original: lambda *given: original(*given) | {"tokenizer.ggml.eos_token_id": 5},
        r"the wrong end \(EOS\) token was written",
    ),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_base_file_that_went_wrong_is_refused_by_its_step_and_not_kept(
    workspace: Workspace, model: Model, monkeypatch: pytest.MonkeyPatch, fault: str
) -> None:
    place, breaks, named = FAULTS[fault]
    monkeypatch.setattr(place, breaks(pkgutil.resolve_name(place)))
    with pytest.raises(Refusal, match=named):
        base_gguf(workspace, model, "q4_0", Silent())
    assert not workspace.list("gguf")


@pytest.mark.parametrize(
    ("breaks", "named"),
    [
        (lambda pair: replace(pair, scale=2 * pair.scale), "the file has 2 times that of training"),
        (lambda pair: replace(pair, b=-pair.b), "the file has -1 times that of training"),
        (lambda pair: replace(pair, a=pair.a[::-1]), "another adapter: the matrices for model.layers.0"),
        (lambda pair: replace(pair, b=pair.b[::-1]), "another adapter: the matrices for model.layers.0"),
        (lambda pair: replace(pair, source=pair.source.replace("q_proj", "o_proj")), "is changed otherwise by it"),
    ],
)
def test_an_adapter_file_that_went_wrong_is_refused_by_what_is_wrong_with_it(
    workspace: Workspace, model: Model, monkeypatch: pytest.MonkeyPatch, breaks: Any, named: str
) -> None:
    pairs: Any = gguf._pairs
    monkeypatch.setattr(gguf, "_pairs", lambda *given: [breaks(pair) for pair in pairs(*given)])
    with pytest.raises(Refusal, match=named):
        adapter_gguf(workspace, model, Silent())
    assert not workspace.list("gguf")


# ---- what is refused ----


def _refusal(workspace: Workspace, model: Model, target: Target, out: Path) -> str:
    before = {path.name for path in out.parent.iterdir()}
    with pytest.raises(Refusal) as refused:
        export_model(workspace, model, target, "f16", out, Silent())
    assert {path.name for path in out.parent.iterdir()} == before
    return str(refused.value)


def test_a_folder_that_holds_something_is_left_alone(workspace: Workspace, model: Model, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out/mine.txt").write_text("mine")
    assert "is not an empty folder" in _refusal(workspace, model, "adapter", tmp_path / "out")
    assert "is not an empty folder" in _refusal(workspace, model, "adapter", tmp_path / "out/mine.txt")
    assert (tmp_path / "out/mine.txt").read_text() == "mine"


def test_what_cannot_be_exported_is_refused_and_leaves_nothing(
    workspace: Workspace, model: Model, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    bare = replace(model, adapter=None, adapter_digest=None)
    assert "has no adapter" in _refusal(workspace, bare, "adapter", out)
    assert "has no adapter" in _refusal(workspace, bare, "gguf-adapter", out)
    for target in ("safetensors", "gguf", "gguf-adapter", "ollama"):
        assert "base in 4 bits" in _refusal(workspace, replace(model, four_bit=True), target, out)
    (model.path / "chat_template.jinja").write_text("{{ messages[-1]['content'] }}")
    assert "leaves it away" in _refusal(workspace, model, "ollama", out)
    assert not workspace.list("gguf")


def test_a_full_disk_is_one_sentence_and_leaves_nothing(
    workspace: Workspace, model: Model, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def write_less(*_: Any) -> None:
        raise OSError("4096 requested and 512 written")  # as NumPy says it

    monkeypatch.setattr("gguf.GGUFWriter.write_tensor_data", write_less)
    assert "is full; make room" in _refusal(workspace, model, "gguf", tmp_path / "out")
    monkeypatch.setattr("carrara.export.package.merge", _no_space)
    assert "is full; make room" in _refusal(workspace, model, "safetensors", tmp_path / "out")


def _no_space(*_: Any) -> None:
    raise SafetensorError("Error while serializing: I/O error: No space left on device (os error 28)")


def test_an_adapter_overwritten_meanwhile_is_refused(
    workspace: Workspace, model: Model, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from carrara.export import package

    original: Any = package.write_gguf_adapter

    def overwrite(adapter: Path, base: Path, target: Path) -> None:
        original(adapter, base, target)
        config = json.loads((adapter / "adapter_config.json").read_text())
        (adapter / "adapter_config.json").write_text(json.dumps(config | {"lora_alpha": 1}))

    monkeypatch.setattr(package, "write_gguf_adapter", overwrite)
    assert "was overwritten" in _refusal(workspace, model, "gguf-adapter", tmp_path / "out")


def test_a_tokenizer_that_puts_a_space_at_the_very_beginning_alone_passes(workspace: Workspace, tmp_path: Path) -> None:
    folder = make_folder(tmp_path / "base", vocab_size=320, bos_token_id=1, eos_token_id=2)
    write_sentencepiece(folder, True)
    content = json.loads((folder / "tokenizer.json").read_text(encoding="utf-8"))
    first = {"type": "Metaspace", "replacement": "▁", "prepend_scheme": "first", "split": False}
    content.update(normalizer=None, pre_tokenizer=first)
    (folder / "tokenizer.json").write_text(json.dumps(content), encoding="utf-8")
    template = "{{ bos_token }}{% for message in messages %}{{ message['content'] }}</s>{% endfor %}"
    (folder / "chat_template.jinja").write_text(template, encoding="utf-8")
    model = resolve_model(workspace, str(folder), Silent())
    package = export_model(workspace, model, "gguf", "f16", tmp_path / "out", Silent())
    assert package.passport is not None
    assert package.passport.holds


def test_the_folder_where_one_stands_is_filled(
    workspace: Workspace, model: Model, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    export_model(workspace, model, "adapter", "f16", Path("."), Silent(), examined=False)
    assert {path.name for path in (tmp_path / "here").iterdir()} == FILES["adapter"]


def test_a_package_that_is_another_model_is_refused(
    workspace: Workspace, model: Model, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bare = replace(model, adapter=None, adapter_digest=None)
    monkeypatch.setattr("carrara.export.package.merge", lambda _, folder: merge(bare, folder))
    for target in ("safetensors", "gguf", "ollama"):
        with pytest.raises(Refusal, match="the merge did nothing"):
            export_model(workspace, model, target, "q8_0", tmp_path / "out", Silent())
        assert not (tmp_path / "out").exists()
    package = export_model(workspace, model, "safetensors", "f16", tmp_path / "out", Silent(), examined=False)
    assert package.to_json()["passport"] == {"checks": [], "holds": None}


def test_without_memory_for_both_nothing_is_examined(
    workspace: Workspace, model: Model, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("carrara.export.examination._SPARE", 1 << 60)
    with pytest.raises(Refusal, match="GB are free; export it on a machine that has them, or with --unexamined"):
        export_model(workspace, model, "adapter", "f16", tmp_path / "out", Silent())
