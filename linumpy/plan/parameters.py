"""Parameters: typed, checked against the schema, complete.

Command lines bring every value as text under newer Nextflow parsers, and as a number or a boolean where it reads as one
under older ones; parameter files bring JSON types. All become the type that the schema names, and one number for three
axes becomes three, here and nowhere else.
"""

from __future__ import annotations

import difflib
import math
import re
from collections.abc import Mapping, Sequence
from typing import Any

import jsonschema

from linumpy.plan.errors import InputError

__all__ = ["properties_of", "resolve_parameters"]

_TEXT_BOOLEANS = {"true": True, "false": False}


def properties_of(schema: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """Return the definition of every parameter, in the order of the schema.

    Parameters
    ----------
    schema : mapping
        The JSON schema, with its parameters in groups under ``$defs``.

    Returns
    -------
    dict of str to dict
        Name to JSON schema of the parameter.
    """
    return {name: prop for group in schema["$defs"].values() for name, prop in group["properties"].items()}


def resolve_parameters(given: Mapping[str, Any], schema: Mapping[str, Any]) -> dict[str, Any]:
    """Return all parameters in the types of the schema, defaults filled in.

    Parameters
    ----------
    given : mapping
        Parameters as a command line or a parameter file gave them. None means not given.
    schema : mapping
        The JSON schema of the parameters.

    Returns
    -------
    dict
        Every parameter of the schema, in its order.

    Raises
    ------
    InputError
        Naming every unknown parameter, missing parameter and value that the schema refuses.
    """
    properties = properties_of(schema)
    required = [name for group in schema["$defs"].values() for name in group.get("required", [])]
    faults = [_unknown(name, properties) for name in given if name not in properties]
    resolved = {}
    for name, prop in properties.items():
        value = given.get(name)
        if value is None:
            if name in required:
                faults.append(f"parameter {name} is missing; give --{name} ({prop['description']})")
            resolved[name] = prop.get("default")
            continue
        value = _coerce(value, prop)
        error = next(jsonschema.Draft202012Validator(prop).iter_errors(value), None)
        if error is not None:
            faults.append(f"parameter {name}: {given[name]!r} is refused ({error.message}); {prop['description']}")
        resolved[name] = value
    if faults:
        raise InputError(faults)
    return resolved


def _unknown(name: str, properties: Mapping[str, Any]) -> str:
    snake = "".join(f"_{c.lower()}" if c.isupper() else c for c in name).replace("-", "_")
    close = difflib.get_close_matches(snake, properties, n=1)
    hint = f"did you mean --{close[0]}?" if close else "`nextflow run . --help` lists them"
    return f"unknown parameter {name}: {hint}"


def _coerce(value: Any, prop: Mapping[str, Any]) -> Any:
    """Turn text into the schema's type where it reads as one; anything else stays, for the schema to refuse."""
    kinds = [prop["type"]] if isinstance(prop["type"], str) else prop["type"]
    if "array" in kinds:
        if "string" in kinds and isinstance(value, str) and re.search(prop["pattern"], value.strip()):
            return value.strip()
        if isinstance(value, str):
            value = value.strip("[] ").replace(" ", ",").split(",")
        items = [_coerce(item, prop["items"]) for item in (value if isinstance(value, list) else [value]) if item != ""]
        return items * 3 if len(items) == 1 and _is_triple(prop) else items
    if "string" in kinds:
        return _text(value, prop.get("enum", []))
    if isinstance(value, str):
        text = value.strip()
        if "boolean" in kinds:
            return _TEXT_BOOLEANS.get(text.lower(), value)
        if "integer" in kinds or "number" in kinds:
            value = _number(text, value)
    # JSON Schema counts 3.0 among the integers.
    return int(value) if "integer" in kinds and isinstance(value, float) and value.is_integer() else value


def _text(value: Any, choices: Sequence[str]) -> Any:
    """Turn a number into text, and a choice that is a number written otherwise (0.50) into the choice.

    A parameter without a value arrives as true, or as its text; neither is a path or a choice, and both are refused.
    """
    if not isinstance(value, (int, float, str)) or isinstance(value, bool):
        return value
    text = str(value)
    if text.lower() in _TEXT_BOOLEANS:
        return _TEXT_BOOLEANS[text.lower()]
    number = _number(text, text)
    return next((choice for choice in choices if _number(choice, choice) == number), text)


def _is_triple(prop: Mapping[str, Any]) -> bool:
    """Whether the parameter is one number or three, (z, y, x)."""
    return {"minItems": 3, "maxItems": 3} in prop.get("anyOf", [])


def _number(text: str, otherwise: Any) -> Any:
    for convert in (int, float):
        try:
            number = convert(text)
        except ValueError:
            continue
        return number if math.isfinite(number) else otherwise
    return otherwise
