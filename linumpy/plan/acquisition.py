"""One acquisition planned: its image opened, its row checked, and every task's share of the work written down.

The plan is plain JSON values, one group a process. A group holds exactly what may change that process's result (and the
memory it asks for), so that a changed setting repeats the work it touches and no other.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import linumpy
from linumpy.intensity.mask_plan import MaskSettings, is_screened
from linumpy.intensity.sections import Sections, section_bounds
from linumpy.intensity.tissue_mask import mask_memory
from linumpy.io.chunks import fingerprint
from linumpy.io.errors import OmeZarrError
from linumpy.io.given_mask import misplaced
from linumpy.io.ome_zarr import Image, open_image, open_mask
from linumpy.io.pyramid import PyramidLayout, layout_like
from linumpy.n4.grid import SampleGrid
from linumpy.plan.found_sections import as_reason, sections_of_data
from linumpy.plan.preview import StandIn, full_image, stand_in
from linumpy.plan.samplesheet import Row, read_sections
from linumpy.plan.stored import checked_chunks, link_warnings
from linumpy.printable import printable
from linumpy.stage.correct import CorrectionSettings
from linumpy.stage.fit import FitSettings
from linumpy.stage.local import CorrectionParameters, fit_choices, fit_settings
from linumpy.stage.samples import SampleGeometry
from linumpy.stage.spool import planes_per_read
from linumpy.stage.statistics import PLANE_SAMPLES

__all__ = ["StagedFiles", "code_digest", "plan_acquisition"]

Triple = tuple[int, int, int]

BATCH_SECONDS = 30.0
"""A fit task is to last about this long, so that starting it (2 s) costs little."""
SECONDS_PER_SAMPLE_AND_ITERATION = {"native": 4e-9, "gpu": 1e-10, "cpu": 1.5e-6}
SLAB_VOXELS = 256 * 2**20
"""Most voxels of a CORRECT task, as far as one row of files holds fewer."""
SECONDS_PER_SECTION = 3e-3
"""Beside its iterations: samples read and checked, the fit set up and written."""
BATCH_SECTIONS = 2000
"""Most sections of a fit task: each iteration costs its 0.2 ms, however small they are."""
SLAB_SAMPLES = 512 * PLANE_SAMPLES
"""Most samples that the statistics of a CORRECT task keep, some of every plane."""
SLAB_PLANES = 2048
"""Most planes of a CORRECT task: each costs its 2 ms, however small it is."""
RATIO_SAMPLES = 65_536
"""Most samples kept of every plane, for the brightness along Z."""
PLAUSIBLE_WIDTH_MM = (0.2, 1000.0)
"""Sizes of what is cut into serial sections, with a wide margin: an embryo, a whole human brain."""
INTERPRETER_MB = 400
SECTION_MB = 0.02
"""Memory of a section's fit and figures, in tasks that hold those of all sections."""
MOST_SECTIONS = 40_000
"""Of an acquisition: REPORT has 1 GiB."""
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
    sections, found = None, None
    if given_sections or row.n_sections:
        column = "sections" if row.sections else "n_sections"
        sections = attempt(column, lambda: _sections(image.shape[0], given_sections or row.n_sections or 1))
    elif not row.sections:
        found = attempt("image", lambda: sections_of_data(image, parameters))
        sections = found and found.sections
    if mask is not None and mask.shape != image.shape:
        faults.append(
            f"{row.where}: mask has shape {mask.shape}, image {image.shape} (z, y, x); give a mask on the image's grid"
        )
    small = parameters["preview"] or parameters["tune"]
    view = (stand_in if small else full_image)(image, sections, parameters) if sections else None
    read = image if view is None else (image, *image.levels)[view.level]
    volumes = {"image": read} if mask is None else {"image": read, "mask": mask}
    missing = {
        column: attempt(column, lambda volume=volume: checked_chunks(volume, parameters["missing_chunks"]))
        for column, volume in volumes.items()
    }
    if faults or sections is None or view is None:
        return None, None, faults
    fingerprints = [attempt("image", lambda: fingerprint(files.find(row.image)))]
    if row.mask:
        fingerprints.append(attempt("mask", lambda: fingerprint(files.find(row.mask))))
    if faults:
        return None, None, faults
    warnings = [
        *(warning for column in missing for warning in link_warnings(column, missing[column])),
        *_implausible(image, sections, given=row.n_sections is None),
    ]
    # A size that is given by hand tells that the metadata are wrong, most likely the mask's too.
    if mask is not None and parameters["voxel_size_um"] is None and (told := misplaced(mask, image)):
        warnings.append({"code": "mask_place", "message": told, "section": None})
    plan = _plan(row, files, view, missing["image"].n_missing, [code, *fingerprints], warnings)
    if found:
        what, value, why = as_reason(found)
        plan["report"]["chosen"].insert(0, {"what": what, "value": value, "why": why})
    if parameters["tune"]:
        plan["tune"] |= {"factors": view.factors, "parameters": CorrectionParameters.among(parameters)}
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


