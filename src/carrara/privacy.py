"""Showing that nothing leaves the machine: a small way, gone in a process that is watched and has no network.

Run as a program, this module is that process: it goes the way and writes what was seen.
"""

from __future__ import annotations

import http.client
import json
import secrets
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Mapping
from contextlib import closing, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from carrara.egress import Attempt, Watch, count_unrouted, cut_off_network
from carrara.errors import Refusal
from carrara.workspace import Artefact, Workspace, write_atomically

if TYPE_CHECKING:
    from carrara.serve.engine import Engine

_SEEN = "seen.json"
_NAME, _QUESTION = "tuned", "How much is 2 and 3?"
_TEMPLATE = (
    "{% for message in messages %}<s>{{ message['role'] }}\n{{ message['content'] }}</s>\n{% endfor %}"
    "{% if add_generation_prompt %}<s>assistant\n{% endif %}"
)


@dataclass(frozen=True)
class Privacy:
    """What was seen on the way with `model`.

    `open_because` says why the process could not be cut off the network, None if it was; then `unrouted` counts what
    any program tried to send and the system had no way for. `stopped` is the sentence with which the way ended early.
    """

    model: str
    seen: Mapping[Attempt, int]
    open_because: str | None
    unrouted: int | None
    stopped: str | None
    seconds: float

    @property
    def outbound(self) -> int:
        """How many attempts would have left the machine."""
        return sum(count for attempt, count in self.seen.items() if attempt.reach == "outbound") + (self.unrouted or 0)

    @property
    def holds(self) -> bool:
        """Whether the whole way was gone and nothing tried to leave."""
        return not self.outbound and self.stopped is None


def examine_privacy(workspace: Workspace) -> Privacy:
    """Prepare, tune, evaluate, compare, export, chat and serve under watch, in a workspace that is removed afterwards.

    It takes the embedded model where the workspace has it, else a tiny random one. Raises Refusal if the process fails
    in a way that it cannot tell itself.
    """
    from carrara.recipe import DEFAULT_MODEL

    embedded = next((model for model in workspace.list("model") if model.name == DEFAULT_MODEL), None)
    with tempfile.TemporaryDirectory(prefix="carrara-privacy-") as name:
        folder = Path(name)
        model = _lend(embedded, folder) if embedded else ""
        command = [sys.executable, "-m", "carrara.privacy", name, model]
        done = subprocess.run(command, capture_output=True, text=True, stdin=subprocess.DEVNULL, check=False)
        if done.returncode:
            reason = (done.stderr.strip().splitlines() or [f"code {done.returncode}"])[-1]
            raise Refusal(f"the watched process failed ({reason}), so nothing is shown; run `carrara doctor` first.")
        told = json.loads((folder / _SEEN).read_text(encoding="utf-8"))
    seen = {Attempt(**attempt): count for attempt, count in told.pop("seen")}
    return Privacy(model=model or "a tiny random model, since the embedded one is not here", seen=seen, **told)


def _lend(model: Artefact, folder: Path) -> str:
    """Let the workspace in `folder` see a model of another one; returns the model's name."""
    place = folder / "workspace" / "artefacts" / "model" / model.id
    place.parent.mkdir(parents=True)
    place.symlink_to(model.path)
    return model.name


def _watched(folder: Path, model: str) -> None:
    """Go the way and write down what was seen."""
    open_because = cut_off_network()
    watch, before, start, stopped = Watch(), 0 if open_because else count_unrouted(), time.monotonic(), None
    try:
        _go(folder, model)
    except Exception as error:  # whatever stopped it, perhaps the watch: what was seen is told
        stopped = str(error) if isinstance(error, Refusal) else f"{type(error).__name__}: {error}"
    told = {
        "seen": [(asdict(attempt), count) for attempt, count in watch.seen.items()],
        "open_because": open_because,
        "unrouted": None if open_because else count_unrouted() - before,
        "stopped": stopped,
        "seconds": round(time.monotonic() - start, 1),
    }
    write_atomically(folder / _SEEN, json.dumps(told))


