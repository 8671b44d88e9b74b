"""Stores that chance has damaged: a right result or one clear error, never a traceback, a hang, or other voxels."""

from __future__ import annotations

import contextlib
import io
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zarr
from hypothesis import HealthCheck, given, seed, settings

from linumpy.io.errors import OmeZarrError
from linumpy.io.ome_zarr import open_image
from linumpy.io.runtime import PIPELINES
from linumpy.plan.acquisition import StagedFiles, plan_acquisition
from linumpy.plan.errors import InputError
from linumpy.plan.parameters import resolve_parameters
from linumpy.plan.samplesheet import Row
from tests.chain import REPOSITORY, run_chain
from tests.corpus.mutation import SELECTED, files_of, mutations, number_from_environment, within, write_files
from tests.corpus.tally import COUNTS

N_MUTATIONS = number_from_environment("FUZZ_EXAMPLES", 2000)
SEED = number_from_environment("FUZZ_SEED", None)
N_CHAINS = max(10, (N_MUTATIONS or 0) // 100)
CHAIN_SECONDS = 120
SECONDS = 20
"""A mutation takes 20 ms; one that takes this long hangs."""
PARAMETERS = resolve_parameters(
    {"input": "-", "outdir": "-"}, json.loads((REPOSITORY / "nextflow_schema.json").read_text())
)
MM = {"micrometer": 1e-3, "nanometer": 1e-6, "millimeter": 1.0}


def read_by_zarr(path: Path, kind: str) -> tuple[np.ndarray, tuple[float, ...]]:
    """Read what the metadata says with zarr-python alone: voxels as z, y, x, and the voxel size in millimetres."""
    if "0.4" in kind:
        attributes = json.loads((path / ".zattrs").read_text())
    else:
        attributes = json.loads((path / "zarr.json").read_text())["attributes"]["ome"]
    multiscale = attributes["multiscales"][0]
    finest = multiscale["datasets"][0]
    with zarr.config.set({"codec_pipeline.path": PIPELINES["zarr"]}):
        array = zarr.open_array(path / finest["path"], mode="r", zarr_format=2 if "0.4" in kind else 3)
        names = [axis["name"].lower() for axis in multiscale["axes"]]
        kinds = [axis.get("type") for axis in multiscale["axes"]]
        selected = tuple(
            slice(None) if what == "space" else int(what == "channel" and n > 1)
            for n, what in zip(array.shape, kinds, strict=True)
        )
        voxels = np.asarray(array[selected])
    scale = np.ones(len(names))
    for transformation in [*(multiscale.get("coordinateTransformations") or ()), *finest["coordinateTransformations"]]:
        if transformation["type"] == "scale":
            scale *= np.array(transformation["scale"], float)
    spatial = [name for name, what in zip(names, kinds, strict=True) if what == "space"]
    order = [spatial.index(name) for name in "zyx"]
    sizes = [
        size * MM[axis["unit"]]
        for size, axis, what in zip(scale, multiscale["axes"], kinds, strict=True)
        if what == "space"
    ]
    return voxels.transpose(order), tuple(sizes[i] for i in order)


def outcome(path: Path, kind: str) -> tuple[str, np.ndarray | None]:
    """Check the store as CHECK_INPUT does, and read it as the tasks do."""
    row = Row(2, "a", str(path), n_sections=2, **SELECTED.get(kind, {}))
    files = StagedFiles({str(path): str(path)}, {str(path): str(path)})
    plan, inputs, faults = plan_acquisition(row, files, PARAMETERS, "code")
    if faults:
        assert plan is None
        assert len(faults) == 1, faults
        (fault,) = faults
        assert "\n" not in fault
        assert fault.startswith("samplesheet line 2 (a): "), fault
        assert ";" in fault, f"no way out: {fault}"
        return fault, None
    assert plan is not None
    assert inputs is not None
    selection = {name: value for name, value in SELECTED.get(kind, {}).items() if value is not None}
    fault = ""
    try:
        with zarr.config.set({"codec_pipeline.path": PIPELINES["zarrs"]}):
            voxels = open_image(path, validate=False, **selection).read()
    except OmeZarrError as error:
        fault = str(error)
    if fault:
        assert ";" in fault, f"no way out: {fault}"
        return fault, None
    np.testing.assert_equal(inputs["shape"], voxels.shape)
    return json.dumps({"voxel_size_mm": inputs["voxel_size_mm"], "missing": plan["report"]["missing_chunks"]}), voxels


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("mutated")


def check_mutation(folder: Path, kind: str, what: str, files: Any) -> None:
    path = write_files(folder / "i.zarr", files)
    with within(SECONDS):
        told, voxels = outcome(path, kind)
        name = what.partition(": ")[0].rsplit("/", 1)[-1]
        name = name if name in (".zattrs", ".zarray", ".zgroup", "zarr.json") else "chunk"
        COUNTS[f"mutated {name}", "refused" if voxels is None else "accepted"] += 1
        if voxels is None:
            return
        try:
            expected, voxel_size_mm = read_by_zarr(path, kind)
        except Exception:  # what it cannot read may still be read, if only as it was meant
            expected, voxel_size_mm = read_by_zarr(write_files(path, files_of(kind)), kind)
    assert voxels.dtype.newbyteorder("=") == expected.dtype.newbyteorder("=")
    np.testing.assert_array_equal(voxels, expected)
    np.testing.assert_allclose(json.loads(told)["voxel_size_mm"], voxel_size_mm, rtol=1e-12)
    if kind not in SELECTED and (": lose" in what or ": a link" in what):  # else it may be another channel's
        assert json.loads(told)["missing"] > 0


@given(mutations())
@settings(
    max_examples=N_CHAINS, derandomize=True, database=None, deadline=None, suppress_health_check=list(HealthCheck)
)
def test_the_chain_has_a_result_or_one_error(folder, mutation):
    kind, what, files = mutation
    path = write_files(folder / "i.zarr", files)
    work = folder / "chain"
    shutil.rmtree(work, ignore_errors=True)
    told = io.StringIO()
    with within(CHAIN_SECONDS), contextlib.redirect_stderr(told):
        try:
            row = {"image": path, "n_sections": 2} | SELECTED.get(kind, {})
            results = run_chain(work, row, n_iterations="3", shrink_factor=1)
        except InputError:
            COUNTS["mutated, whole chain", "refused"] += 1
            return
        except AssertionError:
            lines = [line for line in told.getvalue().splitlines() if line.startswith("error: ")]
            assert len(lines) == 1, f"{what}: {told.getvalue()}"
            COUNTS["mutated, whole chain", "refused"] += 1
            return
    COUNTS["mutated, whole chain", "accepted"] += 1
    selection = SELECTED.get(kind, {})
    assert open_image(results / "corrected.ome.zarr").shape == open_image(path, **selection).shape, what


@given(mutations())
@settings(
    max_examples=N_MUTATIONS,
    derandomize=SEED is None,
    database=None,
    deadline=None,
    suppress_health_check=list(HealthCheck),
)
def test_a_mutated_store_is_read_right_or_refused(folder, mutation):
    check_mutation(folder, *mutation)


if SEED is not None:
    test_a_mutated_store_is_read_right_or_refused = seed(SEED)(test_a_mutated_store_is_read_right_or_refused)
