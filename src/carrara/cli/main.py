"""The command `carrara`: registers the verbs and turns every refusal into one sentence and an exit code."""

from __future__ import annotations

import errno
import os
import shlex
import sys
import warnings
from typing import Any

import typer

from carrara.cli.audit import audit_app
from carrara.cli.chat import chat_command
from carrara.cli.check import check_command
from carrara.cli.choose import choose_command
from carrara.cli.compare import compare_command
from carrara.cli.conversations import conversations_app
from carrara.cli.data import data_app
from carrara.cli.demo import demo_command
from carrara.cli.doctor import doctor_command
from carrara.cli.evaluate import evaluate_command
from carrara.cli.explain import explain_command
from carrara.cli.export import export_command
from carrara.cli.keys import keys_app
from carrara.cli.models import models_app
from carrara.cli.prepare import prepare_command
from carrara.cli.roles import roles_app
from carrara.cli.run import run_command
from carrara.cli.runs import runs_command
from carrara.cli.scorecard import scorecard_command
from carrara.cli.serve import serve_command
from carrara.cli.tune import tune_command
from carrara.errors import GateFailed, Refusal, is_out_of_memory
from carrara.tune.distributed import leave

EXIT_GATE, EXIT_REFUSED, EXIT_INTERRUPTED = 1, 2, 130
_USAGE_ERROR: Any = typer.BadParameter.__bases__[0]  # of the click that this Typer stands on or carries


def make_app() -> typer.Typer:
    """The Typer application with all verbs."""
    app = typer.Typer(
        name="carrara",
        help="Sculpt LLaMA-family models on your own machine: prepare, tune, prove it helped, chat.",
        add_completion=False,
        pretty_exceptions_enable=False,
        rich_markup_mode=None,
    )
    app.command("demo")(demo_command)
    app.command("choose")(choose_command)
    app.command("scorecard")(scorecard_command)
    app.add_typer(models_app, name="models")
    app.command("prepare")(prepare_command)
    app.add_typer(data_app, name="data")
    app.command("check")(check_command)
    app.command("tune")(tune_command)
    app.command("evaluate")(evaluate_command)
    app.command("compare")(compare_command)
    app.command("explain")(explain_command)
    app.command("export")(export_command)
    app.command("chat")(chat_command)
    app.add_typer(roles_app, name="roles")
    app.add_typer(conversations_app, name="conversations")
    app.command("serve")(serve_command)
    app.add_typer(audit_app, name="audit")
    app.add_typer(keys_app, name="keys")
    app.command("run")(run_command)
    app.command("runs")(runs_command)
    app.command("doctor")(doctor_command)
    return app


def main() -> None:
    """Run the command line and exit."""
    leave(_run())


def _run() -> int:
    warnings.simplefilter("ignore", FutureWarning)  # of libraries about themselves
    try:
        arguments = sys.argv[1:] or ["--help"]
        # Typer turns Ctrl-C into the code 130
        code = make_app()(arguments, prog_name="carrara", standalone_mode=False)
        if code == EXIT_INTERRUPTED:
            raise KeyboardInterrupt
    except Refusal as refusal:
        return _refuse(str(refusal), EXIT_REFUSED)
    except GateFailed as failure:
        return _refuse(str(failure), EXIT_GATE)
    except typer.Exit as leaving:
        return leaving.exit_code
    except _USAGE_ERROR as usage:
        return _refuse(_usage(usage), EXIT_REFUSED)
    except (KeyboardInterrupt, typer.Abort):
        return _refuse(_stopped(sys.argv[1:]), EXIT_INTERRUPTED)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # nobody reads on; stay silent
        return EXIT_REFUSED
    except OSError as error:
        if error.errno == errno.ENOSPC:
            return _refuse("the disk is full; make room and run the same command again.", EXIT_REFUSED)
        if error.filename is None:
            raise
        return _refuse(f"{error.filename} cannot be used ({error.strerror}); mend that and run again.", EXIT_REFUSED)
    except (MemoryError, RuntimeError) as error:
        if not is_out_of_memory(error):
            raise
        return _refuse(
            "there is not enough memory; lower tune.micro_batch_tokens or take a smaller model.", EXIT_REFUSED
        )
    return 0


def _stopped(arguments: list[str]) -> str:
    """How to go on with a command that was stopped; not of a server, whose key is nothing for a log."""
    if arguments[:1] == ["serve"]:
        return "stopped."
    again = [argument for argument in arguments if argument != "--no-resume"]  # which would begin anew
    return f"stopped; run the same command again to go on where it was: {shlex.join(['carrara', *again])}"


def _usage(error: Any) -> str:
    problem = " ".join(error.format_message().split()).rstrip(".")
    command = error.ctx.command_path if error.ctx else "carrara"
    return f"{problem[:1].lower()}{problem[1:]}; `{command} --help` shows what is known."


def _refuse(sentence: str, code: int) -> int:
    sys.stderr.write(f"carrara: {sentence}\n")
    return code
