"""A task's settings: one JSON document, which the plan writes, the module hands over and the script reads."""

from __future__ import annotations

import dataclasses
import typing
from collections.abc import Mapping, Set
from pathlib import Path
from typing import Any, TypeVar

from linumpy.intensity.bias_model import read_json

__all__ = ["made", "read_settings"]

T = TypeVar("T")
FOR_NEXTFLOW = frozenset({"memory_mb", "n_batches", "n_slabs", "origin"})
"""Beside a task's settings in its group of the plan: what Nextflow reads, and what makes it run the task again."""


def read_settings(path: Path, *names: str) -> dict[str, Any]:
    """Read the settings of these names, all of them and no other.

    Parameters
    ----------
    path : Path
        JSON object.
    names : str
        Settings of the task.

    Returns
    -------
    dict of str to Any

    Raises
    ------
    ValueError
        Naming what is missing and what is unknown.
    """
    found = {name: value for name, value in read_json(path).items() if name not in FOR_NEXTFLOW}
    _require_names(str(path), found.keys(), set(names))
    return found


def made(kind: type[T], values: Mapping[str, Any], **here: Any) -> T:
    """Make a dataclass of JSON values: lists become tuples, whole numbers floats where a float is meant.

    Parameters
    ----------
    kind : type
        The dataclass.
    values : mapping
        Its fields.
    here : Any
        Fields that the task itself knows.

    Returns
    -------
    dataclass

    Raises
    ------
    ValueError
        Naming fields that are missing, those that have a default too, and unknown ones.
    """
    hints = typing.get_type_hints(kind)
    given = {**values, **here}
    _require_names(kind.__name__, given.keys(), {field.name for field in dataclasses.fields(kind)})  # type: ignore[arg-type]
    return kind(**{name: _as(hints[name], value) for name, value in given.items()})


def _require_names(where: str, found: Set[str], expected: Set[str]) -> None:
    faults = [f"{name} is missing" for name in sorted(expected - found)]
    faults += [f"{name} is unknown" for name in sorted(found - expected)]
    if faults:
        raise ValueError(f"settings {where}: {', '.join(faults)}; plan and script are of different versions")


def _as(hint: Any, value: Any) -> Any:
    if type(value) is int and float in (hint, *typing.get_args(hint)):
        return float(value)
    return tuple(_as(None, item) for item in value) if isinstance(value, list) else value
