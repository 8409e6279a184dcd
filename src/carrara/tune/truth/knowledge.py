"""Do the weights know the tokens that they are given?"""

from __future__ import annotations

import math
from collections.abc import Iterator

from carrara.tune.truth.finding import Finding
from carrara.tune.truth.subject import Subject

_ROWS, _LONGEST = 6, 64  # and tokens of each
_SMALLEST = 1_000_000  # weights; a smaller model is a toy whose weights may well be random
_TOO_SURE = 1.5  # nats by which the loss exceeds what the model expects of itself
_LEAST = 0.75  # of the loss of guessing; text that is merely strange stays below


def check_knowledge(subject: Subject) -> Iterator[Finding]:
    """A model that reads its own tokens does about as well as it expects to: its loss is near its entropy.

    With another tokenizer's tokens, or random weights, it is sure of itself and wrong.
    """
    import torch

    training = subject.training
    if sum(parameter.numel() for parameter in training.network.parameters()) < _SMALLEST:
        return
    rows = training.rows[:: max(1, len(training.rows) // _ROWS)][:_ROWS]
    loss = entropy = count = 0.0
    with torch.no_grad():
        for row in rows:
            ids = torch.tensor([row.ids[:_LONGEST]], device=training.device)
            logits = training.network(input_ids=ids).logits[0, -ids.shape[1] :][:-1].float()
            likely = logits.log_softmax(-1)
            loss -= float(likely.gather(1, ids[0, 1:, None]).sum())
            entropy -= float((likely.exp() * likely).sum())
            count += len(likely)
    if not count:
        return
    loss, entropy = loss / count, entropy / count
    guess = math.log(subject.training.network.get_input_embeddings().weight.shape[0])
    if loss > entropy + _TOO_SURE and loss > _LEAST * guess:
        yield Finding(
            "guessing",
            f"the model's loss on these rows is {loss:.1f} nats a token, where it expects {entropy:.1f} of itself and "
            f"guessing gives {guess:.1f}: weights and tokenizer do not belong together, or the model was never trained."
            " Use the tokenizer that the model came with.",
        )
