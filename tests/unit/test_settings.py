"""Settings of a task: every name is there, no other, and the types are those of the dataclass."""

import json
from dataclasses import asdict, dataclass

import pytest

from linumpy.intensity.mask_plan import MaskSettings
from linumpy.stage.settings import made, read_settings


@dataclass(frozen=True)
class Example:
    sigma: float
    distance: float | None
    shrink: tuple[int, ...]
    pairs: tuple[tuple[int, int], ...]
    name: str = "standard"


VALUES = {"sigma": 2, "distance": 10, "shrink": [1, 4, 4], "pairs": [[0, 1], [1, 3]], "name": "x"}


def test_json_values_get_the_types_of_the_fields():
    example = made(Example, VALUES)
    assert example == Example(2.0, 10.0, (1, 4, 4), ((0, 1), (1, 3)), "x")
    assert (type(example.sigma), type(example.distance), type(example.shrink[0])) == (float, float, int)
    assert made(Example, VALUES | {"distance": None}).distance is None


def test_what_a_task_knows_itself_completes_the_settings():
    planned = json.loads(json.dumps(asdict(MaskSettings(method="robust"))))
    del planned["workers"]
    assert made(MaskSettings, planned, workers=3) == MaskSettings(method="robust", workers=3)


def test_a_missing_field_is_an_error_with_a_default_too():
    del (values := dict(VALUES))["name"]
    with pytest.raises(ValueError, match="Example: name is missing, radius is unknown"):
        made(Example, values | {"radius": 1})


def test_settings_have_the_names_that_the_script_asks_for(tmp_path):
    path = tmp_path / "settings.json"
    path.write_text(json.dumps({"first": 0, "last": 3, "memory_mb": 1024, "origin": ["code"]}))
    assert read_settings(path, "first", "last") == {"first": 0, "last": 3}
    with pytest.raises(ValueError, match=r"settings\.json: fit is missing, last is unknown"):
        read_settings(path, "first", "fit")
