"""What tests of tool calls share: a tool, templates that teach calls in different forms, and a model that learned one.

The templates write tools and calls as those of Hermes and Qwen, of Llama 3.1, and of Mistral do, in fewer words.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from transformers import AutoTokenizer, LlamaConfig, LlamaForCausalLM

from carrara.models import Model

from .tiny import make_base, model_at

WEATHER: dict[str, Any] = {
    "type": "function",
    "function": {
        "name": "weather",
        "description": "The weather at a place.",
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
    },
}
CALL: dict[str, Any] = {
    "id": "c1",
    "type": "function",
    "function": {"name": "weather", "arguments": '{"city": "Pisa"}'},
}
ASKED: list[Any] = [{"role": "user", "content": "How is it in Pisa?"}]
CALLED: list[Any] = [
    *ASKED,
    {"role": "assistant", "content": None, "tool_calls": [CALL]},
    {"role": "tool", "tool_call_id": "c1", "content": "rain"},
]
_TURN = "<|im_start|>{{ m.role }}\n{{ m.content }}"
_ASK = "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
HERMES = (
    "{% if tools %}<|im_start|>system\nUse <tools>{% for t in tools %}{{ t | tojson }}{% endfor %}</tools>: "
    '<tool_call>\n{"name": NAME, "arguments": {}}\n</tool_call><|im_end|>\n{% endif %}'
    f"{{% for m in messages %}}{_TURN}{{% for call in m.tool_calls or [] %}}<tool_call>\n"
    '{"name": "{{ call.function.name }}", "arguments": {{ call.function.arguments | tojson }}}\n</tool_call>'
    f"{{% endfor %}}<|im_end|>\n{{% endfor %}}{_ASK}"
)
LLAMA = (
    "{% for m in messages %}{% if m.tool_calls %}<|im_start|>assistant\n"
    '{"name": "{{ m.tool_calls[0].function.name }}", "parameters": {{ m.tool_calls[0].function.arguments | tojson }}}'
    f"{{% else %}}{_TURN}{{% if tools and loop.first %}} {{{{ tools | tojson }}}}{{% endif %}}{{% endif %}}<|im_end|>\n"
    f"{{% endfor %}}{_ASK}"
)
MISTRAL = (
    "{% for m in messages %}<|im_start|>{% if m.tool_calls %}assistant\n[{% for call in m.tool_calls %}"
    '{{ ", " if not loop.first }}{"name": "{{ call.function.name }}", '
    '"arguments": {{ call.function.arguments | tojson }}, "id": "{{ call.id }}"}{% endfor %}]'
    "{% else %}{{ m.role }}\n{{ m.content }}{% if tools and loop.first %}{{ tools | tojson }}{% endif %}{% endif %}"
    f"<|im_end|>\n{{% endfor %}}{_ASK}"
)
UNREADABLE = HERMES.replace("<tool_call>", "<call>").replace("</tool_call>", "</call>")
WRITTEN = '<tool_call>\n{"name": "weather", "arguments": {"city": "Pisa"}}\n</tool_call>'
CONTEXT = 1024


def make_caller(folder: Path) -> Model:
    """A model with the template HERMES that learned by heart to answer ASKED, and CALLED, with WRITTEN."""
    make_base(folder)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    tokenizer.chat_template = HERMES
    tokenizer.save_pretrained(folder)
    settings = LlamaConfig.from_pretrained(folder, max_position_embeddings=CONTEXT, initializer_range=0.02)
    torch.manual_seed(0)
    network = LlamaForCausalLM(settings)
    prompts = [_prompt(tokenizer, turns) for turns in (ASKED, CALLED)]
    answer = tokenizer.encode(WRITTEN + "<|im_end|>", add_special_tokens=False)
    optimizer = torch.optim.Adam(network.parameters(), lr=0.01)
    for step in range(200):
        prompt = prompts[step % 2]
        ids = torch.tensor([[*prompt, *answer]])
        labels = torch.tensor([[*[-100] * len(prompt), *answer]])
        loss = network(input_ids=ids, labels=labels).loss
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        if loss.item() < 0.01:
            break
    network.save_pretrained(folder)
    return model_at(folder, None)


def _prompt(tokenizer: Any, turns: list[Any]) -> list[int]:
    read = json.loads(json.dumps(turns))
    for turn in read:
        turn["content"] = turn["content"] or ""
        for call in turn.get("tool_calls", ()):
            call["function"]["arguments"] = json.loads(call["function"]["arguments"])
    text = tokenizer.apply_chat_template(read, tools=[WEATHER], tokenize=False, add_generation_prompt=True)
    return tokenizer.encode(text, add_special_tokens=False)
