"""Presidio's pattern recognisers over a list of texts, without a language model and without the network.

presidio_patterns.py TEXTS.json FINDINGS.json
"""

from __future__ import annotations

import inspect
import json
import socket
import sys
import time
from pathlib import Path


def _no_network(*arguments: object, **named: object) -> None:
    raise OSError("this program makes no connection")


def main(source: str, target: str) -> None:
    socket.socket.connect = socket.getaddrinfo = _no_network  # type: ignore[method-assign, assignment]
    import presidio_analyzer.predefined_recognizers as predefined
    import spacy
    import tldextract
    from presidio_analyzer import AnalyzerEngine, EntityRecognizer, PatternRecognizer, RecognizerRegistry
    from presidio_analyzer.nlp_engine import NlpArtifacts, NlpEngine

    # As it comes, the e-mail recogniser fetches a list of suffixes; this uses the one in the package.
    tldextract.extract = tldextract.TLDExtract(suffix_list_urls=(), cache_dir=None)

    class Blank(NlpEngine):
        """Words and lemmas as they stand, from spaCy's rules alone, so that context words work."""

        engine_name = "blank"
        is_available = True

        def __init__(self) -> None:
            self.nlp = spacy.blank("en")

        def load(self) -> None:
            pass

        def is_loaded(self) -> bool:
            return True

        def process_text(self, text: str, language: str) -> NlpArtifacts:
            words = self.nlp(text)
            lemmas = [word.lower_ for word in words]
            return NlpArtifacts([], words, [word.idx for word in words], lemmas, self, language, scores=[])

        def process_batch(self, texts, language, batch_size=1, n_process=1, **kwargs):  # type: ignore[no-untyped-def]
            return ((text, self.process_text(text, language)) for text in texts)

        def is_stopword(self, word: str, language: str) -> bool:
            return False

        def is_punct(self, word: str, language: str) -> bool:
            return False

        def get_supported_entities(self) -> list[str]:
            return []

        def get_supported_languages(self) -> list[str]:
            return ["en"]

    def recognizers() -> list[EntityRecognizer]:
        """Every pattern recogniser of every country, and the phone recogniser, all told that the text is English."""
        found: list[EntityRecognizer] = [predefined.PhoneRecognizer()]
        for _, kind in sorted(vars(predefined).items()):
            if inspect.isclass(kind) and issubclass(kind, PatternRecognizer) and kind is not PatternRecognizer:
                try:
                    found.append(kind(supported_language="en"))
                except TypeError:
                    continue
        return found

    engine = AnalyzerEngine(
        registry=RecognizerRegistry(recognizers=recognizers(), supported_languages=["en"]),
        nlp_engine=Blank(),
        supported_languages=["en"],
    )
    texts = json.loads(Path(source).read_text(encoding="utf-8"))
    engine.analyze("warm 1", "en")
    start = time.process_time()
    findings = [
        [(r.entity_type, r.start, r.end) for r in engine.analyze(text, "en", score_threshold=0.4)] for text in texts
    ]
    seconds = time.process_time() - start
    Path(target).write_text(json.dumps({"seconds": seconds, "findings": findings}), encoding="utf-8")


if __name__ == "__main__":
    main(*sys.argv[1:])
