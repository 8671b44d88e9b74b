"""REPORT: metrics and a page a person can judge the correction by, from what the other tasks left."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from blake3 import blake3

from linumpy.intensity.bias_model import BiasModel, read_json, write_json
from linumpy.qc.metrics import acquisition_metrics
from linumpy.qc.report import Picture, render_batch_report, render_report
from linumpy.stage.samples import Samples
from linumpy.stage.statistics import picture_bin

__all__ = ["write_batch_report", "write_report"]


def write_report(
    settings: Mapping[str, Any],
    samples: Samples,
    tissue: Path,
    bias: BiasModel,
    correction: Path,
    output_report: Path,
    output_metrics: Path,
    output_digests: Path,
) -> None:
    """Write ``metrics.json``, ``report.html`` and ``digests.tsv`` of an acquisition.

    Parameters
    ----------
    settings : mapping
        The plan's group for the report.
    samples : Samples
        Samples of the acquisition.
    tissue : Path
        Statistics of TISSUE_MASK.
    bias : BiasModel
        The whole field.
    correction : Path
        Folder of statistics that ASSEMBLE left.
    output_report, output_metrics, output_digests : Path
        Files to write.

    Raises
    ------
    ValueError
        If the image has changed between its two readings.
    """
    output_metrics.parent.mkdir(parents=True, exist_ok=True)
    found, corrected = read_json(tissue), read_json(correction / "correction.json")
    _require_same(found["planes"]["checksum"], corrected["planes"]["checksum"])
    metrics = acquisition_metrics(settings, samples, found, bias, corrected)
    write_json(output_metrics, metrics)
    digests = {"image": found["image"]["digest"], **found["digests"], **corrected["digests"], **bias.digests()}
    digests[output_metrics.name] = blake3(output_metrics.read_bytes()).hexdigest()
    lines = [f"{metrics['acquisition']}\t{what}\t{digest}\n" for what, digest in sorted(digests.items())]
    output_digests.write_text("".join(lines), encoding="utf-8")
    with np.load(correction / "pictures.npz") as stored:
        pictures = _pictures(dict(stored), samples, bias)
    output_report.write_text(render_report(metrics, pictures, title=metrics["acquisition"]), encoding="utf-8")


def _require_same(first: Sequence[int], second: Sequence[int]) -> None:
    changed = [z for z, (one, other) in enumerate(zip(first, second, strict=True)) if one != other]
    if changed:
        raise ValueError(
            f"the image has changed while it was worked on: {len(changed)} planes, the first is {changed[0]}, were not "
            "the same for TISSUE_MASK and CORRECT; run again once nothing writes to it"
        )


def write_batch_report(acquisitions: Sequence[str], metrics: Sequence[Path], output: Path) -> None:
    """Write the overview of a batch.

    Parameters
    ----------
    acquisitions : sequence of str
        Names of all acquisitions that were asked for.
    metrics : sequence of Path
        ``metrics.json`` of those that are finished, in any order.
    output : Path
        HTML file to write.
    """
    output.parent.mkdir(parents=True, exist_ok=True)
    finished = [read_json(path) for path in metrics]
    unfinished = sorted(set(acquisitions) - {found["acquisition"] for found in finished})
    output.write_text(render_batch_report(finished, unfinished=unfinished), encoding="utf-8")


def _pictures(stored: Mapping[str, Any], samples: Samples, bias: BiasModel) -> dict[str, Picture]:
    """Put the field between before and after, evaluated at the centre of each pixel."""
    geometry = samples.geometry
    p = picture_bin(geometry.shape)
    middle = [n // 2 for n in geometry.shape]
    pixel_mm = dict(zip("zyx", (s * n for s, n in zip(geometry.voxel_size_mm, (1, p, p), strict=True)), strict=True))
    pictures = {}
    for axes in ("yx", "zx", "zy"):
        before = stored[f"{axes}_before"]
        thin = ({*"zyx"} - {*axes}).pop()
        size = {thin: 1, axes[0]: before.shape[0], axes[1]: before.shape[1]}
        start = {"z": 0, "y": p // 2, "x": p // 2}
        start[thin] = middle["zyx".index(thin)]
        field = np.exp(
            bias.log_bias_field(
                (size["z"], size["y"], size["x"]), start=(start["z"], start["y"], start["x"]), step=(1, p, p)
            )
        )
        position = start[thin] * geometry.voxel_size_mm["zyx".index(thin)]
        cuts = [float(z_start) for z_start, _ in geometry.sections[1:]] if axes[0] == "z" else []
        pictures[axes] = Picture(
            before=before,
            field=np.squeeze(field, axis="zyx".index(thin)),
            after=stored[f"{axes}_after"],
            pixel_mm=(pixel_mm[axes[0]], pixel_mm[axes[1]]),
            axes=axes,
            position=f"{thin} = {start[thin]} ({position:.3g} mm)",
            cuts=cuts,
        )
    return pictures
