"""One acquisition planned: its image opened, its row checked, and every task's share of the work written down.

The plan is plain JSON values, one group a process. A group holds exactly what may change that process's result (and the
memory it asks for), so that a changed setting repeats the work it touches and no other.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import linumpy
from linumpy.intensity.sections import Sections, section_bounds
from linumpy.intensity.tissue_mask import mask_memory
from linumpy.io.chunks import fingerprint, missing_chunks
from linumpy.io.errors import OmeZarrError
from linumpy.io.ome_zarr import Image, open_image, open_mask
from linumpy.io.pyramid import PyramidLayout, layout_like
from linumpy.n4.grid import SampleGrid
from linumpy.plan.preview import StandIn, full_image, stand_in
from linumpy.plan.samplesheet import Row, read_sections
from linumpy.printable import printable
from linumpy.stage.local import CorrectionParameters, fit_choices
from linumpy.stage.spool import planes_per_read

__all__ = ["StagedFiles", "code_digest", "plan_acquisition"]

Triple = tuple[int, int, int]

BATCH_SECONDS = 30.0
"""A fit task is to last about this long, so that starting it (2 s) costs little."""
SECONDS_PER_SAMPLE_AND_ITERATION = {"native": 4e-9, "gpu": 1e-10, "cpu": 1.5e-6}
SLAB_VOXELS = 256 * 2**20
"""Most voxels of a CORRECT task, as far as one row of files holds fewer."""
SLAB_PLANES = 512
"""Most planes of a CORRECT task: its statistics keep samples of every plane."""
END_PLANE_SAMPLES = 250_000
"""Most samples kept of a section's first and last plane."""
INTERPRETER_MB = 400
MOST_TASK_MB = 1 << 20
"""Memory beyond which a request is taken for a fault of the image."""
MASK_WORKERS = 2
"""Threads that the memory of TISSUE_MASK is planned for, those of its resource label."""
MASK_MB = 1200
"""Memory of TISSUE_MASK, beyond which large sections are read twice (a plane may still ask for more)."""


@dataclass(frozen=True)
class StagedFiles:
    """Where the files that a samplesheet names are for the task that checks it.

    Parameters
    ----------
    paths : mapping of str to str
        Samplesheet cell to the path it stands for.
    staged : mapping of str to str
        Samplesheet cell to the file in the task; a cell whose file does not exist is missing.
    """

    paths: Mapping[str, str]
    staged: Mapping[str, str]

    def find(self, cell: str) -> Path:
        """Return the staged file of a cell.

        Raises
        ------
        OmeZarrError
            If there is none.
        """
        if cell not in self.staged:
            raise OmeZarrError(
                self.paths.get(cell, cell),
                "no such file or folder; give a path relative to the samplesheet, or absolute",
            )
        return Path(self.staged[cell])


def code_digest() -> str:
    """Return a digest of this package's files, so that changed code is never taken for a finished task's."""
    root = Path(linumpy.__file__).parent
    digest = hashlib.sha256()
    for file in sorted(path for path in root.rglob("*") if path.is_file() and path.parent.name != "__pycache__"):
        digest.update(str(file.relative_to(root)).encode() + b"\0" + file.read_bytes())
    return f"{linumpy.__version__}+{digest.hexdigest()[:16]}"


