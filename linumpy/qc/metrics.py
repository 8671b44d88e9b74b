"""The figures that say whether a correction did what it should: steps at the cuts, evenness inside sections, the field.

Everything comes from what the tasks kept: samples, lattices and statistics. No voxel of the image is read again.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

import linumpy
from linumpy.intensity.along_z import AlongZ
from linumpy.intensity.bias_model import BiasModel
from linumpy.intensity.correction import cast_block, correct_block
from linumpy.intensity.quantiles import median, quantiles
from linumpy.intensity.sections import Sections
from linumpy.printable import listed
from linumpy.stage.samples import Samples

__all__ = ["acquisition_metrics", "coefficient_of_variation", "plane_contrast", "step_ratio"]

USUAL_GAINS = (0.5, 2.0)
"""A section's gain beyond these, relative to that of the median section, is worth a look."""
LARGEST_GAIN, LARGEST_ERROR = 3.0, 0.1
"""A gain beyond the one, relative to the median section's, needs a standard error below the other."""
USUAL_ERROR = 0.05
"""Planes whose level has a larger standard error are named."""
FELL_BACK = 0.7
"""Where a section's own planes leave a larger share of what a gain's standard deviation is, they tell it hardly."""
LISTED_PLANES = 20
"""Most planes, and runs of planes, that a sentence names."""
_BACKENDS = {"numba": "native", "cupy": "gpu", "simpleitk": "cpu", "numpy": "numpy"}
MIN_COMMON_TISSUE = 50
"""Fewest voxels, tissue on both sides of a cut, that a step is told from."""


def step_ratio(
    last: NDArray[np.float32],
    first: NDArray[np.float32],
    mask_last: NDArray[np.bool_],
    mask_first: NDArray[np.bool_],
) -> float | None:
    """Return the step at a cut: the median ratio of the first plane after it to the last before it.

    Parameters
    ----------
    last, first : ndarray of shape (Y, X)
        Intensities of the last plane before the cut and of the first after it.
    mask_last, mask_first : ndarray of bool, shape (Y, X)
        Their tissue; pixels that are tissue on both sides, finite and positive, count.

    Returns
    -------
    float or None
        1 is no step; None where fewer than 50 pixels are common.
    """
    with np.errstate(invalid="ignore"):
        common = mask_last & mask_first & np.isfinite(last) & np.isfinite(first) & (last > 0) & (first > 0)
    if np.count_nonzero(common) < MIN_COMMON_TISSUE:
        return None
    return median(first[common] / last[common])


def plane_contrast(plane: NDArray[np.float32], mask: NDArray[np.bool_]) -> float | None:
    """Return the 90th over the 25th percentile of a plane's tissue.

    Parameters
    ----------
    plane : ndarray of shape (Y, X)
        Intensities; those in the mask that are finite and positive count.
    mask : ndarray of bool, shape (Y, X)
        Tissue.

    Returns
    -------
    float or None
        None with fewer than 50 voxels.
    """
    with np.errstate(invalid="ignore"):
        tissue = plane[mask & np.isfinite(plane) & (plane > 0)]
    if len(tissue) < MIN_COMMON_TISSUE:
        return None
    low, high = quantiles(tissue, [0.25, 0.9])
    return high / low


def coefficient_of_variation(values: Sequence[float | None]) -> float | None:
    """Return standard deviation over mean of the values that are there; None for fewer than two."""
    found = np.array([value for value in values if value is not None])
    if len(found) < 2 or found.mean() == 0:
        return None
    return float(found.std() / found.mean())