def _implausible(image: Image, sections: Sections, *, given: bool) -> list[dict[str, Any]]:
    """Warn of sizes that are most likely a slip; `given` tells that the sections' bounds follow from no number."""
    found = []
    extent_mm = [n * size for n, size in zip(image.shape, image.voxel_size_mm, strict=True)]
    if not PLAUSIBLE_WIDTH_MM[0] <= max(extent_mm[1:]) or not max(extent_mm) <= PLAUSIBLE_WIDTH_MM[1]:
        found.append(
            (
                "size",
                f"the image is {' x '.join(f'{mm:.3g}' for mm in extent_mm)} mm (z, y, x), "
                f"its voxels {' x '.join(f'{1000 * mm:.3g}' for mm in image.voxel_size_mm)} µm: was one unit taken "
                "for another? Lengths of the fits are in mm; --voxel_size_um gives the right size",
            )
        )
    depths = [z_stop - z_start for z_start, z_stop in sections]
    if not given and min(depths) != max(depths):
        told = ", ".join(map(str, depths[:8])) + (", ..." if len(depths) > 8 else "")
        found.append(
            (
                "uneven_sections",
                f"{image.shape[0]} planes cannot be cut into {len(sections)} equal sections: they hold {told} planes. "
                "Is n_sections right? A cut in the wrong place spoils two sections; the column `sections` names a CSV "
                "file of their bounds",
            )
        )
    return [{"code": code, "message": message, "section": None} for code, message in found]


def _plan(
    row: Row,
    files: StagedFiles,
    view: StandIn,
    n_missing: int,
    origin: list[str],
    warnings: Sequence[dict[str, Any]],
) -> dict[str, Any]:
    image, sections, parameters = view.image, view.sections, view.parameters
    correction = CorrectionParameters.of(parameters)
    section_fit, stack_fit = fit_settings(correction)
    section_choice, stack_choice = fit_choices(image.shape, sections, image.voxel_size_mm, correction)
    choices = {"per_section": [section_choice], "global": [stack_choice]}.get(
        parameters["mode"], [section_choice, stack_choice]
    )
    warnings = [
        *view.warnings,
        *warnings,
        *(
            {"code": "lattice", "message": message, "section": None}
            for choice in choices
            for message in choice.warnings
        ),
    ]
    selection = {
        "origin": origin,
        "image": {
            "channel": image.channel,
            "timepoint": image.timepoint,
            "voxel_size_um": parameters["voxel_size_um"],
            "level": view.level,
            "stride": view.stride,
        },
    }
    mask = MaskSettings(
        method=parameters["mask_method"],
        min_size=parameters["mask_min_size"],
        largest=parameters["mask_largest"],
        smoothing_sigma=parameters["smoothing_sigma"],
        smoothing_sigma_z=parameters["smoothing_sigma_z"],
        closing_radius=parameters["closing_radius"],
        z_closing_sections=parameters["z_closing_sections"],
        use_gpu=parameters["backend"] == "gpu",
        max_bytes=MASK_MB * 2**20,
        block_planes=planes_per_read(image),
        itemsize=image.dtype.itemsize,
        screened=is_screened(parameters["mask_method"]),
    )
    output = {name: parameters[name] for name in ("output_dtype", "ome_zarr_version")}
    layout = layout_like(image, **output)
    slabs = _slabs(layout, parameters["slab_planes"])
    correction_settings = CorrectionSettings(
        **{name: parameters[name] for name in ("strength", "zero_outside_mask", "save_bias_field", "offset")}
    )
    n_levels = layout.n_complete_levels(slabs)
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
    of_sections = len(sections) * SECTION_MB
    correct_mb = _bucket(INTERPRETER_MB + 6 * shard_mb + 200 + _decoding_mb(image, spooled=wider) + of_sections)
    return {
        "id": row.acquisition,
        "image": files.paths[row.image],
        "mask": row.mask and files.paths[row.mask],
        "tissue_mask": selection
        | {
            "geometry": asdict(
                SampleGeometry(
                    image.shape,
                    image.voxel_size_mm,
                    sections,
                    section_choice.shrink_factor,
                    stack_choice.shrink_factor,
                    _plane_stride(image.shape),
                    parameters["offset"],
                )
            ),
            "mask": _planned(mask),
            "ome_zarr_version": parameters["ome_zarr_version"],
            "along_z": parameters["depth_profile"] or parameters["harmonise"] == "gain",
            "memory_mb": _bucket(
                INTERPRETER_MB
                + _mask_mb(image, sections, mask)
                + _decoding_mb(image, spooled=planes_per_read(image) < image.chunks[0])
            ),
        },
        "n4_section": [
            {
                "origin": origin,
                "first": first,
                "last": last,
                "n_batches": len(batches),
                "fit": _planned(section_fit),
                "memory_mb": _bucket(INTERPRETER_MB + samples * 64 / 2**20),
            }
            for first, last in batches
        ],
        "n4_global": {
            "origin": origin,
            "mode": parameters["mode"],
            "fit": _planned(stack_fit),
            "match_batch": parameters["match_batch"],
            "memory_mb": _bucket(INTERPRETER_MB + stack_samples * 64 / 2**20 + len(sections) * SECTION_MB),
        },
        "correct": [
            selection
            | {
                "layout": output,
                "correction": asdict(correction_settings),
                "z_start": z_start,
                "z_stop": z_stop,
                "n_slabs": len(slabs),
                "n_levels": n_levels,
                "memory_mb": correct_mb,
            }
            for z_start, z_stop in slabs
        ],
        "assemble": selection | {"memory_mb": _bucket(INTERPRETER_MB + 4 * shard_mb)},
        "tune": selection
        | {
            "sections": sections,
            "memory_mb": _bucket(INTERPRETER_MB + math.prod(image.shape) * 64 / 2**20),
        }
        if parameters["tune"]
        else None,
        "report": {
            "acquisition": row.acquisition,
            "parameters": {name: value for name, value in parameters.items() if name not in _NOT_REPORTED},
            "chosen": [
                {"what": what, "value": value, "why": why} for choice in choices for what, value, why in choice.reasons
            ],
            "warnings": warnings,
            "missing_chunks": n_missing,
            "mask_given": bool(row.mask),
            "code": origin[0],
        },
    }