def plan_acquisition(
    row: Row, files: StagedFiles, parameters: Mapping[str, Any], code: str
) -> tuple[dict[str, Any] | None, dict[str, Any] | None, list[str]]:
    """Check one row of the samplesheet against its image and plan its tasks.

    Parameters
    ----------
    row : Row
        The row.
    files : StagedFiles
        The files it names.
    parameters : mapping
        Resolved parameters.
    code : str
        See :func:`code_digest`.

    Returns
    -------
    plan : dict or None
        JSON values, a group a process; None where there are faults.
    inputs : dict or None
        What the image is and its fingerprint, for the provenance.
    faults : list of str
        One line each.
    """
    faults: list[str] = []

    def attempt(column: str, check: Any) -> Any:
        try:
            return check()
        except OmeZarrError as error:
            cell = getattr(row, column)
            staged = printable(files.staged.get(cell, ""))  # as the error has it
            # Name the user's path, not the task's.
            faults.append(
                f"{row.where}: {column}: {str(error).replace(staged, files.paths.get(cell, cell)) if staged else error}"
            )
        except ValueError as error:
            faults.append(f"{row.where}: {column}: {error}")
        return None

    image: Image | None = attempt(
        "image",
        lambda: open_image(
            files.find(row.image),
            channel=row.channel,
            timepoint=row.timepoint,
            voxel_size_um=parameters["voxel_size_um"],
        ),
    )
    given_sections = attempt("sections", lambda: read_sections(files.find(row.sections))) if row.sections else None
    mask: Image | None = attempt("mask", lambda: open_mask(files.find(row.mask))) if row.mask else None
    if image is None:
        return None, None, faults
    sections = None
    if given_sections or row.n_sections:
        column = "sections" if row.sections else "n_sections"
        sections = attempt(column, lambda: section_bounds(image.shape[0], given_sections or row.n_sections or 1))
    if mask is not None and mask.shape != image.shape:
        faults.append(
            f"{row.where}: mask has shape {mask.shape}, image {image.shape} (z, y, x); give a mask on the image's grid"
        )
    missing = attempt("image", lambda: missing_chunks(image))
    if missing is not None and missing.n_missing and parameters["missing_chunks"] == "error":
        faults.append(
            f"{row.where}: image: {missing.n_missing} of {missing.n_chunks} chunks are not there and read as the fill "
            "value; copy the store again, or let them pass with --missing_chunks warn"
        )
    if faults or sections is None:
        return None, None, faults
    fingerprints = [attempt("image", lambda: fingerprint(files.find(row.image)))]
    if row.mask:
        fingerprints.append(attempt("mask", lambda: fingerprint(files.find(row.mask))))
    if faults:
        return None, None, faults
    small = parameters["preview"] or parameters["tune"]
    view = (stand_in if small else full_image)(image, sections, parameters)
    plan = _plan(row, files, view, missing.n_missing, [code, *fingerprints])
    faults += [f"{row.where}: image: {fault}" for fault in _absurd_requests(plan)]
    if faults:
        return None, None, faults
    if parameters["tune"]:
        plan["tune"] |= {"factors": _joined(view.factors), "parameters": CorrectionParameters.among(parameters)}
    inputs = {
        "acquisition": row.acquisition,
        "image": files.paths[row.image],
        "mask": row.mask and files.paths[row.mask],
        "channel": image.channel,
        "timepoint": image.timepoint,
        "fingerprints": fingerprints,
        "shape": list(image.shape),
        "dtype": str(image.dtype),
        "voxel_size_mm": list(image.voxel_size_mm),
        "sections": [list(bounds) for bounds in sections],
    }
    return plan, inputs, faults


