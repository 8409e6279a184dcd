"""`carrara chat`: talk to a model in the terminal."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Annotated, Any

import typer

from carrara.cli.console import make_progress, print_json
from carrara.cli.options import EngineOption, JsonOption, NumbersOption, WorkspaceOption
from carrara.errors import Refusal

if TYPE_CHECKING:
    from carrara.cli.screen import Spoken
    from carrara.models import Model
    from carrara.serve.conversation import Conversation
    from carrara.serve.engine import Engine
    from carrara.serve.engines import Choice
    from carrara.serve.remote import Loaded
    from carrara.workspace import Workspace


def chat_command(
    model: Annotated[str, typer.Argument(metavar="MODEL|RUN", help="Whom to talk to.")],
    role: Annotated[
        str | None, typer.Option(metavar="NAME|TEXT", help='A stored role, or who to be: "a patient teacher".')
    ] = None,
    compare: Annotated[
        str | None, typer.Option(metavar="MODEL|RUN", help="Another model that answers beside the first.")
    ] = None,
    max_tokens: Annotated[int | None, typer.Option(min=1, help="The most tokens of one answer.")] = None,
    temperature: Annotated[float, typer.Option(min=0, max=2, help="0 gives the likeliest answer.")] = 0.7,
    seed: Annotated[int | None, typer.Option(min=-(2**63), max=2**63 - 1, help="Draw the same answer again.")] = None,
    once: Annotated[str | None, typer.Option(metavar="TEXT", help="Ask this, print the answer and leave.")] = None,
    engine: EngineOption = "auto",
    dtype: NumbersOption = "auto",
    keep: Annotated[
        bool, typer.Option("--keep", help="Keep the conversation in the workspace; without this nothing is kept.")
    ] = False,
    json: JsonOption = False,
    workspace: WorkspaceOption = None,
) -> None:
    """Talk to a model or a run; /help shows the commands, Ctrl-C stops an answer."""
    if json and once is None:
        raise Refusal("--json needs --once TEXT; a conversation is printed as it is spoken.")
    from carrara.cli.screen import listen_silently, show
    from carrara.cli.talk import Talk
    from carrara.serve.conversation import Conversation
    from carrara.serve.engines import parse_engine, require_dtype
    from carrara.serve.roles import choose_role
    from carrara.workspace import open_workspace

    choice = parse_engine(engine)
    require_dtype(choice, dtype)
    store, progress = open_workspace(workspace), make_progress()
    chosen = choose_role(store, role, progress) if role else None
    models = _Models(store, model, choice, dtype)
    opened, other = models.open_beside(compare) if compare else (models.open(), None)
    first = Conversation(opened, model, role=chosen, max_tokens=max_tokens, temperature=temperature, seed=seed)
    talk = Talk(
        [first, first.beside(other)] if other else [first],
        models.open_beside,
        lambda given: choose_role(store, given, progress),
        _keeper(store) if keep else lambda conversation, tokens: None,
    )
    try:
        if once is None:
            talk.run()
            return
        spoken = talk.answer(lambda c, cancelled: c.ask(once, cancelled), listen_silently if json else show, _never)
    finally:
        talk.close()
    if json:
        first_answer, *others = map(_answer_json, spoken)
        print_json(first_answer | ({"compared": others[0]} if others else {}))


def _never() -> bool:
    return False


def _answer_json(spoken: Spoken) -> dict[str, Any]:
    last = spoken.last
    return {
        "model": spoken.model,
        "answer": spoken.text,
        "finish_reason": last.finish_reason if last else None,
        "prompt_tokens": last.prompt_tokens if last else None,
        "completion_tokens": last.completion_tokens if last else None,
        "seconds": round(spoken.seconds, 3),
    }


def _keeper(workspace: Workspace) -> Callable[[Conversation, int | None], None]:
    """What keeps a conversation under the name of whoever is logged in."""
    import getpass

    from carrara.serve.journal import open_journal

    try:
        person = getpass.getuser()
    except (KeyError, OSError):  # a user id without a name, as in some containers
        person = "me"
    journal = open_journal(workspace)

    def keep(conversation: Conversation, tokens: int | None) -> None:
        said = conversation.script if conversation.messages else ()
        journal.keep(conversation.id, person, conversation.model, said, tokens)

    return keep


class _Models:
    """Opens what is talked to: the chat's model, alone or with one beside it."""

    def __init__(self, workspace: Workspace, name: str, choice: Choice, dtype: str) -> None:
        self._workspace = workspace
        self._choice = choice
        self._dtype = dtype
        self._name = name
        self._loaded: Loaded | None = None  # shared by engines that take over from each other

    def open(self) -> Engine:
        """An engine with the chat's model."""
        return self._load({})

    def open_beside(self, name: str) -> tuple[Engine, str]:
        """An engine with the chat's model and another, or with its base for no name, and what that is called."""
        if name == self._name:
            raise Refusal(f"{name} is who answers already; name another model to compare it with.")
        if name:
            return self._load({name: None}), name
        base = self._base()
        return self._load({base.name: base}), base.name

    def _resolve(self, name: str) -> Model:
        from carrara.models import resolve_model

        return resolve_model(self._workspace, name, make_progress())

    def _base(self) -> Model:
        """What the chat's run was tuned from; raises Refusal if it is no run."""
        from carrara.models import base_of_run

        base = base_of_run(self._resolve(self._name), self._workspace)
        if base is None:
            raise Refusal(f"{self._name} is no run, so there is no base to compare it with; write /compare MODEL.")
        return base

    def _load(self, others: Mapping[str, Model | None]) -> Engine:
        """An engine with the chat's model and others; None for those that are still to be resolved."""
        from carrara.serve.engines import open_engine
        from carrara.serve.remote import Loaded, open_remote

        def resolve(name: str) -> Model:
            return others.get(name) or self._resolve(name)

        names, choice = (self._name, *others), self._choice
        if choice.kind == "openai" or choice.kind == "vllm":
            self._loaded = self._loaded or Loaded()
            return open_remote(choice, names, resolve, self._loaded)
        models = {name: resolve(name) for name in names}
        return open_engine(choice.kind, models, self._workspace, self._dtype, make_progress())
