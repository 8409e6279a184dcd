"""Do the settings under which both networks compute say the same?"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

from carrara.export.checks.check import Check, at_most
from carrara.models.forward import decoder_of
from carrara.models.load import Loaded

# Frequencies pass through float32 on their way, some through a second one as factors: 2^-23 each.
_FREQUENCIES = 1e-5
_EPSILON = 1e-5  # relative, of numbers in the configuration that were stored as float32
_CHANGING = ("dynamic", "longrope")  # whose frequencies depend on the length of what is read
_NUMBERS = ("rms_norm_eps", "hidden_act", "final_logit_softcapping", "logit_scale", "logits_scaling")


def check_settings(scored: Loaded, exported: Loaded) -> Iterator[Check]:
    """Sizes and functions of the network, and the turning of its positions."""
    meant, found = _settings(scored), _settings(exported)
    wrong = [name for name in meant if not _same(meant[name], found[name])]
    yield at_most("configuration", len(wrong), 0, _named(wrong, meant, found))
    yield at_most("rope", _turning(scored, exported), _FREQUENCIES, _rope_note(_rope(scored), _rope(exported)))


def _settings(loaded: Loaded) -> dict[str, Any]:
    config = loaded.network.config
    heads = config.num_attention_heads
    return {
        "layers": config.num_hidden_layers,
        "attention heads": heads,
        "key and value heads": getattr(config, "num_key_value_heads", None) or heads,
        "head's width": getattr(config, "head_dim", None) or config.hidden_size // heads,
        "context": loaded.context,
        "attention window": loaded.window,
        **{name: getattr(config, name, None) for name in _NUMBERS},
    }


def _same(meant: Any, found: Any) -> bool:
    if isinstance(meant, float) and isinstance(found, float):
        return math.isclose(meant, found, rel_tol=_EPSILON)
    return meant == found


def _named(wrong: list[str], meant: dict[str, Any], found: dict[str, Any]) -> str:
    if not wrong:
        return "sizes and functions of the network are the same"
    name = wrong[0]
    if name == "layers":
        return f"a layer was left out or added: the export has {found[name]} layers and the scored model {meant[name]}."
    return (
        f"the configuration was changed: {name} is {found[name]} in the export and {meant[name]} in the scored model."
    )


def _rope(loaded: Loaded) -> dict[str, Any]:
    return dict(getattr(loaded.network.config, "rope_parameters", None) or {})


def _turning(scored: Loaded, exported: Loaded) -> float:
    """The largest relative difference between the frequencies, or the scales, by which positions are told apart."""
    meant, found = (getattr(decoder_of(loaded.network), "rotary_emb", None) for loaded in (scored, exported))
    if meant is None or found is None:
        return 0.0 if meant is found else math.inf
    if _rope(scored).get("rope_type") in _CHANGING and _rope(scored) != _rope(exported):
        return math.inf
    one, other = meant.inv_freq.double().cpu(), found.inv_freq.double().cpu()
    if one.shape != other.shape:
        return math.inf
    return max(float(((other - one) / one).abs().max()), abs(found.attention_scaling / meant.attention_scaling - 1))


def _rope_note(meant: dict[str, Any], found: dict[str, Any]) -> str:
    changed = sorted(key for key in {*meant, *found} if not _same(meant.get(key), found.get(key)))
    if "rope_theta" in changed:
        return (
            f"the rope base is {found.get('rope_theta')} in the export and {meant.get('rope_theta')} as it was scored."
        )
    if "rope_type" in changed and found.get("rope_type", "default") == "default":
        return f"the rope scaling '{meant['rope_type']}' was lost: the export turns positions as if there were none."
    if changed:
        name = changed[0]
        return f"the rope scaling was changed: {name} is {found.get(name)} in the export, not {meant.get(name)}."
    return "positions are turned by the frequencies of the rope that the configuration names"
