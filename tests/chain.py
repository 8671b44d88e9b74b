"""The stage in one process: every module's own command line, given to the main of its script.

The command lines are read from modules/*/main.nf, so that what is tested here is what Nextflow runs, short of
Nextflow: the tests of slab sizes, batches and odd voxels need no start of a task.
"""

from __future__ import annotations

import contextlib
import importlib.util
import json
import re
import shlex
from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any

import zarr

from linumpy.intensity.bias_model import read_json, write_json
from linumpy.plan.check import check_input
from tests.acquisitions import write_samplesheet

REPOSITORY = Path(__file__).resolve().parent.parent
THREADS = 2

_COMMAND = re.compile(r'script:\s*"""\s*cat > settings.json .*?\n\s*LINUMPY_SETTINGS\n\s*(.*?)\s*"""', re.DOTALL)
_PADDED = re.compile(r"settings\.(\w+)\.toString\(\)\.padLeft\((\d+), '0'\)")
_ZARR_SETTINGS = ("codec_pipeline.path", "threading.max_workers", "async.concurrency")


def plan(folder: Path, row: Mapping[str, Any], **parameters: Any) -> dict[str, Any]:
    """Check one acquisition, named ``a``, and return its plan; paths in the row are absolute."""
    folder.mkdir(parents=True, exist_ok=True)
    row = {"acquisition": "a"} | {name: str(value) for name, value in row.items()}
    cells = {row[column]: row[column] for column in ("image", "mask", "sections") if row.get(column)}
    request = {
        "workflow": {"nextflow": "none"},
        "parameters": {"input": "samplesheet.csv", "outdir": "results"} | parameters,
        "paths": cells,
        "staged": {cell: path for cell, path in cells.items() if Path(path).exists()},
    }
    (folder / "request.json").write_text(json.dumps(request))
    check_input(
        samplesheet=write_samplesheet(folder / "samplesheet.csv", [row]),
        request=folder / "request.json",
        schema=REPOSITORY / "nextflow_schema.json",
        output_plan=folder / "plan.json",
        output_info=folder / "pipeline_info",
    )
    return read_json(folder / "plan.json")[0]


def run_chain(
    folder: Path, row: Mapping[str, Any], *, others: Mapping[str, float | None] | None = None, **parameters: Any
) -> Path:
    """Run the whole stage on one acquisition and return the folder of its results.

    `others` are the levels of further acquisitions of the run, where acquisitions are matched.
    """
    planned = plan(folder, row, **parameters)
    files = {"id": "a", "image": planned["image"], "given_mask": planned["mask"] or ""}
    results = Path("results") / "a"
    with contextlib.chdir(folder), zarr.config.set({name: zarr.config.get(name) for name in _ZARR_SETTINGS}):
        run_module("tissue_mask", planned["tissue_mask"], files)
        files |= {"samples": "samples", "tissue": "tissue.json", "mask": results / "mask.ome.zarr"}
        for settings in planned["n4_section"]:
            run_module("n4_section", settings, files)
        _stage("section_fits", "sections_*.json")
        run_module("n4_global", planned["n4_global"], files)
        files |= {"bias": results / "bias", "match": ""}
        if planned["n4_global"]["match_batch"]:
            for name, level in (others or {}).items():
                write_json(Path("levels") / f"{name}.json", {"level": level})
            run_module("match_batch", {"acquisitions": ["a", *(others or {})]}, files)
            files["match"] = results / "bias" / "match.json"
        for settings in planned["correct"]:
            run_module("correct", settings, files)
        _stage("slabs", "slab_*")
        run_module("assemble", planned["assemble"], files)
        files["correction"] = "correction"
        run_module("report", planned["report"], files)
    return folder / results


def run_tuning(folder: Path, row: Mapping[str, Any], **parameters: Any) -> Path:
    """Tune on one acquisition and return the folder of its results."""
    planned = plan(folder, row, tune=True, **parameters)
    with contextlib.chdir(folder), zarr.config.set({name: zarr.config.get(name) for name in _ZARR_SETTINGS}):
        files = {"id": "a", "image": planned["image"], "given_mask": planned["mask"] or ""}
        run_module("tune", planned["tune"], files)
    return folder / "results" / "a"


def run_module(name: str, settings: Mapping[str, Any], files: Mapping[str, Any]) -> None:
    """Run the command of a module in the current folder."""
    Path("settings.json").write_text(json.dumps(settings))
    script, *arguments = shlex.split(_filled(_command(name), settings, files))
    assert script_main(script)(arguments) == 0, f"{script} failed"


def _stage(folder: str, pattern: str) -> None:
    """Put links to the files into a folder, as ``stageAs`` does."""
    files = list(Path().glob(pattern))
    Path(folder).mkdir()
    for file in files:
        (Path(folder) / file.name).symlink_to(file.resolve())


@cache
def _command(name: str) -> str:
    text = (REPOSITORY / "modules" / name / "main.nf").read_text()
    found = _COMMAND.search(text)
    assert found, f"no command in modules/{name}/main.nf"
    return found[1].replace("\\\\", "")


def _filled(command: str, settings: Mapping[str, Any], files: Mapping[str, Any]) -> str:
    """Put values where Nextflow would."""

    def value(found: re.Match[str]) -> str:
        expression = found[1]
        if expression == "task.cpus":
            return str(THREADS)
        padded = _PADDED.fullmatch(expression)
        if padded:
            return str(settings[padded[1]]).rjust(int(padded[2]), "0")
        assert expression in files, f"${{{expression}}}: teach tests/chain.py what it stands for"
        return str(files[expression])

    return re.sub(r"\$\{([^}]*)\}", value, command)


@cache
def script_main(script: str) -> Callable[[list[str]], int]:
    """Return the `main` of a script in bin/."""
    spec = importlib.util.spec_from_file_location(f"script_{script[:-3]}", REPOSITORY / "bin" / script)
    assert spec
    assert spec.loader
    module: ModuleType = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    main: Callable[[list[str]], int] = module.main
    return main