def _plan(
    row: Row,
    files: StagedFiles,
    view: StandIn,
    n_missing: int,
    origin: list[str],
) -> dict[str, Any]:
    image, sections, parameters = view.image, view.sections, view.parameters
    section_choice, stack_choice = fit_choices(
        image.shape, sections, image.voxel_size_mm, CorrectionParameters.of(parameters)
    )
    choices = {"per_section": [section_choice], "global": [stack_choice]}.get(
        parameters["mode"], [section_choice, stack_choice]
    )
    warnings = [
        *view.warnings,
        *(
            {"code": "lattice", "message": message, "section": None}
            for choice in choices
            for message in choice.warnings
        ),
    ]
    selection = {
        "channel": "" if image.channel is None else image.channel,
        "timepoint": "" if image.timepoint is None else image.timepoint,
        "voxel_size_um": _joined(parameters["voxel_size_um"]) if parameters["voxel_size_um"] else "",
        "level": view.level,
        "stride": _joined(view.stride),
        "origin": origin,
    }
    fit = {
        "n_iterations": "" if parameters["n_iterations"] == "auto" else _joined(parameters["n_iterations"]),
        "depth_profile": parameters["depth_profile"],
        "backend": parameters["backend"],
        "origin": origin,
    }
    joined_sections = ",".join(f"{z_start}:{z_stop}" for z_start, z_stop in sections)
    output = {name: parameters[name] for name in ("output_dtype", "ome_zarr_version")}
    layout = layout_like(image, **output)
    slabs = _slabs(layout, parameters["slab_planes"])
    deepest = max(z_stop - z_start for z_start, z_stop in sections)
    samples = math.prod(SampleGrid.of((deepest, *image.shape[1:]), section_choice.shrink_factor).size)
    batches = (
        _batches(len(sections), samples * sum(section_choice.n_iterations), parameters)
        if parameters["mode"] != "global"
        else []
    )
    stack_samples = math.prod(SampleGrid.of(image.shape, stack_choice.shrink_factor).size)
    file_grid = layout.levels[0].file_grid
    shard_mb = math.prod(file_grid) * 4 / 2**20
    wider = any(chunk > file for chunk, file in zip(image.chunks, file_grid, strict=True))
    correct_mb = _bucket(INTERPRETER_MB + 6 * shard_mb + 200 + _decoding_mb(image, spooled=wider))
    return {
        "id": row.acquisition,
        "image": files.paths[row.image],
        "mask": row.mask and files.paths[row.mask],
        "tissue_mask": selection
        | {name: parameters[name] for name in _MASK_PARAMETERS}
        | {
            "sections": joined_sections,
            "section_shrink": _joined(section_choice.shrink_factor),
            "stack_shrink": _joined(stack_choice.shrink_factor),
            "end_stride": _end_stride(image.shape),
            "max_mb": MASK_MB,
            "memory_mb": _bucket(
                INTERPRETER_MB
                + _mask_mb(image, sections, parameters)
                + _decoding_mb(image, spooled=planes_per_read(image) < image.chunks[0])
            ),
        },
        "n4_section": [
            fit
            | {
                "first": first,
                "last": last,
                "n_batches": len(batches),
                "spline_distance_mm": parameters["spline_distance_section_mm"],
                "shading_mm": parameters["shading_section_mm"],
                "memory_mb": _bucket(INTERPRETER_MB + samples * 64 / 2**20),
            }
            for first, last in batches
        ],
        "n4_global": fit
        | {
            "mode": parameters["mode"],
            "harmonise": parameters["harmonise"],
            "spline_distance_mm": parameters["spline_distance_global_mm"],
            "shading_mm": parameters["shading_global_mm"],
            "memory_mb": _bucket(INTERPRETER_MB + stack_samples * 64 / 2**20),
        },
        "correct": [
            selection
            | output
            | {name: parameters[name] for name in ("strength", "zero_outside_mask", "save_bias_field")}
            | {
                "z_start": z_start,
                "z_stop": z_stop,
                "n_slabs": len(slabs),
                "n_levels": layout.n_complete_levels(slabs),
                "memory_mb": correct_mb,
            }
            for z_start, z_stop in slabs
        ],
        "assemble": selection | output | {"n_slabs": len(slabs), "memory_mb": _bucket(INTERPRETER_MB + 4 * shard_mb)},
        "tune": selection
        | {
            "sections": joined_sections,
            "memory_mb": _bucket(INTERPRETER_MB + math.prod(image.shape) * 64 / 2**20),
        }
        if parameters["tune"]
        else None,
        "report": _quotable(
            {
                "acquisition": row.acquisition,
                "parameters": {name: value for name, value in parameters.items() if name not in _NOT_REPORTED},
                "chosen": [
                    {"what": what, "value": value, "why": why}
                    for choice in choices
                    for what, value, why in choice.reasons
                ],
                "warnings": warnings,
                "missing_chunks": n_missing,
                "mask_given": bool(row.mask),
                "code": origin[0],
            }
        ),
    }


