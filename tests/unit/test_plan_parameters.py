import json
import re
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from linumpy.plan.errors import InputError
from linumpy.plan.parameters import properties_of, resolve_parameters

SCHEMA = json.loads((Path(__file__).parents[2] / "nextflow_schema.json").read_text())
GIVEN = {"input": "samplesheet.csv", "outdir": "results"}


def resolve(**given):
    return resolve_parameters(GIVEN | given, SCHEMA)


@pytest.mark.parametrize(
    ("name", "text", "value"),
    [
        ("zero_outside_mask", "false", False),
        ("zero_outside_mask", "true", True),
        ("zero_outside_mask", True, True),
        ("strength", "0.5", 0.5),
        ("closing_radius", "0", 0),
        ("shrink_factor", "1,4,4", [1, 4, 4]),
        ("shrink_factor", [1, 4, 4], [1, 4, 4]),
        ("shrink_factor", "[1, 4, 4]", [1, 4, 4]),
        ("shrink_factor", 4, [4, 4, 4]),
        ("shrink_factor", "4", [4, 4, 4]),
        ("n_iterations", "50,20", [50, 20]),
        ("n_iterations", "50", [50]),
        ("voxel_size_um", "10,2.5,2.5", [10, 2.5, 2.5]),
        ("voxel_size_um", 5, [5, 5, 5]),
        ("closing_radius", 3.0, 3),
        ("closing_radius", "4.0", 4),
        ("mask_min_size", "1e3", 1000),
        ("n_iterations", [50.0, 20], [50, 20]),
        ("ome_zarr_version", 0.4, "0.4"),
        ("ome_zarr_version", 0.5, "0.5"),
        ("ome_zarr_version", "0.50", "0.5"),
        ("outdir", 2024, "2024"),
        ("slab_planes", "64", 64),
    ],
)
def test_text_and_json_give_the_same_types(name, text, value):
    resolved = resolve(**{name: text})[name]
    assert resolved == value
    assert type(resolved) is type(value)


def as_older_nextflow_reads(text: str) -> str | float | bool:
    """Return what a value of the command line is before 25.10 and its strict parser, which leave it as it is."""
    if text.lower() in ("true", "false"):
        return text.lower() == "true"
    if not re.fullmatch(r"-?[0-9]+(\.[0-9]+)?", text):
        return text
    return float(text) if "." in text else int(text)


def outcome(name: str, value: object) -> str:
    """What a value of a parameter becomes, with its type."""
    try:
        return json.dumps(resolve(**{name: value})[name])
    except InputError:
        return "refused"


@settings(max_examples=30)
@given(st.data())
@pytest.mark.parametrize("name", properties_of(SCHEMA))
def test_every_nextflow_gives_the_same(name, data):
    prop = properties_of(SCHEMA)[name]
    numbers = st.integers(-1000, 10**9).map(str)
    if "string" in prop["type"] and "enum" not in prop and "pattern" not in prop:  # a path: 007 is 7 to older ones
        decimals = st.integers(-99, 99).map(lambda tenths: str(tenths / 10))
    else:
        decimals = st.from_regex(r"-?[0-9]{1,6}\.[0-9]{1,6}", fullmatch=True)
    words = ["true", "false", "True", "FALSE", "auto", "null", "none", "", "1,2,3", "1e3", "5,5", "10,2.50,2.50", "nan"]
    words += [choice + end for choice in prop.get("enum", []) for end in ("", "0", ".0")]
    text = data.draw(numbers | decimals | st.sampled_from(words))
    assert outcome(name, text) == outcome(name, as_older_nextflow_reads(text))


def test_what_is_not_given_is_the_default():
    resolved = resolve(mode=None)
    assert resolved["mode"] == "two_pass"
    assert set(resolved) == set(properties_of(SCHEMA))


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("ome_zarr_version", "0.6"),
        ("ome_zarr_version", 0.55),
        ("ome_zarr_version", 5),
        ("outdir", True),  # --outdir without a folder
        ("outdir", "true"),
    ],
)
def test_refused_values_are_named(name, value):
    with pytest.raises(InputError, match=f"parameter {name}: .* is refused"):
        resolve(**{name: value})


def test_misspelt_parameters_are_named_with_the_nearest():
    with pytest.raises(InputError) as caught:
        resolve(shrinkFactor=4, n_iteration=[50], colour="red")
    assert [fault.split(":")[0] for fault in caught.value.faults] == [
        "unknown parameter shrinkFactor",
        "unknown parameter n_iteration",
        "unknown parameter colour",
    ]
    assert "--shrink_factor" in caught.value.faults[0]
    assert "--n_iterations" in caught.value.faults[1]
    assert "--help" in caught.value.faults[2]


def test_all_faults_at_once():
    with pytest.raises(InputError) as caught:
        resolve_parameters({"mode": "x", "strength": 2, "colour": 1}, SCHEMA)
    assert len(caught.value.faults) == 5  # and input, outdir
    assert str(caught.value).startswith("5 faults in the input:")
