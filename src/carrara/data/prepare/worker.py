"""The program that `chunks.py` starts: a line with the job's settings, then an answer for each chunk."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Mapping
from typing import Any

from carrara.errors import Refusal

Work = Callable[[int, Any], dict[str, Any]]


def start_job(name: str, settings: Mapping[str, Any]) -> Work:
    """The function that does a job's chunks; building it loads what all of them need."""
    if name == "inspect":
        from carrara.data.prepare.inspect import Inspector

        return Inspector(settings)
    if name == "overlap":
        from carrara.data.prepare.inspect import OverlapFinder

        return OverlapFinder(settings)
    from carrara.data.render.tokens import TokenCounter

    return TokenCounter(settings)


def main() -> None:
    """Answer on stdout until stdin ends."""
    answers, sys.stdout = sys.stdout, sys.stderr  # a library that prints must not break the protocol
    work: Work | None = None
    settings = json.loads(sys.stdin.readline())
    for line in sys.stdin:
        request = json.loads(line)
        try:
            work = work or start_job(sys.argv[1], settings)
            answer = {"done": work(request["index"], request["chunk"])}
        except Refusal as refusal:
            answer = {"refusal": str(refusal)}
        except OSError as error:
            answer = {"refusal": f"{error.filename or 'a file'} cannot be written ({error.strerror}); mend that."}
        except Exception as error:  # a fault of Carrara's; its text may hold a row's
            kind = type(error).__name__
            answer = {"refusal": f"chunk {request['index']} cannot be worked on ({kind}), a fault; please report it."}
        answers.write(json.dumps(answer) + "\n")
        answers.flush()


if __name__ == "__main__":
    try:
        main()
    except (KeyboardInterrupt, BrokenPipeError):
        sys.exit(130)
