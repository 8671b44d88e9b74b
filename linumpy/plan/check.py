"""CHECK_INPUT: parameters and samplesheet in, the plan of the batch out, or every fault at once."""

from __future__ import annotations

import platform
import re
from collections.abc import Mapping
from importlib import metadata
from pathlib import Path
from typing import Any

import linumpy
from linumpy.intensity.bias_model import read_json, write_json
from linumpy.plan.acquisition import StagedFiles, code_digest, plan_acquisition
from linumpy.plan.errors import InputError
from linumpy.plan.parameters import resolve_parameters
from linumpy.plan.places import overwritten
from linumpy.plan.samplesheet import read_samplesheet

__all__ = ["check_input", "software_versions"]


def check_input(samplesheet: Path, request: Path, schema: Path, output_plan: Path, output_info: Path) -> None:
    """Check everything that can be checked before the run, and write the plan.

    No voxel is read, but where the samplesheet leaves the sections to the data.

    Parameters
    ----------
    samplesheet : Path
        The samplesheet.
    request : Path
        JSON: ``parameters`` as given; ``paths`` and ``staged``, see :class:`StagedFiles`; ``workflow``, what runs it;
        ``surroundings``, see :func:`linumpy.plan.places.overwritten` (without them nothing is published).
    schema : Path
        JSON schema of the parameters.
    output_plan : Path
        JSON list, one plan an acquisition.
    output_info : Path
        Folder, made: ``parameters.json`` (resolved), ``inputs.json`` (what each image is, and its fingerprint) and
        ``software.json`` (versions).

    Raises
    ------
    InputError
        Naming every fault of parameters and samplesheet.
    """
    asked = read_json(request)
    files = StagedFiles(asked["paths"], asked["staged"])
    faults: list[str] = []
    parameters: Mapping[str, Any] | None = None
    try:
        parameters = resolve_parameters(asked["parameters"], read_json(schema))
    except InputError as error:
        faults += error.faults
    try:
        rows, row_faults = read_samplesheet(samplesheet)
        faults += row_faults
    except InputError as error:
        raise InputError(faults + list(error.faults)) from None
    if parameters is None:
        # Images are still looked at, with what is not given or refused at its default.
        parameters = resolve_parameters({"input": "-", "outdir": "-"}, read_json(schema))
    if "surroundings" in asked:
        faults += overwritten(asked["surroundings"], rows, tune=parameters["tune"])
    code = code_digest()
    planned = [plan_acquisition(row, files, parameters, code) for row in rows]
    faults += [fault for _, _, row_faults in planned for fault in row_faults]
    if faults:
        raise InputError(faults)
    output_info.mkdir(parents=True)
    write_json(output_info / "parameters.json", parameters)
    write_json(output_info / "software.json", asked["workflow"] | software_versions())
    write_json(output_info / "inputs.json", [inputs for _, inputs, _ in planned])
    write_json(output_plan, [plan for plan, _, _ in planned])


def software_versions() -> dict[str, str]:
    """Return the versions of this package, of what it depends on, and of Python."""
    names = [re.split(r"[^A-Za-z0-9_.-]", line)[0] for line in metadata.requires("linumpy-n4") or [] if ";" not in line]
    versions = {name: metadata.version(name) for name in names}
    return {"linumpy": linumpy.__version__, "code": code_digest(), "python": platform.python_version()} | versions
