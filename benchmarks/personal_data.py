"""Personal data: recall and precision by type on a generated corpus, false alarms on real prose, time; with Presidio.

    .venv/bin/python benchmarks/personal_data.py DATA [--positives 400] [--seed 1] [--no-peer] [--write]

DATA is a folder of benchmark files. Presidio runs in the peers' environment with all its pattern recognisers, without a
language model and without the network. `--write` keeps Carrara's rates where the dossier reads them.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from side_by_side import PEERS, ROOT, require_peers

sys.path.insert(0, str(ROOT.parent))

from tests.data.checks.personal.corpus import Sentence, corpus
from tests.data.checks.personal.scoring import Rate, rates

from carrara.data.checks.personal import find_personal_data

RATES = ROOT.parent / "src" / "carrara" / "data" / "checks" / "personal" / "error_rates.json"
Finding = tuple[str, int, int]
# What Presidio calls the types; the others it has no recogniser for.
PRESIDIO_TYPES = {
    "EMAIL_ADDRESS": "email",
    "PHONE_NUMBER": "phone",
    "IBAN_CODE": "iban",
    "CREDIT_CARD": "card",
    "IP_ADDRESS": "ip",
}
NOT_NATIONAL = {"URL", "DATE_TIME", "CRYPTO", "MAC_ADDRESS", "UUID", "MEDICAL_LICENSE"}


def real_texts(data: Path) -> dict[str, list[str]]:
    """Rows of GSM8K, Alpaca and WikiText-2 as single texts."""
    gsm8k = [json.loads(line) for line in (data / "gsm8k" / "train.jsonl").open(encoding="utf-8")]
    alpaca = [json.loads(line) for line in (data / "alpaca" / "alpaca_data_5k.jsonl").open(encoding="utf-8")]
    wikitext = (data / "wikitext-2" / "test.txt").read_text(encoding="utf-8").splitlines()
    return {
        "GSM8K train": [f"{row['question']}\n{row['answer']}" for row in gsm8k],
        "Alpaca": ["\n".join((row["instruction"], row["input"], row["output"])) for row in alpaca],
        "WikiText-2 test": [line for line in wikitext if line.strip()],
    }


def carrara(texts: Sequence[str]) -> tuple[list[list[Finding]], float]:
    """The findings of each text and the seconds of CPU time they took."""
    find_personal_data("warm 1", ())
    start = time.process_time()
    found = [find_personal_data(text, ()) for text in texts]
    seconds = time.process_time() - start
    return [[(finding.type, finding.start, finding.end) for finding in findings] for findings in found], seconds


def presidio(texts: Sequence[str]) -> tuple[list[list[Finding]], float]:
    """The same from benchmarks/peers/presidio_patterns.py, with its types under Carrara's names."""
    with tempfile.TemporaryDirectory() as folder:
        source, target = Path(folder, "texts.json"), Path(folder, "findings.json")
        source.write_text(json.dumps(texts), encoding="utf-8")
        subprocess.run([PEERS, ROOT / "peers" / "presidio_patterns.py", source, target], check=True, cwd=folder)
        answer = json.loads(target.read_text(encoding="utf-8"))
    found = [[(named, start, end) for kind, start, end in row if (named := _name(kind))] for row in answer["findings"]]
    return found, answer["seconds"]


def _name(kind: str) -> str | None:
    return PRESIDIO_TYPES.get(kind) or (None if kind in NOT_NATIONAL else "national_id")


def measure(
    detect: Callable[[Sequence[str]], tuple[list[list[Finding]], float]],
    sentences: Sequence[Sentence],
    real: dict[str, list[str]],
) -> tuple[dict[str, Rate], dict[str, dict[str, Any]]]:
    """Rates on the corpus, and on each real set the rows flagged and the CPU milliseconds for 1,000 rows."""
    found, _ = detect([sentence.text for sentence in sentences])
    by_text = dict(zip((sentence.text for sentence in sentences), found))
    prose: dict[str, dict[str, Any]] = {}
    for name, texts in real.items():
        findings, seconds = detect(texts)
        prose[name] = {
            "rows": len(texts),
            "flagged": sum(map(bool, findings)),
            "phones": sum(any(kind == "phone" for kind, _, _ in row) for row in findings),
            "ms per 1,000 rows": round(1e6 * seconds / len(texts), 1),
        }
    return rates(sentences, by_text.__getitem__), prose


def _cell(tool: str, kind: str, rate: Rate) -> str:
    has_recognizer = tool == "Carrara" or kind in (*PRESIDIO_TYPES.values(), "national_id")
    return f"{rate.recall:.3f} {rate.precision:.3f}" if has_recognizer else "has no recogniser"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--positives", type=int, default=400, help="sentences for each type")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--no-peer", action="store_true")
    parser.add_argument("--write", action="store_true", help="keep Carrara's rates for the dossier")
    arguments = parser.parse_args()
    sentences = corpus(arguments.seed, arguments.positives, 12 * arguments.positives)
    real = real_texts(arguments.data)
    tools = {"Carrara": carrara} if arguments.no_peer else {"Carrara": carrara, "Presidio": presidio}
    if not arguments.no_peer:
        require_peers()
    results = {name: measure(detect, sentences, real) for name, detect in tools.items()}
    print(f"{len(sentences)} sentences, {arguments.positives} for each type, seed {arguments.seed}")
    for kind, rate in results["Carrara"][0].items():
        cells = [f"{name} {_cell(name, kind, found[kind])}" for name, (found, _) in results.items()]
        print(f"{kind:16} recall and precision: {'; '.join(cells)}; of {rate.positives}")
    for name, (_, prose) in results.items():
        for source, figures in prose.items():
            print(f"{name} on {source}: {figures}")
    if arguments.write:
        published = {kind: asdict(rate) for kind, rate in results["Carrara"][0].items()}
        RATES.write_text(json.dumps(published, indent=1) + "\n", encoding="utf-8")
    summary = {
        name: {"rates": {kind: asdict(rate) for kind, rate in found.items()}, "prose": prose}
        for name, (found, prose) in results.items()
    }
    print(json.dumps(summary))


if __name__ == "__main__":
    main()
