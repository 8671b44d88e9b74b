import json
from pathlib import Path

import pytest

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
        ("slab_planes", "64", 64),
    ],
)
def test_text_and_json_give_the_same_types(name, text, value):
    resolved = resolve(**{name: text})[name]
    assert resolved == value
    assert type(resolved) is type(value)


def test_what_is_not_given_is_the_default():
    resolved = resolve(mode=None)
    assert resolved["mode"] == "two_pass"
    assert set(resolved) == set(properties_of(SCHEMA))


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
