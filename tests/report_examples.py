"""Metrics and pictures for tests of the report: simulated acquisitions, corrected by their own true field.

What is left of the bias is a share of it (`remainder`): before and after differ in the size of the steps.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from linumpy.qc.report import Picture
from linumpy.simulate import Acquisition, simulate_acquisition


def levels(n: int = 4) -> list[dict[str, Any]]:
    return [
        {
            "n_control_points": [3 + 2**k, 3 + 2**k, 4 + 2**k],
            "iterations": min(50, 50 - 9 * k),
            "convergence": 0.0012 / (k + 1),
        }
        for k in range(n)
    ]


def _spread(values: list[float | None]) -> float | None:
    known = [v for v in values if v is not None]
    return float(np.std(known) / np.mean(known)) if len(known) > 1 else None


def _median(values: Any) -> float | None:
    known = [v for v in values if v is not None]
    return float(np.median(known)) if known else None


def _worst(values: list[float | None], what: str = "section") -> dict[str, Any] | None:
    known = [(v, i) for i, v in enumerate(values) if v is not None]
    return {"value": max(known)[0], what: max(known)[1]} if known else None


def _along_z(a: Acquisition) -> dict[str, Any]:
    tissue = a.tissue_mask.sum(axis=(1, 2)).tolist()
    levels = [float(np.median(f[m])) if m.any() else 0.0 for f, m in zip(a.log_bias_field, a.tissue_mask, strict=True)]
    return {
        "levels": levels,
        "errors": [0.02 + 2 / n if n else None for n in tissue],
        "kept": [0.001 * z if n else None for z, n in enumerate(tissue)],
        "tissue": tissue,
        "profile": levels[: max(stop - start for start, stop in a.sections)],
        "fell_back": [],
        "odd_planes": [1] if len(tissue) > 1 and tissue[1] else [],
        "variances": {"rate": 0.02, "profile": 0.3},
        "verdict": "The data tell the level along Z to ±2.1 % (standard error of the median plane).",
    }


def example(
    acquisition: Acquisition | None = None,
    *,
    name: str = "brain-07",
    remainder: float = 0.04,
    mode: str = "two_pass",
) -> tuple[dict[str, Any], dict[str, Picture]]:
    """Return (metrics, pictures) of an acquisition."""
    a = acquisition or simulate_acquisition((60, 70, 81), sections=5, voxel_size_um=(10, 80, 80), seed=3)
    mask = a.tissue_mask
    before = a.volume.astype(np.float32)
    level = float(np.median(a.log_bias_field[mask])) if mask.any() else 0.0
    field = np.exp((1 - remainder) * (a.log_bias_field - level))
    after = before / field
    medians = {
        when: [float(np.median(plane[m])) if m.any() else None for plane, m in zip(image, mask, strict=True)]
        for when, image in (("before", before), ("after", after))
    }

    def step(image: np.ndarray, cut: int) -> float | None:
        both = mask[cut - 1] & mask[cut]
        return float(np.median(image[cut][both] / image[cut - 1][both])) if both.any() else None

    sections = []
    for index, (start, stop) in enumerate(a.sections):
        inside = field[start:stop][mask[start:stop]]
        empty, last = not inside.size, index == len(a.sections) - 1
        p1, p99 = (None, None) if empty else (float(v) for v in np.percentile(inside, (1, 99)))
        sections.append(
            {
                "index": index,
                "z_start": start,
                "z_stop": stop,
                "planes": stop - start,
                "tissue_fraction": float(mask[start:stop].mean()),
                "field_p1": p1,
                "field_p99": p99,
                "gain": None if empty or mode == "global" else 1 + 0.01 * (index % 5 - 2),
                "gain_error": None if empty or mode == "global" else 0.012 * (index + 1),
                "levels": [] if empty or mode == "global" else levels(),
                "step_before": None if last else step(before, stop),
                "step_after": None if last else step(after, stop),
                "cv_before": _spread(medians["before"][start:stop]),
                "cv_after": _spread(medians["after"][start:stop]),
                "contrast_before": None if empty else 1.8,
                "contrast_after": None if empty else 1.7,
                "empty": empty,
            }
        )
    summary = {}
    for when in ("before", "after"):
        steps = [s[f"step_{when}"] for s in sections]
        summary[f"step_deviation_{when}"] = _median([None if v is None else abs(v - 1) for v in steps])
        summary[f"cv_within_{when}"] = _median([s[f"cv_{when}"] for s in sections])
        summary[f"cv_planes_{when}"] = _spread(medians[when])
        summary[f"contrast_{when}"] = _median([s[f"contrast_{when}"] for s in sections])
        summary[f"step_worst_{when}"] = _worst([None if v is None else abs(v - 1) for v in steps])
        summary[f"cv_worst_{when}"] = _worst([s[f"cv_{when}"] for s in sections])
        starts = [start for start, _ in a.sections]
        jumps = [
            None if z in starts or None in (old, new) else abs(new / old - 1)
            for z, (old, new) in enumerate(zip([None, *medians[when]], medians[when], strict=False))
        ]
        summary[f"jump_{when}"] = _median(jumps)
        summary[f"jump_worst_{when}"] = _worst(jumps, "plane")
    whole = field[mask]
    metrics = {
        "acquisition": name,
        "image": {
            "name": f"{name}.ome.zarr",
            "shape": list(a.volume.shape),
            "dtype": str(a.volume.dtype),
            "voxel_size_um": [1000 * size for size in a.voxel_size_mm],
            "axes": ["z", "y", "x"],
            "channel": None,
            "timepoint": None,
            "digest": "sha256:0f5c7d2a" + 56 * "0",
        },
        "software": {"linumpy": "0.1.0", "numpy": "2.4.6", "zarr": "3.1.6"},
        "mode": mode,
        "backend": "native",
        "parameters": {
            "backend": "native",
            "spline_distance_section_mm": 2.0,
            "spline_distance_global_mm": 10.0,
            "n_iterations": [50, 50, 50, 50],
            "shrink_factor": "auto",
            "zero_outside_mask": False,
            "voxel_size_um": None,
        },
        "chosen": [
            {
                "what": "shrink_factor",
                "value": [1, 4, 4],
                "why": "12 planes a section: none to spare along Z",
            },
            {
                "what": "mask_method",
                "value": "otsu_log",
                "why": "tissue and agarose part best in the logarithm",
            },
        ],
        "warnings": [
            {
                "code": "empty-section",
                "message": "no tissue was found; it takes no part in the fits",
                "section": s,
            }
            for s in (row["index"] for row in sections if row["empty"])
        ],
        "tissue_fraction": float(mask.mean()),
        "voxels": {
            "total": a.volume.size,
            "not_finite": 0,
            "negative": 0,
            "zero": 12,
            "clipped_low": 0,
            "clipped_high": 0,
        },
        "missing_chunks": 0,
        "sections": sections,
        "global": {
            "levels": levels(3),
            "field_p1": float(np.percentile(whole, 1)) if whole.size else None,
            "field_p99": float(np.percentile(whole, 99)) if whole.size else None,
        }
        if mode != "per_section"
        else None,
        "match": None,
        "along_z": None if mode == "global" else _along_z(a),
        "cuts": None,
        "planes": {
            "median_before": medians["before"],
            "median_after": medians["after"],
            "tissue_fraction": [float(m.mean()) for m in mask],
        },
        "summary": summary,
    }
    z, y, x = (n // 2 for n in a.volume.shape)
    dz, dy, dx = a.voxel_size_mm
    cuts = [float(stop) for _, stop in a.sections[:-1]]

    def picture(at: Any, pixel_mm: tuple[float, float], axes: str, position: str) -> Picture:
        rows = cuts if axes[0] == "z" else []
        return Picture(before[at], field[at], after[at], pixel_mm, axes, position, rows)

    pictures = {
        "xy": picture(np.s_[z], (dy, dx), "yx", f"z = {z} ({z * dz:.2f} mm)"),
        "xz": picture(np.s_[:, y], (dz, dx), "zx", f"y = {y} ({y * dy:.2f} mm)"),
        "yz": picture(np.s_[:, :, x], (dz, dy), "zy", f"x = {x} ({x * dx:.2f} mm)"),
    }
    return metrics, pictures
