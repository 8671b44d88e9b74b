"""Settings of a fit chosen from the data's own sizes, each with the reason, and warnings for absurd ones.

N4 tells bias from anatomy by scale alone: what the knots can follow counts as bias. Two lengths bound that scale
across a section: the shading of a microscope varies over millimetres, and a span must hold enough resolved tissue
(64 voxels a side) for its histogram to know the classes. Along the depth of a section N4 has one span, since the levels
of the planes are measured before it (`linumpy.intensity.along_z_model`); N4 alone has knots down to a few planes
there, where the decay is fast and the tissue hardly changes. Over the whole stack they stay far apart along Z, because
nothing tells a slow change of tissue from one of the laser.

The first level has one span on an axis, and every level halves the spans, so the number of levels follows from the
finest spans. Samples are kept so dense that speckle averages out (256 x 256 in a plane), and along Z every plane of
a thin section is one.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from linumpy.n4.bspline import DEGREE
from linumpy.n4.grid import SampleGrid, n_control_points

__all__ = ["SHADING_MM", "FitChoice", "choose_fit", "choose_shrink", "lattice_warnings"]

Triple = tuple[int, int, int]

SHADING_MM = 3.0
"""No finer spans across XY: the shading that sections share, and their own, is smoother."""
MIN_SPAN_VOXELS = 64
MAX_REFINEMENTS = 3
ITERATIONS = 50
PLANE_SAMPLES = 256
"""Rows and columns of samples of a plane, about."""
SAMPLES_PER_SPAN = 8
"""Fewest samples between knots of the finest level."""
SECTION_PLANES = 32
"""Fewest sampled planes of a section that has as many."""
STACK_PLANES_PER_SECTION = 8
STACK_PLANES = 2048
"""Most sampled planes of a stack, where that many sections leave fewer than `STACK_PLANES_PER_SECTION` of each."""
PLANES_PER_SPAN = 1.25
"""N4's finest knots along a section's depth, where the planes' levels are not measured before."""
SECTION_SMOOTHING, STACK_SMOOTHING = 0.3, 1.0
"""Standard deviation of the average along Z before a fit, in depths of a section."""
MANY_CONTROL_POINTS = 1_000_000


@dataclass(frozen=True)
class FitChoice:
    """How a fit is set up.

    Parameters
    ----------
    shrink_factor : tuple of int
        Voxels per sample (z, y, x).
    n_control_points : tuple of int
        Control points (z, y, x) of the first level.
    refinements : tuple of int
        Times the spans are halved on each axis.
    n_iterations : tuple of int
        Most iterations of each level.
    depth_smoothing : float
        Standard deviation of the average along Z before the fit, in samples; 0 for none.
    reasons : tuple of (what, value, why)
        In words, for the report.
    warnings : tuple of str
        What looks absurd, with the numbers.
    """

    shrink_factor: Triple
    n_control_points: Triple
    refinements: Triple
    n_iterations: tuple[int, ...]
    depth_smoothing: float
    reasons: tuple[tuple[str, str, str], ...]
    warnings: tuple[str, ...]


