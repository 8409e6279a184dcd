"""`carrara export` from the command line: its JSON, its files, and its refusals."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.cli.calling import call
from tests.export.llama import make_folder
from tests.tiny import write_tiny_adapter


@pytest.fixture(scope="module")
def adapter(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("models")
    return write_tiny_adapter(make_folder(place / "base"), place / "adapter", width=64)


def test_json_names_the_files(tmp_path: Path, adapter: Path) -> None:
    told = call(tmp_path / "w", "export", adapter, "--to", "gguf", "-o", "out", "--json").json
    assert told["files"] == ["model.gguf", "passport.json"]
    assert told["passport"]["holds"] is True
    assert {"name": "chats", "value": 1.0, "bound": 1.0, "holds": True, "basis": ""} in told["passport"]["checks"]
    assert (tmp_path / "out/model.gguf").read_bytes()[:4] == b"GGUF"


def test_the_files_are_printed(tmp_path: Path, adapter: Path) -> None:
    done = call(tmp_path / "w", "export", adapter, "--to", "ollama", "--quantization", "q4_0", "-o", "here/out")
    assert done.code == 0
    assert done.out.split()[-3:] == ["here/out/Modelfile", "here/out/model.gguf", "here/out/passport.json"]
    assert "weights" in done.out
    assert "fails" not in done.out
    assert (tmp_path / "here/out/model.gguf").is_file()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--to", "onnx", "-o", "out"], "there is no form 'onnx'; --to takes safetensors, adapter, gguf"),
        (["--to", "gguf", "--quantization", "q4_k_m", "-o", "out"], "there is no quantization 'q4_k_m'"),
        (["--to", "adapter", "--quantization", "f16", "-o", "out"], "--quantization does nothing with --to adapter"),
        (["--to", "adapter", "-o", "."], "is not an empty folder"),
        (["--to", "adapter", "-o", "x" * 300], "File name too long"),
        (["--to", "adapter"], "missing option '-o'"),
    ],
    ids=["form", "quantization", "none needed", "full folder", "no path", "no folder"],
)
def test_what_cannot_be_done_is_one_sentence(tmp_path: Path, adapter: Path, arguments: list[str], words: str) -> None:
    done = call(tmp_path / "w", "export", adapter, *arguments)
    assert done.code == 2
    assert words in done.sentence
