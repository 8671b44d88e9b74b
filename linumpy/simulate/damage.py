"""Damages of an acquisition, one function each: what goes wrong with single planes, sections and tiles.

Each returns another acquisition and says in `labels`, `truth` and `log_bias_field` what can still be asked of a
correction: a dimmed plane is to be put right, so its factor is in the field; what was lost is no tissue any more.
Brightness is relative to grey matter.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from linumpy.simulate.acquisition import INCLUSION, Acquisition, ceiling, record

Box = tuple[slice, slice, slice]


def dim_planes(acquisition: Acquisition, factors: Mapping[int, float]) -> Acquisition:
    """Multiply the light of single planes, as a dip or a flash of the laser does; the camera's offset stays."""
    volume, field = acquisition.volume.copy(), acquisition.log_bias_field.copy()
    settings = acquisition.physics
    offset = settings.camera_offset * settings.grey_level
    for z, factor in factors.items():
        plane = np.clip(
            (volume[z] - np.float32(offset)) * np.float32(factor) + np.float32(offset), 0, ceiling(settings)
        )
        volume[z] = np.rint(plane) if np.issubdtype(volume.dtype, np.integer) else plane
        field[z] += np.float32(np.log(factor))
    return replace(acquisition, volume=volume, log_bias_field=field)


def drop_planes(acquisition: Acquisition, planes: Sequence[int], fill: float = 0.0) -> Acquisition:
    """Replace planes by a constant, as where a frame was not recorded."""
    for z in planes:
        acquisition = fill_box(acquisition, np.s_[z : z + 1, :, :], fill)
    return acquisition


def fill_box(acquisition: Acquisition, box: Box, fill: float) -> Acquisition:
    """Replace a box by a constant: a missing tile, whose fill value may be anything."""
    volume, labels = acquisition.volume.copy(), acquisition.labels.copy()
    volume[box] = min(fill * acquisition.physics.grey_level, ceiling(acquisition.physics))
    labels[box] = 0
    return replace(acquisition, volume=volume, labels=labels)


def fill_frame(acquisition: Acquisition, width: int, fill: float) -> Acquisition:
    """Replace the margin of every plane, `width` voxels wide, by a constant."""
    for edge in (slice(None, width), slice(-width, None)):
        acquisition = fill_box(acquisition, np.s_[:, edge, :], fill)
        acquisition = fill_box(acquisition, np.s_[:, :, edge], fill)
    return acquisition


def tear_section(acquisition: Acquisition, section: int, share: float = 0.5, *, seed: int = 0) -> Acquisition:
    """Replace the last columns of a section, `share` of them, by agarose, as where tissue was torn away."""
    start, stop = acquisition.sections[section]
    n_columns = acquisition.volume.shape[2]
    box = np.s_[start:stop, :, n_columns - round(share * n_columns) :]
    settings = acquisition.physics
    volume, truth, labels = acquisition.volume.copy(), acquisition.truth.copy(), acquisition.labels.copy()
    truth[box] = settings.agarose * settings.grey_level
    labels[box] = 0
    speckle, noise = np.random.default_rng(seed).spawn(2)
    volume[box] = record(truth[box], acquisition.log_bias_field[box], settings, speckle, noise)
    return replace(acquisition, volume=volume, truth=truth, labels=labels)


def saturate_patches(
    acquisition: Acquisition, count: int, *, size: tuple[int, int, int] = (3, 12, 12), seed: int = 0
) -> Acquisition:
    """Set boxes in the tissue to the detector's largest value, as where something reflects."""
    top = ceiling(acquisition.physics)
    volume, labels = acquisition.volume.copy(), acquisition.labels.copy()
    if not np.isfinite(top):
        top = float(volume.max())
    places = np.argwhere(labels > 0)
    for middle in places[np.random.default_rng(seed).integers(0, len(places), count)]:
        box = tuple(slice(max(at - n // 2, 0), at - n // 2 + n) for at, n in zip(middle, size, strict=True))
        volume[box] = top
        labels[box] = np.where(labels[box] > 0, INCLUSION, 0)
    return replace(acquisition, volume=volume, labels=labels)