def acquisition_metrics(
    settings: Mapping[str, Any],
    samples: Samples,
    tissue: Mapping[str, Any],
    bias: BiasModel,
    correction: Mapping[str, Any],
) -> dict[str, Any]:
    """Gather the metrics of an acquisition, as ``assets/metrics_schema.json`` describes them.

    Parameters
    ----------
    settings : mapping
        The plan's group for the report: parameters, what was chosen and why, warnings.
    samples : Samples
        Samples of the image and its mask.
    tissue : mapping
        What TISSUE_MASK found: image, digest, voxels, tissue per plane, sections, cuts.
    bias : BiasModel
        The whole field.
    correction : mapping
        What CORRECT and ASSEMBLE found: medians per plane, clipped voxels.
    """
    parameters = settings["parameters"]
    dtype = tissue["image"]["dtype"] if parameters["output_dtype"] == "input" else "float32"
    written = functools.partial(_written, strength=parameters["strength"], dtype=dtype)
    planes = correction["planes"]
    plane_voxels = samples.geometry.shape[1] * samples.geometry.shape[2]
    steps, inside = list(_steps(samples, bias, written)), list(_inside(samples, bias, written))
    sections: list[dict[str, Any]] = []
    harmonised = settings["parameters"]["harmonise"] == "gain"
    measured = samples.along_z if harmonised or settings["parameters"]["depth_profile"] else None
    along_z = None if measured is None else _along_z(measured, bias.sections)
    for index, ((z_start, z_stop), gain, fit) in enumerate(
        zip(bias.sections, bias.gains, bias.section_fits, strict=True)
    ):
        low, high, contrast_before, contrast_after = inside[index]
        before, after = steps[index] if index < len(steps) else (None, None)
        share = float(np.mean([n / plane_voxels for n in tissue["planes"]["tissue"][z_start:z_stop]]))
        sections.append(
            {
                "index": index,
                "z_start": z_start,
                "z_stop": z_stop,
                "planes": z_stop - z_start,
                "empty": share == 0,
                "tissue_fraction": share,
                "field_p1": low,
                "field_p99": high,
                "gain": gain,
                "gain_error": _largest(along_z["errors"][z_start:z_stop]) if along_z and harmonised else None,
                "levels": _levels(fit),
                "step_before": before,
                "step_after": after,
                "cv_before": coefficient_of_variation(planes["median_before"][z_start:z_stop]),
                "cv_after": coefficient_of_variation(planes["median_after"][z_start:z_stop]),
                "contrast_before": contrast_before,
                "contrast_after": contrast_after,
            }
        )
    tissue_fraction = float(np.mean(tissue["planes"]["tissue"]) / plane_voxels)
    jumps = {when: _jumps(planes[f"median_{when}"], bias) for when in ("before", "after")}
    return {
        "acquisition": settings["acquisition"],
        "image": tissue["image"],
        "software": {"linumpy": linumpy.__version__, "code": settings["code"]},
        "mode": settings["parameters"]["mode"],
        "backend": _backend(bias),
        "parameters": settings["parameters"],
        "chosen": settings["chosen"],
        "warnings": [
            *settings["warnings"],
            *tissue["warnings"],
            *_warnings(tissue, sections, tissue_fraction),
            *(wrong_cuts := _wrong_cuts(tissue["cuts"], parameters["mode"])),
            # A cut that was not declared makes the plane beside it look odd.
            *_odd_planes(
                along_z,
                bias,
                put_right=parameters["depth_profile"],
                cuts=tissue["cuts"]["found"] if wrong_cuts else (),
            ),
            *_unsupported(along_z),
            *_matched(bias.match),
        ],
        "tissue_fraction": tissue_fraction,
        "voxels": {**tissue["voxels"], **correction["clipped"]},
        "missing_chunks": settings["missing_chunks"],
        "sections": sections,
        "global": _global(samples, bias),
        "along_z": along_z,
        "cuts": tissue["cuts"],
        "match": bias.match,
        "planes": {
            "median_before": planes["median_before"],
            "median_after": planes["median_after"],
            "tissue_fraction": [n / plane_voxels for n in tissue["planes"]["tissue"]],
        },
        "summary": {
            "step_deviation_before": _median_deviation([before for before, _ in steps]),
            "step_deviation_after": _median_deviation([after for _, after in steps]),
            "step_worst_before": _worst([None if before is None else abs(before - 1) for before, _ in steps]),
            "step_worst_after": _worst([None if after is None else abs(after - 1) for _, after in steps]),
            "cv_worst_before": _worst([section["cv_before"] for section in sections]),
            "cv_worst_after": _worst([section["cv_after"] for section in sections]),
            "jump_before": _median(jumps["before"]),
            "jump_after": _median(jumps["after"]),
            "jump_worst_before": _worst(jumps["before"], "plane"),
            "jump_worst_after": _worst(jumps["after"], "plane"),
            "cv_within_before": _median([section["cv_before"] for section in sections]),
            "cv_within_after": _median([section["cv_after"] for section in sections]),
            "contrast_before": _median([section["contrast_before"] for section in sections]),
            "contrast_after": _median([section["contrast_after"] for section in sections]),
            "cv_planes_before": coefficient_of_variation(planes["median_before"]),
            "cv_planes_after": coefficient_of_variation(planes["median_after"]),
        },
    }


