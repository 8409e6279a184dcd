"""The per-item table: one row for each question of each task, and the receipt that belongs to it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from carrara.errors import Refusal
from carrara.workspace.files import replace_atomically

if TYPE_CHECKING:
    import pyarrow as pa

_RECEIPT = b"carrara.receipt"


@dataclass(frozen=True, kw_only=True)
class Record:
    """One scored item. Lists run over the choices, in order; log-likelihoods are natural logarithms.

    `value` is the item's contribution to the task's first metric; `prediction_norm` and `correct_norm`
    are by log-likelihood per character. Fields that a task does not have are None.
    """

    task: str
    item: int  # position in the benchmark's split
    id: str
    question: str  # what was asked, without the examples before it
    choices: list[str]
    prompt_sha256: str
    loglikelihoods: list[float] = field(default_factory=list)
    prediction: int | None = None
    gold: int | None = None
    correct: bool | None = None
    prediction_norm: int | None = None
    correct_norm: bool | None = None
    value: float
    gold_probability: float | None = None  # of the gold choice among the choices
    gold_bits_per_byte: float | None = None
    tokens: int  # scored
    bytes: int  # of the scored text, UTF-8
    seconds: float
    labels: list[int] = field(default_factory=list)  # for each choice whether it is true, where several may be
    category: str = ""
    cluster: str = ""  # items of one cluster share a source; alone if empty
    cut: bool = False  # the context lost its beginning, since it did not fit the model
    written: str = ""  # what the model answered, where it was asked to write
    measures: dict[str, float] = field(default_factory=dict)  # by metric, of tasks that are not about choices


@dataclass(frozen=True)
class Scores:
    """The records of one evaluation and its receipt: every field that moves the numbers."""

    records: list[Record]
    receipt: Mapping[str, Any]

    def tasks(self) -> list[str]:
        """The tasks in the order in which they were scored."""
        return list(dict.fromkeys(record.task for record in self.records))

    def of(self, task: str) -> list[Record]:
        return [record for record in self.records if record.task == task]


def write_scores(path: Path, scores: Scores) -> None:
    """Write the table as Parquet, the receipt in its metadata; whole or not at all."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    table = pa.Table.from_pylist([asdict(record) for record in scores.records], schema=_schema())
    table = table.replace_schema_metadata({_RECEIPT: json.dumps(scores.receipt).encode()})
    replace_atomically(path, lambda temporary: pq.write_table(table, temporary))


def read_scores(path: Path) -> Scores:
    """Read what `write_scores` wrote; raises Refusal if the file is missing or is none of ours."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        table = pq.read_table(path)
        receipt = json.loads((table.schema.metadata or {})[_RECEIPT])
        rows = table.to_pylist(maps_as_pydicts="strict")
        return Scores([Record(**row) for row in rows], receipt)
    except FileNotFoundError as error:
        raise Refusal(f"{path} does not exist; `carrara evaluate` writes score files.") from error
    except (pa.ArrowException, OSError, KeyError, TypeError, ValueError) as error:
        raise Refusal(f"{path} is no score file of `carrara evaluate`; evaluate the model again.") from error


def _schema() -> pa.Schema:
    import pyarrow as pa

    return pa.schema(
        [
            ("task", pa.string()),
            ("item", pa.int64()),
            ("id", pa.string()),
            ("question", pa.string()),
            ("choices", pa.list_(pa.string())),
            ("prompt_sha256", pa.string()),
            ("loglikelihoods", pa.list_(pa.float64())),
            ("prediction", pa.int64()),
            ("gold", pa.int64()),
            ("correct", pa.bool_()),
            ("prediction_norm", pa.int64()),
            ("correct_norm", pa.bool_()),
            ("value", pa.float64()),
            ("gold_probability", pa.float64()),
            ("gold_bits_per_byte", pa.float64()),
            ("tokens", pa.int64()),
            ("bytes", pa.int64()),
            ("seconds", pa.float64()),
            ("labels", pa.list_(pa.int64())),
            ("category", pa.string()),
            ("cluster", pa.string()),
            ("cut", pa.bool_()),
            ("written", pa.string()),
            ("measures", pa.map_(pa.string(), pa.float64())),
        ]
    )