def _go(folder: Path, model: str) -> None:
    """The way of a recipe over a few rows, and a question to what came of it, in a chat and through the gateway."""
    from carrara.export.package import export_model
    from carrara.models import model_of_run
    from carrara.models.machine import prepare_for_heavy_work
    from carrara.progress import Silent
    from carrara.recipe import make_recipe
    from carrara.serve.conversation import Conversation
    from carrara.serve.engines import open_engine
    from carrara.way import walk

    prepare_for_heavy_work()
    workspace = Workspace(folder / "workspace")
    recipe = make_recipe(
        {
            "model": model or str(_write_tiny_model(folder / "model")),
            "data": str(_write_rows(folder / "rows.jsonl", 40)),
            "tune": {"rank": 2, "batch_size": 8, "epochs": 0.5},
            "evaluate": {"tasks": [str(_write_task(folder))], "skip_near_copies": False},
        }
    )
    run = walk(workspace, recipe, Silent()).run
    tuned = model_of_run(run.artefact, workspace)
    export_model(workspace, tuned, "safetensors", "f16", folder / "merged", Silent())
    export_model(workspace, tuned, "ollama", "q8_0", folder / "ollama", Silent())
    with closing(open_engine("auto", {_NAME: tuned}, workspace, "auto", Silent())) as engine:
        for _ in Conversation(engine, _NAME, max_tokens=8).ask(_QUESTION, lambda: False):
            pass
        _serve(engine, workspace)


def _serve(engine: Engine, workspace: Workspace) -> None:
    """Let the gateway answer one question of a client of this machine, as `carrara serve` would."""
    from carrara.serve.audit import AuditLog, audit_path
    from carrara.serve.gateway import build_app
    from carrara.serve.record import Traffic
    from carrara.serve.server import listen, serve

    key, traffic, answered = secrets.token_urlsafe(), Traffic(), list[int]()
    app = build_app(engine, key, on_answer=AuditLog(audit_path(workspace), {}).append, traffic=traffic)
    listener = listen("127.0.0.1", 0)

    def ask() -> None:
        try:
            answered.append(_answer_status(listener.getsockname()[1], key))
        finally:
            signal.raise_signal(signal.SIGINT)  # which the main thread takes, and the server stops

    client = threading.Thread(target=ask)
    client.start()
    with suppress(KeyboardInterrupt):
        serve(app, listener, traffic, lambda: None)
    client.join()
    if answered != [200]:
        raise Refusal(f"the gateway answered {answered[0] if answered else 'nothing'}; run `carrara serve` to see why.")


def _answer_status(port: int, key: str) -> int:
    """The status with which the gateway at a port answers a chat."""
    body = {"model": _NAME, "messages": [{"role": "user", "content": _QUESTION}], "max_tokens": 8}
    headers = {"Authorization": f"Bearer {key}", "Content-Type": "application/json"}
    with closing(http.client.HTTPConnection("127.0.0.1", port, timeout=60)) as connection:
        connection.request("POST", "/v1/chat/completions", json.dumps(body), headers)
        response = connection.getresponse()
        response.read()
        return response.status


def _rows(count: int) -> list[dict[str, Any]]:
    return [{"prompt": f"How much is {n} and {n * n % 7}?", "completion": str(n + n * n % 7)} for n in range(count)]


def _write_rows(path: Path, count: int) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in _rows(count)), encoding="utf-8")
    return path


def _write_task(folder: Path) -> Path:
    rows = [{**row, "choices": [row["completion"], "none"], "answer": row["completion"]} for row in _rows(8)]
    (folder / "sums.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    fields = {"name": "sums", "data": "sums.jsonl", "question": "{prompt}", "choices": "choices", "answer": "answer"}
    (folder / "sums.yaml").write_text(json.dumps(fields), encoding="utf-8")  # JSON is YAML, too
    return folder / "sums.yaml"


def _write_tiny_model(folder: Path) -> Path:
    """A random LLaMA of two layers and width 32 that reads bytes, and "an" at once."""
    import torch
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

    letters = ["<s>", "</s>", *sorted(pre_tokenizers.ByteLevel.alphabet()), "an"]
    merges = [("a", "n")]  # GGUF knows no tokenizer without one
    raw = Tokenizer(models.BPE(vocab={letter: place for place, letter in enumerate(letters)}, merges=merges))
    raw.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    raw.decoder = decoders.ByteLevel()
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=raw, bos_token="<s>", eos_token="</s>")
    tokenizer.chat_template = _TEMPLATE
    tokenizer.save_pretrained(folder)
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=len(letters),
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=4,
        max_position_embeddings=256,
        bos_token_id=0,
        eos_token_id=1,
    )
    LlamaForCausalLM(config).save_pretrained(folder)
    return folder


if __name__ == "__main__":
    _watched(Path(sys.argv[1]), sys.argv[2])