def _along_z(measured: AlongZ, sections: Sections) -> dict[str, Any]:
    """Return what was measured along Z; planes that nothing was measured of have no error and nothing kept."""
    errors = [error or None for error in measured.errors.tolist()]
    kept = [None if error is None else level for level, error in zip(measured.kept.tolist(), errors, strict=True)]
    return measured.to_dict() | {
        "errors": errors,
        "kept": kept,
        "fell_back": _fell_back(measured, sections),
        "verdict": _verdict(errors, len(sections)),
    }


def _fell_back(measured: AlongZ, sections: Sections) -> list[int]:
    """Return the sections with tissue whose own planes tell too little: what they get is what the sections share."""
    most = max(USUAL_ERROR, FELL_BACK * measured.variances["gain"])
    fell = []
    for index, (z_start, z_stop) in enumerate(sections):
        known = measured.errors[z_start:z_stop]
        known = known[known > 0]
        if measured.tissue[z_start:z_stop].any() and not (known.size and known.min() <= most):
            fell.append(index)
    return fell if len(sections) > 1 else []


def _unsupported(along_z: Mapping[str, Any] | None) -> list[dict[str, Any]]:
    message = "its planes hardly tell its level: beside what all sections share it gets little or nothing of its own"
    return [
        {"code": "fell_back", "message": message, "section": section}
        for section in (along_z["fell_back"] if along_z else ())
    ]


def _verdict(errors: Sequence[float | None], n_sections: int) -> str:
    """Say what the data tell of the level along Z, and what they cannot."""
    usual = _median(errors)
    if usual is None:
        return "The data do not tell the level along Z: no two planes that follow each other share enough tissue."
    sentence = f"The data tell the level along Z to ±{100 * usual:.1f} % (standard error of the median plane)"
    runs = _runs([error is not None and error > USUAL_ERROR for error in errors])
    if runs:
        named = ", ".join(f"{a} to {b}" if b > a else f"{a}" for a, b in runs[:LISTED_PLANES])
        more = f" and {len(runs) - LISTED_PLANES} runs more" if len(runs) > LISTED_PLANES else ""
        what = "plane" if len(runs) == 1 and runs[0][0] == runs[0][1] else "planes"
        sentence += f"; {what} {named}{more} only to ±{100 * (_largest(errors) or 0):.1f} % at worst"
    alone = " With one section nothing repeats: they cannot tell a decay with depth from a change of the tissue."
    return f"{sentence}." + (alone if n_sections == 1 else "")


def _runs(there: Sequence[bool]) -> list[tuple[int, int]]:
    """Return first and last of each run of true values."""
    edges = np.flatnonzero(np.diff([False, *there, False]))
    return [(int(first), int(stop) - 1) for first, stop in zip(edges[::2], edges[1::2], strict=True)]


Written = Callable[[NDArray[np.float32], NDArray[np.float32]], NDArray[np.float32]]
"""The voxels that are written of some of the image, whose field's logarithm is the second argument (overwritten)."""


def _written(
    image: NDArray[np.float32], log_bias_field: NDArray[np.float32], *, strength: float, dtype: str
) -> NDArray[np.float32]:
    cast, _ = cast_block(correct_block(image, log_bias_field, strength=strength), dtype)
    return cast.astype(np.float32, copy=False)


def _steps(samples: Samples, bias: BiasModel, written: Written) -> Iterator[tuple[float | None, float | None]]:
    """Yield the step from each section to the next, before and after correction."""
    stride = samples.geometry.plane_stride

    def end_planes() -> Iterator[tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.bool_]]]:
        ends = sorted({plane for z_start, z_stop in bias.sections for plane in (z_start, z_stop - 1)})
        for first, images, masks in samples.blocks(ends):
            log_bias_field = bias.log_bias_field(images.shape, start=(first, 0, 0), step=(1, stride, stride))
            yield from zip(images, written(images, log_bias_field), masks, strict=True)

    planes = end_planes()
    last = None
    for z_start, z_stop in bias.sections:
        first = next(planes)
        if last is not None:
            before, after = (
                step_ratio(old, new, last[2], first[2]) for old, new in zip(last[:2], first[:2], strict=True)
            )
            yield before, after
        last = first if z_stop - z_start == 1 else next(planes)


Inside = tuple[float | None, float | None, float | None, float | None]