def choose_fit(
    shape: Sequence[int],
    voxel_size_mm: Sequence[float],
    *,
    section_planes: int | None = None,
    shrink_factor: Sequence[int] | None = None,
    spline_distance_mm: float | None = None,
    n_iterations: Sequence[int] | None = None,
    shading_mm: float = SHADING_MM,
    depth_profile: bool = True,
    isotropic: bool = False,
    max_samples: int = 32_000_000,
) -> FitChoice:
    """Choose what was not given of a fit.

    Parameters
    ----------
    shape : sequence of int
        Voxels (Z, Y, X) of what is fitted: of the deepest section, or of the stack.
    voxel_size_mm : sequence of float
        Voxel size (z, y, x).
    section_planes : int, optional
        Planes of a section, where `shape` is the stack; None where it is a section.
    shrink_factor : sequence of int, optional
        As given, (z, y, x); None chooses.
    spline_distance_mm : float, optional
        Knot distance of the first level (`linumpy.n4.grid.n_control_points`). None, and across XY one below
        `shading_mm`, starts with one span (more where four levels could not reach the finest).
    n_iterations : sequence of int, optional
        Iterations and number of levels as given; None: 50 for as many levels as the refinements need.
    shading_mm : float
        Width of the finest spans across XY: as many as the image holds, rounded up, and none below 64 voxels; 0 for no
        limit, every level halves the spans of every axis as ITK does.
    depth_profile : bool
        Whether samples come without their planes' levels and are averaged along Z before the fit.
    isotropic : bool
        The backend refines all axes alike (SimpleITK): those across XY decide.
    max_samples : int
        Most samples of the fit.

    Returns
    -------
    FitChoice

    Examples
    --------
    >>> choice = choose_fit((20, 3000, 3000), (0.01, 0.002, 0.002))
    >>> choice.refinements, choice.n_control_points, choice.shrink_factor
    ((0, 1, 1), (4, 4, 4), (1, 11, 11))
    """
    size = _triple(shape)
    of_section = section_planes is None
    name = "sections" if of_section else "stack"
    reasons: list[tuple[str, str, str]] = []
    n_levels = len(n_iterations) if n_iterations is not None else MAX_REFINEMENTS + 1
    spans = _finest_spans(size, voxel_size_mm, of_section, shading_mm, depth_profile)
    coarse = _triple([max(1, math.ceil(wanted / 2**MAX_REFINEMENTS)) + DEGREE for wanted in spans])
    if spline_distance_mm is None:
        control = coarse
        why = "one span on each axis, more only where the levels could not reach the finest"
    else:
        control = n_control_points(size, voxel_size_mm, spline_distance_mm)
        why = f"spline distance {spline_distance_mm:g} mm"
        if spline_distance_mm < shading_mm:
            control = (control[0], coarse[1], coarse[2])
            why += f" is below the shading's {shading_mm:g} mm: across XY one span at first, halved down to that"
    reasons.append((f"control points of the {name}, first level (z,y,x)", _joined(control), why))

    if shading_mm == 0:
        refinements = (n_levels - 1,) * 3
        why = "no limit was set: every level halves the spans of every axis"
    else:
        # Halving as long as the spans stay at least as wide as the finest.
        z, y, x = (
            min(n_levels - 1, MAX_REFINEMENTS, max(0, math.floor(math.log2(wanted / (points - DEGREE)) + 1e-9)))
            for wanted, points in zip(spans, control, strict=True)
        )
        refinements = (z, y, x)
        why = _why_refinements(size, of_section, shading_mm, depth_profile)
    if isotropic and shading_mm != 0:
        refinements = (min(refinements[1:]),) * 3
        why += "; SimpleITK refines all axes alike"
    iterations = tuple(n_iterations) if n_iterations is not None else (ITERATIONS,) * (max(refinements) + 1)
    if isotropic and shading_mm != 0:
        iterations = iterations[: refinements[0] + 1]
    reasons.append((f"refinements of the {name} (z,y,x)", _joined(refinements), why))
    reasons.append(
        (
            f"levels of the {name}",
            str(len(iterations)),
            "as given" if n_iterations is not None else "as many as the refinements need",
        )
    )
    finest = _triple([(points - DEGREE) << times for points, times in zip(control, refinements, strict=True)])
    if shrink_factor is None:
        shrink, why = choose_shrink(size, finest, section_planes=section_planes)
    else:
        shrink, why = _triple(shrink_factor), "as given"
    bounded = _bounded(size, shrink, max_samples)
    if bounded != shrink:
        why = f"grown from {_joined(shrink)} ({why}): at most {max_samples} samples"
    reasons.append((f"shrink factor of the {name} (z,y,x)", _joined(bounded), why))
    depth = size[0] if section_planes is None else min(section_planes, size[0])
    share = SECTION_SMOOTHING if of_section else STACK_SMOOTHING
    smoothing = share * depth / bounded[0] if depth_profile and depth > 1 else 0.0
    return FitChoice(
        shrink_factor=bounded,
        n_control_points=control,
        refinements=refinements,
        n_iterations=iterations,
        depth_smoothing=smoothing,
        reasons=tuple(reasons),
        warnings=lattice_warnings(name, size, bounded, control, refinements),
    )