_MASK_PARAMETERS = (
    "mask_method",
    "mask_min_size",
    "mask_largest",
    "smoothing_sigma",
    "smoothing_sigma_z",
    "closing_radius",
    "z_closing_sections",
    "backend",
    "ome_zarr_version",
)
_NOT_REPORTED = ("input", "outdir", "publish_mode", "help", "sections_per_task", "slab_planes", "tune")


def _quotable(values: dict[str, Any]) -> dict[str, Any]:
    """Return the values with typographic apostrophes: they stand between single quotes in a task's command."""
    quotable: dict[str, Any] = json.loads(json.dumps(values).replace("'", "’"))
    return quotable


def _absurd_requests(plan: Mapping[str, Any]) -> list[str]:
    """Name the tasks that no node has the memory for."""
    asked = {
        name: max(group["memory_mb"] for group in ([groups] if isinstance(groups, dict) else groups))
        for name in ("tissue_mask", "n4_section", "n4_global", "correct", "assemble", "tune")
        if (groups := plan[name])
    }
    return [
        f"a task of {name.upper()} would need {mb / 1024:,.0f} GiB of memory, more than {MOST_TASK_MB >> 10:,} are not "
        "asked for: check the shape, write smaller chunks, or cut the planes into parts"
        for name, mb in asked.items()
        if mb > MOST_TASK_MB
    ]


def _end_stride(shape: Triple) -> int:
    return max(1, math.ceil(math.sqrt(shape[1] * shape[2] / END_PLANE_SAMPLES)))


def _bucket(megabytes: float) -> int:
    """Round a request up to 1, 2, 4, ... GiB: a job array wants one request for all its members."""
    return int(1024 * 2 ** max(0, math.ceil(math.log2(megabytes / 1024))))


def _mask_mb(image: Image, sections: Sections, parameters: Mapping[str, Any]) -> int:
    needed = mask_memory(
        image.shape,
        sections,
        smoothing_sigma_z=parameters["smoothing_sigma_z"],
        z_closing_sections=parameters["z_closing_sections"],
        method=parameters["mask_method"],
        max_bytes=MASK_MB * 2**20,
        workers=MASK_WORKERS,
        block_planes=planes_per_read(image),
        itemsize=image.dtype.itemsize,
    )
    return math.ceil(needed.bytes / 2**20)


def _decoding_mb(image: Image, *, spooled: bool) -> float:
    """Two chunks being decoded, and the row of them that a spool decodes at once."""
    chunk = math.prod(image.chunks) * image.dtype.itemsize / 2**20
    return chunk * (2 + (-(-image.shape[2] // image.chunks[2]) if spooled else 0))


def _batches(n_sections: int, sample_iterations: int, parameters: Mapping[str, Any]) -> list[tuple[int, int]]:
    """First and last section of each N4_SECTION task."""
    size = parameters["sections_per_task"]
    if size is None:
        seconds = sample_iterations * SECONDS_PER_SAMPLE_AND_ITERATION[parameters["backend"]]
        size = max(1, round(BATCH_SECONDS / max(seconds, 1e-3)))
    return [(first, min(first + size, n_sections) - 1) for first in range(0, n_sections, size)]


def _slabs(layout: PyramidLayout, slab_planes: int | None) -> list[tuple[int, int]]:
    """First plane and plane after the last of each CORRECT task: whole file rows of level 0."""
    n_planes, rows, columns = layout.shape
    row_depth = layout.levels[0].row_depth
    wanted = slab_planes or max(row_depth, min(SLAB_PLANES, SLAB_VOXELS // (rows * columns)))
    depth = row_depth * max(1, -(-wanted // row_depth) if slab_planes else wanted // row_depth)
    return [(z_start, min(z_start + depth, n_planes)) for z_start in range(0, n_planes, depth)]


def _joined(values: Any) -> str:
    return ",".join(str(value) for value in values)