def _inside(samples: Samples, bias: BiasModel, written: Written) -> Iterator[Inside]:
    """Yield each section's field range and contrasts.

    Percentiles 1 and 99 of the whole field over the tissue; the median over the sampled planes of the 90th over the
    25th percentile of tissue, before and after correction.
    """
    for first, stop in samples.thin_sections():
        z_start, z_stop = bias.sections[first]
        if z_stop - z_start > 1:
            yield _inside_thick(samples, bias, first, written)
            continue
        images, masks = samples.run_of_sections(first, stop)
        grid = samples.geometry.section_grid(first)
        fields = bias.log_bias_field(images.shape, start=(z_start, *grid.start[1:]), step=(1, *grid.step[1:]))
        corrected = written(images, fields.copy())
        for image, after, field, mask in zip(images, corrected, fields, masks, strict=True):
            yield *_percentiles(field, mask), plane_contrast(image, mask), plane_contrast(after, mask)


def _inside_thick(samples: Samples, bias: BiasModel, index: int, written: Written) -> Inside:
    grid = samples.geometry.section_grid(index)
    image, mask = samples.section(index)
    start = (bias.sections[index][0] + grid.start[0], *grid.start[1:])
    log_bias_field = bias.log_bias_field(grid.size, start=start, step=grid.step)
    # Each plane has a level of its own, also those between the sampled ones, which differ little else.
    planes = np.arange(*bias.sections[index])
    nearest = np.clip((planes - start[0] + grid.step[0] // 2) // grid.step[0], 0, grid.size[0] - 1)
    level = np.array(bias.profile, np.float32)
    own = level[planes] - level[start[0] + grid.step[0] * nearest]
    low, high = _percentiles(log_bias_field[nearest] + own[:, None, None], mask[nearest])
    corrected = written(image, log_bias_field)
    before, after = (
        _median([plane_contrast(plane, tissue) for plane, tissue in zip(volume, mask, strict=True)])
        for volume in (image, corrected)
    )
    return low, high, before, after


def _global(samples: Samples, bias: BiasModel) -> dict[str, Any] | None:
    if bias.global_fit is None:
        return None
    alone = BiasModel(
        bias.sections,
        bias.voxel_size_mm,
        (None,) * len(bias.sections),
        (1.0,) * len(bias.sections),
        bias.global_fit,
    )
    grid = samples.geometry.stack_grid
    low, high = _percentiles(alone.log_bias_field(grid.size, start=grid.start, step=grid.step), samples.stack()[1])
    return {"levels": _levels(bias.global_fit), "field_p1": low, "field_p99": high}


def _percentiles(log_bias_field: NDArray[np.float32], mask: NDArray[np.bool_]) -> tuple[float | None, float | None]:
    if not mask.any():
        return None, None
    low, high = np.exp(quantiles(log_bias_field[mask], [0.01, 0.99]))
    return float(low), float(high)


def _levels(fit: Mapping[str, Any] | None) -> list[dict[str, Any]]:
    if fit is None:
        return []
    return [
        {name: level[name] for name in ("n_control_points", "iterations", "convergence")} for level in fit["levels"]
    ]


def _backend(bias: BiasModel) -> str:
    """Name what really computed the fits, by the names of the parameter ``backend``."""
    names = {_BACKENDS[fit["backend"]] for fit in (*bias.section_fits, bias.global_fit) if fit is not None}
    return ", ".join(sorted(names)) or "none (no tissue)"


def _warnings(
    tissue: Mapping[str, Any], sections: Sequence[Mapping[str, Any]], tissue_fraction: float
) -> list[dict[str, Any]]:
    def warning(code: str, message: str, section: int | None = None) -> dict[str, Any]:
        return {"code": code, "message": message, "section": section}

    voxels = tissue["voxels"]
    low, high = USUAL_GAINS
    if tissue_fraction == 0:
        return [warning("no_tissue", "no tissue was found anywhere: the voxels are written as they were")]
    found = [
        warning("empty_section", "no tissue was found; it takes no part in the fits", section["index"])
        for section in sections
        if section["empty"] and not tissue["sections"]  # the mask's own checks say so, where it was not given
    ]
    usual = _median([section["gain"] for section in sections if not section["empty"]]) or 1.0
    for section in sections:
        relative, error = section["gain"] / usual, section["gain_error"]
        what = f"its gain is {section['gain']:.2f}, {relative:.2g} times that of the median section"
        if max(relative, 1 / relative) > LARGEST_GAIN and error is not None and error > LARGEST_ERROR:
            unsure = (
                f"with a standard error of {100 * error:.0f} %: the data cannot tell it from a change of the tissue"
            )
            found.append(warning("gain_unsupported", f"{what}, {unsure}", section["index"]))
        elif not section["empty"] and not low <= relative <= high:
            found.append(warning("gain", f"{what}: look at this section in the pictures", section["index"]))
    if voxels["not_finite"]:
        message = (
            f"{voxels['not_finite']} voxels are NaN or infinite: they take no part in the fits and stay as they are"
        )
        found.append(warning("not_finite", message))
    if voxels["negative"]:
        message = (
            f"{voxels['negative']} voxels are negative: they take no part in the fits and are divided like any other"
        )
        found.append(warning("negative", message))
    return found


def _wrong_cuts(cuts: Mapping[str, Any] | None, mode: str) -> list[dict[str, Any]]:
    """Warn where the data show that the sections begin elsewhere; one pass over a whole stack needs no cuts."""
    if cuts is None or not cuts["differs"] or (mode == "global" and cuts["declared"] == 1):
        return []
    declared, planes = cuts["declared"], cuts["found"]
    certain = "" if cuts["certain"] else "not each of them for certain; "
    what = f"{len(planes) + 1} sections" + (" of equal depth" if cuts["equal"] else "")
    way_out = (
        f"n_sections {len(planes) + 1} says so"
        if cuts["equal"]
        else "the column `sections` names a CSV file of their bounds; cuts where little tissue is do not show"
    )
    message = (
        f"the samplesheet has {declared} section{'s' if declared > 1 else ''}; the brightness of the planes jumps and "
        f"repeats as that of {what} does, which begin at planes 0, {listed(planes, LISTED_PLANES)} "
        f"({certain}log evidence {cuts['against_declared']:.0f} against the cuts that were given). A cut in the wrong "
        f"place spoils two sections: look at these planes; {way_out}"
    )
    return [{"code": "cuts", "message": message, "section": None}]


def _odd_planes(
    along_z: Mapping[str, Any] | None, bias: BiasModel, *, put_right: bool, cuts: Sequence[int] = ()
) -> list[dict[str, Any]]:
    """Name the planes that were badly taken, section by section; not those beside `cuts`."""
    odd: dict[int, list[int]] = {}
    beside = {plane + step for plane in cuts for step in (-1, 0, 1)}
    for plane in sorted(set(along_z["odd_planes"]) - beside) if along_z else ():
        odd.setdefault(bias.section_of(plane), []).append(plane)
    found = []
    for section, planes in odd.items():
        named = listed(planes, LISTED_PLANES)
        one = len(planes) == 1
        what = f"plane {named} was" if one else f"planes {named} were"
        done = f"{'it was' if one else 'they were'} put right by {'itself' if one else 'themselves'}"
        left = f"{'it was' if one else 'they were'} left so, since depth_profile is off"
        than = f"{'its' if one else 'their'} neighbours"
        message = f"{what} taken darker or brighter than {than}: {done if put_right else left}"
        found.append({"code": "odd_planes", "message": message, "section": section})
    return found


def _matched(match: Mapping[str, Any] | None) -> list[dict[str, Any]]:
    """Say where matching the acquisitions of a run did not go as it should."""
    found = []
    if match and match["n_matched"] < 2:
        found.append(("match_alone", "no other acquisition of the run has a level: there is nothing to match"))
    if match and match["left_out"]:
        message = (
            f"{', '.join(match['left_out'])} took no part in the common level (failed, or without tissue): in a run "
            "that they are part of, this acquisition's factor may be another"
        )
        found.append(("match_left_out", message))
    if match and max(match["factor"], 1 / match["factor"]) > LARGEST_GAIN:
        message = (
            f"it was multiplied by {match['factor']:.3g} to match the others: is it the same stain and microscope?"
        )
        found.append(("match_factor", message))
    return [{"code": code, "message": message, "section": None} for code, message in found]


def _largest(values: Sequence[float | None]) -> float | None:
    return max((value for value in values if value is not None), default=None)


def _jumps(medians: Sequence[float | None], bias: BiasModel) -> list[float | None]:
    """Return how far each plane's median is from that of the plane before it, as a share; None at a cut."""
    starts = {z_start for z_start, _ in bias.sections}
    pairs = zip([None, *medians[:-1]], medians, strict=True)
    return [
        abs(new / old - 1) if old and new is not None and plane not in starts else None
        for plane, (old, new) in enumerate(pairs)
    ]


def _worst(values: Sequence[float | None], what: str = "section") -> dict[str, Any] | None:
    """Return the largest value and the section, or the plane, that has it."""
    value = _largest(values)
    return None if value is None else {"value": value, what: values.index(value)}


def _median(values: Sequence[float | None]) -> float | None:
    found = [value for value in values if value is not None]
    return float(np.median(found)) if found else None


def _median_deviation(steps: Sequence[float | None]) -> float | None:
    return _median([None if step is None else abs(step - 1) for step in steps])
