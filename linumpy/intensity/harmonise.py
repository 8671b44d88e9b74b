"""One gain per section, so that brightness runs on across the cuts.

Laser, polarisation and focus change from one section to the next. The last plane before a cut and the first after
it show nearly the same tissue, a plane apart: the median ratio over the pixels that are tissue in both is the step,
and the running sum of log steps is the brightness of every section relative to the first. Pixels weigh with the
square root of their intensity, as shot noise would have it; so the dim rim, half tissue, half agarose, hardly counts.

Steps chain, and so do their errors and the real change of tissue from plane to plane: over many sections the sum
drifts, and gains that undid all of it would bend the slow profile of the acquisition. So the sum is split in two.
Its slow part, what changes over about ``kept_sections`` and more, stays; the rest goes into the gains. The slow part
``s`` minimises

    sum(w (c - s)^2) + f1 sum(u (s')^2) + f2 sum((s'')^2)

over the sum of log steps ``c``, with first and second differences from section to section, and f1, f2 such that
either term halves a wave ``kept_sections`` long. The fewer the sections, the closer the slow part comes to their
mean, and the gains to undoing every step. From nine sections on weights make both robust: ``w`` falls with the
fourth power of the distance, so that single odd sections, which the gains shall correct, stay out of the slow part;
``u`` falls with the slope, so that the slow part may change at a few places rather than a little everywhere.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from linumpy.intensity.bias_model import BiasModel

__all__ = ["KEPT_SECTIONS", "Harmonisation", "harmonise", "keep_median", "log_step", "section_gains"]

KEPT_SECTIONS = 37.0
"""Waves of the brightness longer than this many sections stay as they are."""
MIN_COMMON_TISSUE = 50
"""Fewest pixels, tissue on both sides of a cut, that a step is told from."""
MIN_SECTIONS_FOR_WEIGHTS = 9
SCALES = 3.0
MAX_TURNS = 200
TOLERANCE = 1e-6
NOTHING = 1e-9
"""Smallest scale of distances and slopes: all sections may be alike."""

EndPlane = Callable[[int], tuple[NDArray[np.float32], NDArray[np.bool_]]]


@dataclass(frozen=True)
class Harmonisation:
    """What the cuts told.

    Parameters
    ----------
    gains : tuple of float
        Factor for each section; 1 for a section without tissue. The mean of their logarithms is 0.
    steps : tuple of float or None
        Per cut, brightness after over before it, across empty sections too; None where too little tissue is common
        (then taken as 1) or the section after the cut is empty.
    profile : tuple of float or None
        Slow part of the logarithm of the sections' brightness, which is kept; None for an empty section.
    """

    gains: tuple[float, ...]
    steps: tuple[float | None, ...]
    profile: tuple[float | None, ...]

    @property
    def has_tissue(self) -> tuple[bool, ...]:
        """Per section, whether it took part."""
        return tuple(value is not None for value in self.profile)


def harmonise(
    bias: BiasModel, end_plane: EndPlane, stride: int, *, kept_sections: float = KEPT_SECTIONS
) -> tuple[BiasModel, Harmonisation]:
    """Give every section its gain, from the planes at the cuts after the sections' own fields.

    Parameters
    ----------
    bias : BiasModel
        The sections' fields; gains and the field of the stack are not looked at.
    end_plane : callable
        ``end_plane(z)`` gives samples of plane ``z`` and of its mask, shape (Y, X): every ``stride``-th row and column
        from 0 on. Asked for each section's first and last plane.
    stride : int
        See above.
    kept_sections : float
        Waves longer than this many sections are kept; see the module.

    Returns
    -------
    bias : BiasModel
        With gains.
    harmonisation : Harmonisation
        The gains and where they come from.
    """
    fields = replace(bias, gains=(1.0,) * len(bias.sections), global_fit=None)

    def flat(plane: int) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
        image, mask = end_plane(plane)
        field = fields.log_bias_field((1, *image.shape), start=(plane, 0, 0), step=(1, stride, stride))[0]
        with np.errstate(divide="ignore", invalid="ignore"):
            log_image = np.log(image) - field
        return log_image, mask & np.isfinite(log_image)

    steps: list[float | None] = []
    has_tissue: list[bool] = []
    last: tuple[NDArray[np.float32], NDArray[np.bool_]] | None = None
    for index, (z_start, z_stop) in enumerate(bias.sections):
        first = flat(z_start)
        end = first if z_stop - z_start == 1 else flat(z_stop - 1)
        has_tissue.append(bool(first[1].any() or end[1].any()))
        if index:
            steps.append(log_step(*last, *first) if last is not None and has_tissue[-1] else None)
        if has_tissue[-1]:
            last = end
    gains, profile = section_gains(steps, has_tissue, kept_sections=kept_sections)
    return replace(fields, gains=gains, global_fit=bias.global_fit), Harmonisation(
        gains, tuple(None if step is None else float(np.exp(step)) for step in steps), profile
    )


def log_step(
    last: NDArray[np.float32],
    mask_last: NDArray[np.bool_],
    first: NDArray[np.float32],
    mask_first: NDArray[np.bool_],
) -> float | None:
    """Return the median difference of two planes of log intensities over common tissue, bright pixels weighing more.

    Parameters
    ----------
    last, first : ndarray of shape (Y, X)
        Log intensities before and after a cut.
    mask_last, mask_first : ndarray of bool, shape (Y, X)
        Where they are tissue and finite.

    Returns
    -------
    float or None
        0 is no step; None with fewer than 50 common pixels.
    """
    common = mask_last & mask_first
    if np.count_nonzero(common) < MIN_COMMON_TISSUE:
        return None
    step = first[common] - last[common]
    mean = (first[common] + last[common]) / 2
    # exp(mean / 2) is the square root of the intensity; relative to the brightest, so that it cannot overflow.
    weight = np.exp((mean - mean.max()) / 2, dtype=np.float64)
    order = np.argsort(step, kind="stable")
    reached = np.cumsum(weight[order])
    return float(step[order[np.searchsorted(reached, reached[-1] / 2)]])


def section_gains(
    log_steps: Sequence[float | None], has_tissue: Sequence[bool], *, kept_sections: float = KEPT_SECTIONS
) -> tuple[tuple[float, ...], tuple[float | None, ...]]:
    """Turn the steps at the cuts into gains that leave the slow profile alone.

    Parameters
    ----------
    log_steps : sequence of float or None, length n - 1
        Logarithm of the step into each section but the first, from the last section before it that has tissue; None
        where it is not known.
    has_tissue : sequence of bool, length n
        Sections that take part.
    kept_sections : float
        Waves longer than this many sections are kept, at least 2.

    Returns
    -------
    gains : tuple of float
        Factors, 1 for sections that take no part.
    profile : tuple of float or None
        What is kept, in logarithms.

    Raises
    ------
    ValueError
        If the lengths do not go together or `kept_sections` is less than 2.

    Examples
    --------
    >>> gains, _ = section_gains([0.1, -0.1], [True, True, True])
    >>> bool(abs(gains[1] / gains[0] - np.exp(-0.1)) < 0.01)
    True
    """
    if len(log_steps) != len(has_tissue) - 1:
        raise ValueError(f"{len(log_steps)} steps for {len(has_tissue)} sections; give one less than sections")
    if not kept_sections >= 2:
        raise ValueError(f"kept_sections is {kept_sections}; the shortest wave of a row of sections is 2 long")
    steps = np.array([0.0, *(0.0 if step is None else step for step in log_steps)])
    taking_part = np.flatnonzero(np.asarray(has_tissue, bool))
    gains = np.ones(len(has_tissue))
    profile: list[float | None] = [None] * len(has_tissue)
    if len(taking_part):
        brightness = np.cumsum(steps[taking_part])
        slow = _slow_part(brightness, kept_sections)
        log_gains = slow - brightness
        gains[taking_part] = np.exp(log_gains - log_gains.mean())
        for index, value in zip(taking_part, slow, strict=True):
            profile[index] = float(value)
    return tuple(map(float, gains)), tuple(profile)


def keep_median(
    bias: BiasModel,
    has_tissue: Sequence[bool],
    image: NDArray[np.float32],
    mask: NDArray[np.bool_],
    log_bias_field: NDArray[np.float32],
) -> BiasModel:
    """Scale all gains so that the median tissue intensity of the acquisition stays what it was.

    Parameters
    ----------
    bias : BiasModel
        The whole field.
    has_tissue : sequence of bool
        Per section; one without tissue keeps its gain.
    image, mask : ndarray of shape (Z, Y, X)
        Samples of the stack.
    log_bias_field : ndarray of float32, shape (Z, Y, X)
        The whole field at the samples.

    Returns
    -------
    BiasModel
        Unchanged where the mask holds no finite, positive sample.
    """
    with np.errstate(invalid="ignore"):
        inside = mask & np.isfinite(image) & (image > 0)
    if not inside.any():
        return bias
    before = image[inside]
    factor = float(np.median(before) / np.median(before / np.exp(log_bias_field[inside])))
    gains = tuple(gain * factor if tissue else gain for gain, tissue in zip(bias.gains, has_tissue, strict=True))
    return replace(bias, gains=gains)


def _slow_part(brightness: NDArray[np.float64], kept_sections: float) -> NDArray[np.float64]:
    from scipy.linalg import solveh_banded  # takes longer to import than all else here

    n = len(brightness)
    # Squared differences of a wave of this length, relative to its own square.
    of_wave = 2 - 2 * np.cos(2 * np.pi / kept_sections)
    bending = _squared_differences(n, 2, np.ones(max(n - 2, 0))) / of_wave**2
    weights, slope_weights = np.ones(n), np.ones(n - 1)
    slow = brightness
    for _ in range(MAX_TURNS):
        system = _squared_differences(n, 1, slope_weights) / of_wave + bending
        system[-1] += weights
        found: NDArray[np.float64] = solveh_banded(system, weights * brightness)
        if n < MIN_SECTIONS_FOR_WEIGHTS or np.abs(found - slow).max() < TOLERANCE:
            return found
        slow = found
        off, slope = np.abs(brightness - slow), np.abs(np.diff(slow))
        weights = 1 / (1 + (off / max(SCALES * 1.4826 * float(np.median(off)), NOTHING)) ** 2) ** 2
        # sqrt(2): the median slope weighs 1.
        slope_weights = np.sqrt(2 / (1 + (slope / max(float(np.median(slope)), NOTHING)) ** 2))
    return slow


def _squared_differences(n: int, order: int, weights: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the matrix of ``sum(weights * diff(x, order)**2)``: its diagonal last, the two above it before."""
    terms = {1: (-1.0, 1.0), 2: (1.0, -2.0, 1.0)}[order]
    bands = np.zeros((3, n))
    for row, one in enumerate(terms):
        for column, other in enumerate(terms[row:], start=row):
            bands[2 - (column - row), column : column + len(weights)] += one * other * weights
    return bands
