"""What must never be in the source, and what a chat template must never be able to do."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest
from transformers import PreTrainedTokenizerFast

import carrara
from carrara.data.example import Message
from carrara.data.render.template import chat_template, prompt_text
from carrara.errors import Refusal
from carrara.models import Model
from carrara.models.load import load_tokenizer

SOURCE = Path(carrara.__file__).parent
BANNED_MODULES = {"pickle", "marshal", "shelve", "dill", "joblib", "cloudpickle"}
BANNED_CALLS = {"eval", "exec", "torch.load", "yaml.load", "os.system", "os.popen"}


def _faults(tree: ast.AST) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (name.name for name in node.names if name.name.split(".")[0] in BANNED_MODULES)
        if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] in BANNED_MODULES:
            yield str(node.module)
        if isinstance(node, ast.Call):
            name = ast.unparse(node.func)
            if name in BANNED_CALLS:
                yield name
            for given in node.keywords:
                value = given.value.value if isinstance(given.value, ast.Constant) else None
                if (given.arg in ("trust_remote_code", "shell", "allow_pickle") and value is not False) or (
                    given.arg in ("weights_only", "verify") and value is False
                ):
                    yield f"{name}({given.arg}={ast.unparse(given.value)})"


@pytest.mark.parametrize(
    "code",
    [
        "import pickle",
        "from joblib import load",
        "torch.load(path)",
        "AutoModel.from_pretrained(path, trust_remote_code=True)",
        "AutoModel.from_pretrained(path, trust_remote_code=asked)",
        "run(line, shell=True)",
        "eval(text)",
    ],
)
def test_what_is_looked_for_is_found(code: str) -> None:
    assert len(list(_faults(ast.parse(code)))) == 1


def test_the_source_unpickles_nothing_and_runs_no_foreign_code() -> None:
    files = sorted(SOURCE.rglob("*.py"))
    assert len(files) > 200
    found = {str(path.relative_to(SOURCE)): list(_faults(ast.parse(path.read_text("utf-8")))) for path in files}
    assert {path: faults for path, faults in found.items() if faults} == {}


# Ways out of a template, as they were used against programs that render templates of strangers (CVE-2024-34359).
WICKED = [
    "{{ cycler.__init__.__globals__.os.system('touch MARK') }}",
    "{{ lipsum.__globals__['os'].popen('touch MARK').read() }}",
    "{{ joiner.__init__.__globals__.__builtins__.__import__('os').system('touch MARK') }}",
    "{{ messages.__class__.__mro__[-1].__subclasses__() }}",
    "{{ ''['__class__']['__mro__'][1]['__subclasses__']() }}",
    "{{ (''|attr('__class__')|attr('__base__')|attr('__subclasses__'))() }}",
    "{{ raise_exception.__globals__['__builtins__']['open']('MARK', 'w') }}",
    "{{ strftime_now.__globals__['__builtins__']['open']('MARK', 'w') }}",
    "{{ tojson.__globals__ }}",
    "{{ messages.append(1) }}",
    "{{ self.__init__.__globals__ }}",
    "{{ namespace.__init__.__globals__ }}",
    "{{ '{0.__class__.__mro__}'.format(messages) }}",
    "{{ '%c'.__mod__.__self__.__class__.__base__.__subclasses__() }}",
    "{% include 'MARK' %}",
    "{% import 'os' as os %}{{ os.system('touch MARK') }}",
    "{% for i in range(1000000000) %}x{% endfor %}",
]


@pytest.mark.parametrize("wicked", WICKED)
def test_a_template_that_tries_to_run_code_is_refused(tiny_model: Model, tmp_path: Path, wicked: str) -> None:
    mark = tmp_path / "mark"
    tokenizer = load_tokenizer(tiny_model)
    assert isinstance(tokenizer, PreTrainedTokenizerFast)
    tokenizer.chat_template = wicked.replace("MARK", str(mark))
    with pytest.raises(Refusal, match="the model's chat template refuses this conversation") as refused:
        prompt_text(chat_template(tokenizer), [Message("user", "Hello")])
    assert len(str(refused.value).splitlines()) == 1
    assert not mark.exists()