_NOT_REPORTED = ("input", "outdir", "publish_mode", "help", "sections_per_task", "slab_planes", "tune")


def _sections(n_planes: int, sections: int | list[tuple[int, int]]) -> Sections:
    """Return the bounds of sections that are not too many."""
    bounds = section_bounds(n_planes, sections)
    if len(bounds) > MOST_SECTIONS:
        raise ValueError(
            f"{len(bounds)} sections are more than the {MOST_SECTIONS} whose fields fit the memory of a task; cut the "
            f"acquisition along Z into several, or join sections"
        )
    return bounds


def _planned(settings: MaskSettings | FitSettings) -> dict[str, Any]:
    """Return settings as values of the plan: all but the threads, which the task knows."""
    return {name: value for name, value in asdict(settings).items() if name != "workers"}


def _plane_stride(shape: Triple) -> int:
    return max(1, math.ceil(math.sqrt(shape[1] * shape[2] / RATIO_SAMPLES)))


def _bucket(megabytes: float) -> int:
    """Round a request up to 1, 2, 4, ... GiB: the same for images that differ by little."""
    return int(1024 * 2 ** max(0, math.ceil(math.log2(megabytes / 1024))))


def _mask_mb(image: Image, sections: Sections, mask: MaskSettings) -> int:
    needed = mask_memory(
        image.shape,
        sections,
        smoothing_sigma_z=mask.smoothing_sigma_z,
        z_closing_sections=mask.z_closing_sections,
        method=mask.method,
        screened=mask.screened,
        max_bytes=mask.max_bytes,
        workers=MASK_WORKERS,
        block_planes=mask.block_planes,
        itemsize=mask.itemsize,
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
        seconds = sample_iterations * SECONDS_PER_SAMPLE_AND_ITERATION[parameters["backend"]] + SECONDS_PER_SECTION
        size = min(max(1, round(BATCH_SECONDS / seconds)), BATCH_SECTIONS)
    return [(first, min(first + size, n_sections) - 1) for first in range(0, n_sections, size)]


def _slabs(layout: PyramidLayout, slab_planes: int | None) -> list[tuple[int, int]]:
    """First plane and plane after the last of each CORRECT task: whole file rows of level 0."""
    n_planes, rows, columns = layout.shape
    row_depth = layout.levels[0].row_depth
    most = min(SLAB_SAMPLES // min(PLANE_SAMPLES, rows * columns), SLAB_VOXELS // (rows * columns))
    wanted = slab_planes or max(row_depth, min(most, SLAB_PLANES))
    depth = row_depth * max(1, -(-wanted // row_depth) if slab_planes else wanted // row_depth)
    return [(z_start, min(z_start + depth, n_planes)) for z_start in range(0, n_planes, depth)]
