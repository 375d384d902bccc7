"""The JSON schema of our option blocks takes every option file that ships, and refuses what our checks refuse."""

from __future__ import annotations

import copy
import json
from dataclasses import dataclass
from typing import Any, Literal

import jsonschema
import pytest

from wbsr.checks.schema import BLOCKS, schema, schema_text, type_schema
from wbsr.checks.source import read_options
from wbsr.option_files import option_files
from wbsr_base.options import parse

FILES = [file for file in option_files() if not file.name.startswith("tables/")]


@pytest.fixture(scope="module")
def validator():
    made = json.loads(schema_text())
    jsonschema.Draft7Validator.check_schema(made)
    return jsonschema.Draft7Validator(made)


@pytest.mark.parametrize("file", FILES, ids=[file.name for file in FILES])
def test_every_option_file_that_ships_passes(validator, file):
    assert list(validator.iter_errors(read_options(file.path))) == []


WBSR = {
    "network_g": {"type": "Supernet", "backbone": {"type": "MSRResNet"}, "widths": [1, 2], "depths": [1, 2]},
    "datasets": {"train": {"name": "x", "hes": {"num_classes": 5, "seed": None}}, "val": {"anything": 1}},
    "train": {
        "anything": 1,
        "supernet": {"strategy": "all"},
        "compute": {"clip_norm": 1},
        "classsr": None,
        "pixel_opt": {"type": "BDLoss", "mixture": "m.npz"},
        "weight_penalty": 1e-8,
    },
    "val": {"dynamic": {"budget": [0.2, 0.4]}, "metrics": {}},
}


def changed(path, value):
    opt = copy.deepcopy(WBSR)
    *blocks, key = path.split(":")
    block = opt
    for name in blocks:
        block = block[name]
    block[key] = value
    return opt


def test_a_block_of_each_kind_passes(validator):
    validator.validate(WBSR)


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("network_g", {"type": "MSRResNet", "num_feat": 64}),
        ("train:pixel_opt", {"type": "L1Loss", "loss_weight": 1}),
        ("train:pixel_opt", None),
        ("val:dynamic:budget", 0.5),
        ("val:dynamic", None),
        ("val", None),
        ("datasets:train:hes", {}),
    ],
)
def test_what_is_not_ours_or_left_out_passes(validator, path, value):
    validator.validate(changed(path, value))


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        ("network_g:width", [1], "'width' was unexpected"),
        ("network_g:widths", 64, "64 is not of type 'array'"),
        ("network_g", {"type": "ClassSR", "backbone": {}}, "'widths' is a required property"),
        ("datasets:train:hes:delat", 1, "'delat' was unexpected"),
        ("datasets:train:hes:sampling", "hse", "'hse' is not one of"),
        ("train:supernet:strategy", "some", "'some' is not one of"),
        ("train:compute:channels_last", "yes", "'yes' is not of type 'boolean'"),
        ("train:classsr", [], r"\[\] is not of type 'object', 'null'"),
        ("train:pixel_opt:form", "cauchy", "'cauchy' is not one of"),
        ("train:weight_penalty", -1, "-1 is less than the minimum"),
        ("val:dynamic:halo", 1.5, "1.5 is not of type 'integer'"),
    ],
)
def test_a_slip_in_a_block_of_ours_is_refused(validator, path, value, message):
    with pytest.raises(jsonschema.ValidationError, match=message):
        validator.validate(changed(path, value))


def test_two_types_of_a_block_stand_side_by_side():
    kinds = schema()["properties"]["network_g"]["properties"]["type"]["anyOf"][0]["enum"]
    assert kinds == ["Supernet", "ClassSR"]


@pytest.mark.parametrize("block", BLOCKS, ids=[f"{block.where} {block.type}" for block in BLOCKS])
def test_every_key_has_a_description(block):
    place = schema([block])
    for part in block.where.split(":"):
        place = place["additionalProperties"] if part == "*" else place["properties"][part]
    keys = place["allOf"][0]["then"]["properties"] if block.type else place.get("properties", {})
    assert place.get("description") or block.type
    assert [name for name, key in keys.items() if name != "type" and not key.get("description")] == []


@dataclass(frozen=True)
class Inner:
    """A block inside a block."""

    size: int


@dataclass(frozen=True)
class Everything:
    """A field of each type that `parse` takes."""

    anything: Any = None
    flag: bool = False
    number: float = 1.0
    either: Literal["auto"] | int | None = "auto"
    some: tuple[float, ...] = ()
    block: dict[str, int] | None = None
    inner: Inner | None = None


VALUES = [None, True, 3, 2.5, "auto", "x", [1, 2.5], [1, "x"], {}, {"size": 3}, {"size": "x"}, {"sise": 3}]


@pytest.mark.parametrize("value", VALUES, ids=map(str, VALUES))
@pytest.mark.parametrize("name", Everything.__dataclass_fields__)
def test_the_schema_of_a_type_takes_what_parse_takes(name, value):
    try:
        parse(Everything, {name: value}, "here")
        is_right = True
    except (ValueError, TypeError):
        is_right = False
    assert jsonschema.Draft7Validator(type_schema(Everything)).is_valid({name: value}) == is_right


def test_a_type_without_a_schema_is_told():
    with pytest.raises(TypeError, match=r"no JSON schema is known for the type .*complex.*: add it to type_schema"):
        type_schema(complex)
