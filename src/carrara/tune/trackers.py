"""Others that keep the curves of runs where a recipe asks for it: TensorBoard, MLflow, trackio and W&B.

Each keeps all runs in one place of this machine, so that they can be laid beside each other, and sends nothing
anywhere unless the user's own environment names a place. A run that goes on does not double its points: `Curves` tells
all of them from the first step, and each tracker says which it `held` already.
"""

from __future__ import annotations

import io
import json
import os
import shutil
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import redirect_stdout
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Protocol

from carrara.errors import Refusal, one_line
from carrara.progress import Progress

_PROJECT = "carrara"


class Tracker(Protocol):
    """Keeps the curves of a run. `held` is the last step that it had when it was opened, 0 for none."""

    held: int

    def log(self, step: int, values: Mapping[str, float]) -> None:
        """Keep the values of a step."""
        ...

    def close(self) -> None:
        """Write what is left; the run is over or stopped."""
        ...


def require_trackers(names: Iterable[str]) -> None:
    """Raise Refusal with the line that installs it where the library of a tracker is missing."""
    for name in names:
        spec = find_spec(name)
        if spec is None or spec.origin is None:  # a folder of that name, such as W&B leaves, is no library
            raise Refusal(f"tune.track names {name}, which is not installed; pip install 'carrara[{name}]' mends that.")


def open_trackers(
    names: Iterable[str], folder: Path, run: str, recipe: Mapping[str, Any], progress: Progress
) -> list[Tracker]:
    """The trackers of these names for the run `run/<id>` of a recipe; `folder` takes what they keep.

    Raises Refusal where one is missing or cannot be opened. One that fails later is let go with a sentence.
    """
    names = tuple(names)
    require_trackers(names)
    return [_Guarded(name, _open(name, folder, run.replace("/", "-"), recipe), progress) for name in names]


def _open(name: str, folder: Path, run: str, recipe: Mapping[str, Any]) -> Tracker:
    kinds: dict[str, Callable[[Path, str, Mapping[str, Any]], Tracker]] = {
        "tensorboard": TensorBoard,
        "mlflow": MLflow,
        "trackio": Trackio,
        "wandb": WandB,
    }
    try:
        return kinds[name](folder / name, run, recipe)
    except Exception as error:  # a library's own, of any kind
        reason = one_line(error)
        raise Refusal(
            f"the tracker {name} cannot be opened ({reason}); mend that or leave it out of tune.track."
        ) from error


class TensorBoard:
    """An event file in a folder for each run; `tensorboard --logdir` shows the folder of all."""

    held = 0

    def __init__(self, folder: Path, run: str, recipe: Mapping[str, Any]) -> None:
        from torch.utils.tensorboard.writer import SummaryWriter

        is_new = not (folder / run).exists()
        # All points are written again when a run goes on: readers drop the old ones at the purging mark.
        self._writer = SummaryWriter(str(folder / run), purge_step=1)
        if is_new:  # readers drop no texts
            self._writer.add_text("recipe", f"```\n{json.dumps(recipe, indent=1)}\n```", 0)

    def log(self, step: int, values: Mapping[str, float]) -> None:
        for key, value in values.items():
            self._writer.add_scalar(key, value, step)
        self._writer.flush()

    def close(self) -> None:
        self._writer.close()


class MLflow:
    """An SQLite file, or the server that MLFLOW_TRACKING_URI names."""

    def __init__(self, folder: Path, run: str, recipe: Mapping[str, Any]) -> None:
        os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
        self._entities = import_module("mlflow.entities")
        folder.mkdir(parents=True, exist_ok=True)
        self._client = import_module("mlflow.tracking").MlflowClient(
            os.environ.get("MLFLOW_TRACKING_URI") or f"sqlite:///{folder / 'mlflow.db'}"
        )
        known = self._client.get_experiment_by_name(_PROJECT)
        experiment = known.experiment_id if known else self._client.create_experiment(_PROJECT)
        found = self._client.search_runs([experiment], f"attributes.run_name = '{run}'")
        self._run = (found[0] if found else self._client.create_run(experiment, run_name=run)).info.run_id
        if not found:
            self._client.log_batch(
                self._run, params=[self._entities.Param(key, str(value)) for key, value in _flat(recipe)]
            )
        self.held = max((point.step for point in self._client.get_metric_history(self._run, "loss")), default=0)

    def log(self, step: int, values: Mapping[str, float]) -> None:
        now = int(time.time() * 1000)
        self._client.log_batch(
            self._run, [self._entities.Metric(key, value, now, step) for key, value in values.items()]
        )

    def close(self) -> None:
        self._client.set_terminated(self._run)


class Trackio:
    """trackio's own place, or the one that TRACKIO_DIR, TRACKIO_SPACE_ID or TRACKIO_SERVER_URL names."""

    def __init__(self, folder: Path, run: str, recipe: Mapping[str, Any]) -> None:
        del folder
        self._trackio = import_module("trackio")
        with redirect_stdout(io.StringIO()):  # stdout is for results
            self._run = self._trackio.init(
                _PROJECT, run, config=dict(recipe), resume="allow", embed=False, auto_log_gpu=False, auto_log_cpu=False
            )
        self.held = max(0, self._run._next_step - 1)  # right for every place that it may log to; no public name has it

    def log(self, step: int, values: Mapping[str, float]) -> None:
        self._run.log(dict(values), step=step)

    def close(self) -> None:
        with redirect_stdout(io.StringIO()):
            self._trackio.finish()


class WandB:
    """A folder that `wandb sync` can send, or what WANDB_MODE says."""

    def __init__(self, folder: Path, run: str, recipe: Mapping[str, Any]) -> None:
        os.environ.setdefault("WANDB_ERROR_REPORTING", "false")
        wandb = import_module("wandb")
        mode = os.environ.get("WANDB_MODE", "offline")
        folder.mkdir(parents=True, exist_ok=True)
        for older in folder.glob(f"wandb/offline-run-*-{run}"):  # the new one holds its points too
            shutil.rmtree(older)
        settings = wandb.Settings(silent=True, console="off", x_disable_stats=True, save_code=False, disable_git=True)
        self._run = wandb.init(
            project=_PROJECT, id=run, name=run, config=dict(recipe), dir=folder, settings=settings,
            mode=mode, resume="allow" if mode == "online" else None,
        )  # fmt: skip
        self.held = max(0, self._run.step - 1)

    def log(self, step: int, values: Mapping[str, float]) -> None:
        self._run.log(dict(values), step=step)

    def close(self) -> None:
        self._run.finish()


def _flat(values: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in values.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{prefix}{key}.")
        else:
            yield prefix + key, value


class _Guarded:
    """A tracker that is let go, with a sentence, when its library fails: no run is lost to a full or distant disk."""

    def __init__(self, name: str, tracker: Tracker, progress: Progress) -> None:
        self._name, self._tracker, self._progress = name, tracker, progress
        self._failed = False
        self.held = tracker.held

    def log(self, step: int, values: Mapping[str, float]) -> None:
        self._try(lambda: self._tracker.log(step, values))

    def close(self) -> None:
        self._try(self._tracker.close)

    def _try(self, act: Callable[[], None]) -> None:
        if self._failed:
            return
        try:
            act()
        except Exception as error:
            self._failed = True
            reason = one_line(error, 200)
            self._progress.say(
                f"{self._name} takes no more points ({reason}); training goes on, metrics.jsonl has them."
            )