def choose_shrink(shape: Triple, spans: Triple, *, section_planes: int | None = None) -> tuple[Triple, str]:
    """Choose how many voxels of each axis a sample stands for.

    Parameters
    ----------
    shape : tuple of int
        Voxels (Z, Y, X).
    spans : tuple of int
        Spans of the finest level on each axis.
    section_planes : int, optional
        Planes of a section where `shape` is the stack's.

    Returns
    -------
    shrink_factor : tuple of int
        (z, y, x).
    why : str

    Examples
    --------
    >>> choose_shrink((10, 510, 667), (8, 1, 1))[0]
    (1, 2, 2)
    """
    planes, rows, columns = shape
    in_plane = math.sqrt(rows * columns) / PLANE_SAMPLES
    y, x = (
        max(1, math.floor(min(in_plane, n / (SAMPLES_PER_SPAN * count))))
        for n, count in zip((rows, columns), spans[1:], strict=True)
    )
    if section_planes is None:
        z = max(1, min(planes // SECTION_PLANES, planes // (2 * spans[0])))
        why = f"about {PLANE_SAMPLES} x {PLANE_SAMPLES} samples of a plane; every plane up to {2 * SECTION_PLANES - 1}"
    else:
        z = max(1, min(section_planes // STACK_PLANES_PER_SECTION, planes // (SAMPLES_PER_SPAN * spans[0])))
        along_z = f"{STACK_PLANES_PER_SECTION} planes or more of each section"
        if planes > STACK_PLANES * z:
            z, along_z = math.ceil(planes / STACK_PLANES), f"{STACK_PLANES} planes of the stack or fewer"
        why = f"about {PLANE_SAMPLES} x {PLANE_SAMPLES} samples of a plane, {along_z}"
    return (z, y, x), why


def lattice_warnings(
    name: str, shape: Triple, shrink_factor: Triple, control_points: Triple, refinements: Triple
) -> tuple[str, ...]:
    """Return what is absurd about a lattice, with its numbers.

    Parameters
    ----------
    name : str
        What is fitted.
    shape, shrink_factor : tuple of int
        Voxels (Z, Y, X) and voxels per sample.
    control_points, refinements : tuple of int
        Of the first level, and how often it is refined.

    Returns
    -------
    tuple of str
        Empty where nothing is.
    """
    spans = [(points - DEGREE) << times for points, times in zip(control_points, refinements, strict=True)]
    samples = SampleGrid.of(shape, shrink_factor).size
    last = [count + DEGREE for count in spans]
    total = math.prod(last)
    found = []
    if total > MANY_CONTROL_POINTS:
        found.append(
            f"the lattice of the {name} ends with {_joined(last)} control points (z,y,x), {total * 4 / 2**20:.0f} MiB; "
            f"is the voxel size right? Otherwise give a larger spline distance or fewer levels"
        )
    for axis, count, n in zip("zyx", spans, samples, strict=True):
        if n > 1 and count > n:
            found.append(
                f"the lattice of the {name} ends with {count} spans along {axis} for {n} samples: it can follow "
                f"every one; give a larger spline distance, fewer levels or a smaller shrink factor"
            )
    return tuple(found)


def _finest_spans(
    size: Triple, voxel_size_mm: Sequence[float], of_section: bool, shading_mm: float, depth_profile: bool
) -> tuple[float, float, float]:
    """Most spans on each axis, not rounded, at least 1."""
    along_z = size[0] / PLANES_PER_SPAN if of_section and not depth_profile else 1.0
    y, x = (
        max(1.0, min(math.ceil(n * voxel / shading_mm) if shading_mm else n, n / MIN_SPAN_VOXELS))
        for n, voxel in zip(size[1:], voxel_size_mm[1:], strict=True)
    )
    return max(1.0, min(along_z, 2.0**MAX_REFINEMENTS)), y, x


def _why_refinements(size: Triple, of_section: bool, shading_mm: float, depth_profile: bool) -> str:
    across = f"spans of {shading_mm:g} mm and {MIN_SPAN_VOXELS} voxels or more across XY"
    if not of_section:
        return f"{across}; one span along Z, so that slow changes of the tissue stay"
    if size[0] == 1:
        return f"{across}; sections of one plane have no depth"
    if depth_profile:
        return f"{across}; one span along the depth, since the levels of the planes are measured before"
    return f"{across}; along the depth down to {PLANES_PER_SPAN:g} planes"


def _bounded(shape: Triple, shrink: Triple, most: int) -> Triple:
    """Grow the shrink across XY, then on all axes, until the samples are few enough."""
    for multiple in range(1, max(shape) + 1):
        grown = (shrink[0], shrink[1] * multiple, shrink[2] * multiple)
        if math.prod(SampleGrid.of(shape, grown).size) <= most:
            return grown
        if min(shape[1] // grown[1], shape[2] // grown[2]) < PLANE_SAMPLES // 4:
            break
    for multiple in range(1, max(shape) + 1):
        grown = (shrink[0] * multiple, shrink[1] * multiple, shrink[2] * multiple)
        if math.prod(SampleGrid.of(shape, grown).size) <= most:
            return grown
    return shape


def _triple(values: Sequence[int]) -> Triple:
    z, y, x = (int(value) for value in values)
    return z, y, x


def _joined(values: Sequence[int]) -> str:
    return ",".join(str(value) for value in values)
