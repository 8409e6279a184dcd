"""`carrara demo`: the whole way on the embedded model and real data."""

from __future__ import annotations

from typing import Annotated

import typer

from carrara.cli.console import make_progress, print_json
from carrara.cli.options import BenchmarksOption, JsonOption, WorkspaceOption


def demo_command(
    quick: Annotated[bool, typer.Option(help="Few rows and questions: a look at the way, not at a result.")] = False,
    benchmarks: BenchmarksOption = None,
    json: JsonOption = False,
    workspace: WorkspaceOption = None,
) -> None:
    """Fine-tune SmolLM2-135M on science questions and find out whether it helped; resumes when run again."""
    from carrara.cli.run import print_way, way_json
    from carrara.demo import run_demo
    from carrara.workspace import open_workspace

    way = run_demo(open_workspace(workspace), benchmarks, quick, make_progress())
    if json:
        print_json(way_json(way))
    else:
        print_way(way)
