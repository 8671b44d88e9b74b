"""Sanity checks of a tissue mask, section by section.

What a mask that went wrong looks like: it caught the bright cells and left the tissue, it let the agarose
in, or its share of a section is unlike that of the sections beside it. None of this is proof; a person
should look.
"""

from __future__ import annotations

from collections.abc import Sequence
from statistics import median
from typing import Any

import numpy as np

from linumpy.intensity.mask_stream import SectionMask

__all__ = ["mask_warnings"]

NEIGHBOURS = 3
"""Sections on either side that a share is compared with."""
MAX_SHARE_RATIO = 1.5
MIN_SHARE_CHANGE = 0.1
MIN_CAPTURED = 0.6
MAX_LEAKED = 0.2
MIN_SATURATED = 1e-5
"""Share of saturated voxels from which it is said."""
MAX_RUNS = 8


def mask_warnings(sections: Sequence[SectionMask]) -> list[dict[str, Any]]:
    """Return what looks wrong about the sections' masks.

    Parameters
    ----------
    sections : sequence of SectionMask
        All sections of an acquisition, in order, as `stream_tissue_mask` reports them.

    Returns
    -------
    list of dict
        ``{"code", "section", "message"}``, sorted by section, JSON-ready. Codes: ``mask_empty`` (no tissue),
        ``mask_share_jump`` (tissue share unlike the neighbours'), ``mask_bright_cells`` (the threshold
        leaves out much of what stands out from the background), ``mask_agarose`` (it takes in much of the
        background, or what it takes for tissue is as dark as the background of the other sections),
        ``mask_borrowed`` (the threshold comes from another section) and ``mask_no_contrast`` (no section
        tells tissue from background). Then, for all sections together: ``saturated`` (voxels at the type's limit) and
        ``constant_fill`` (pieces of one value), both left out.
    """
    found: list[dict[str, Any]] = []
    trusted = [section.split for section in sections if section.split is not None and section.split.is_trusted]
    background, tissue = (
        float(np.median(levels)) if levels else 0.0
        for levels in ([split.background for split in trusted], [split.tissue for split in trusted])
    )
    for position, section in enumerate(sections):
        checks = (
            _empty(section),
            _share_jump(sections, position),
            _bright_cells(section),
            _agarose(section, background, tissue),
            _borrowed(section),
        )
        found += [
            {"code": code, "section": section.index, "message": message} for code, message in filter(None, checks)
        ]
    return found + _left_out(sections)


Finding = tuple[str, str] | None


def _empty(section: SectionMask) -> Finding:
    if section.tissue_share > 0:
        return None
    return "mask_empty", "no tissue was found; it takes no part in the fits and has no field of its own"


def _share_jump(sections: Sequence[SectionMask], position: int) -> Finding:
    around = [*sections[max(0, position - NEIGHBOURS) : position], *sections[position + 1 :][:NEIGHBOURS]]
    if not around:
        return None
    share, usual = sections[position].tissue_share, median(other.tissue_share for other in around)
    low, high = sorted((share, usual))
    if high - low < MIN_SHARE_CHANGE or high < MAX_SHARE_RATIO * low:
        return None
    return "mask_share_jump", f"tissue fills {share:.0%} of it, but {usual:.0%} of the sections beside it"


def _bright_cells(section: SectionMask) -> Finding:
    split = section.split
    if split is None or not split.is_trusted or section.threshold is None or section.captured >= MIN_CAPTURED:
        return None
    return "mask_bright_cells", (
        f"the threshold {section.threshold:.4g} takes {section.captured:.0%} of what stands out from the "
        f"background (above {split.threshold:.4g}): bright cells rather than tissue; try --mask_method robust"
    )


def _agarose(section: SectionMask, background: float, tissue: float) -> Finding:
    """Compare with the usual background and tissue of the acquisition."""
    split = section.split
    if split is None or section.threshold is None or not split.is_trusted:
        return None
    if section.leaked > MAX_LEAKED:
        return "mask_agarose", (
            f"the threshold {section.threshold:.4g} takes {section.leaked:.0%} of the background (below "
            f"{split.threshold:.4g}) for tissue; try --mask_method robust"
        )
    if split.tissue**2 >= background * tissue:
        return None
    return "mask_agarose", (
        f"what was taken for tissue ({split.tissue:.4g}) is closer to the background of the acquisition "
        f"({background:.4g}) than to its tissue ({tissue:.4g})"
    )


def _borrowed(section: SectionMask) -> Finding:
    split = section.split
    if section.borrowed_from is not None:
        return "mask_borrowed", (
            f"its histogram does not tell tissue from background; the threshold {section.threshold:.4g} is that "
            f"of section {section.borrowed_from}"
        )
    if split is not None and section.threshold == split.floor:
        return (
            "mask_no_contrast",
            "no section tells tissue from background; all that was measured counts as tissue",
        )
    return None


def _left_out(sections: Sequence[SectionMask]) -> list[dict[str, Any]]:
    """Name what showed nothing of the specimen, one warning a kind and value: all sections may say the same."""
    found = []
    saturated = {section.index: section.left_out.saturated for section in sections if section.left_out.saturated}
    n_voxels = sum(section.n_voxels for section in sections)
    if sum(saturated.values()) > MIN_SATURATED * n_voxels:
        found.append(_of_sections("saturated", saturated, sections, "are at the limit of the type: saturated"))
    filled: dict[float, dict[int, int]] = {}
    for section in sections:
        for value, n in section.left_out.filled:
            filled.setdefault(value, {})[section.index] = n
    return found + [
        _of_sections("constant_fill", filled[value], sections, f"lie in pieces of the one value {value:.6g}: a fill")
        for value in sorted(filled)
    ]


def _of_sections(code: str, voxels: dict[int, int], sections: Sequence[SectionMask], what: str) -> dict[str, Any]:
    planes = [(section.z_start, section.z_stop) for section in sections if section.index in voxels]
    message = (
        f"{sum(voxels.values())} voxels {what}; they are left out of mask and fits (section"
        f"{'s' if len(voxels) > 1 else ''} {_ranges(sorted(voxels))}, between planes {planes[0][0]} and "
        f"{planes[-1][1] - 1})"
    )
    return {"code": code, "section": next(iter(voxels)) if len(voxels) == 1 else None, "message": message}


def _ranges(indices: Sequence[int]) -> str:
    """Return indices in words, runs of them shortened, the first few runs only."""
    runs: list[list[int]] = []
    for index in indices:
        if runs and index == runs[-1][1] + 1:
            runs[-1][1] = index
        else:
            runs.append([index, index])
    told = [f"{first}" if first == last else f"{first} to {last}" for first, last in runs[:MAX_RUNS]]
    return ", ".join(told) + (f" and {len(runs) - MAX_RUNS} more runs" if len(runs) > MAX_RUNS else "")
