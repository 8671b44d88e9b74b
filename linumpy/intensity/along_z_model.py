"""The brightness along Z: what of it is anatomy, and what the sections bring, from the log ratios of planes.

Anatomy does not know where the knife went. With ``r`` the log ratio of plane ``z + 1`` to plane ``z``::

    r(z) = a(z) + B(z + 1) - B(z) + noise,     B(z) = P(d) + q_s(d) + e(z),     d: depth of z in its section s

- ``a``, the rate at which the anatomy changes, is smooth along Z and runs on across the cuts. It is scaled by how fast
  the area of tissue changes: where a brain tapers, what it shows changes faster.
- ``P``, the depth profile, is common to the sections, since the optics are.
- ``q_s`` is a section's own: a gain, a slope and a small bend, each drawn anew at every cut.
- ``e`` is 0 but for planes that were badly taken, which are found by their residuals and named.

The histograms of the planes measure ``B`` once more, with an error ``u`` that varies slowly along Z (the classes of
tissue are not quite equally bright, nor equally frequent), and is larger where tissue is rare.

All of it is one linear Gaussian model. Its few variances maximise the marginal likelihood, with weak priors; a section
or a plane with little evidence falls back to what is common. Where nothing repeats with the sections, and nothing
jumps at the cuts, the variances of ``B`` vanish and so does ``B``: even stays even. The precision matrix is banded
along Z with a border for ``P``, so time and memory grow with the planes.

No data tell a profile of one section alone, and waves of brightness much longer than a section, which stay.

Axis is Z; all levels are natural logarithms.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from scipy import linalg, ndimage, optimize

from linumpy.intensity.along_z import AlongZ
from linumpy.intensity.plane_ratios import MIN_TISSUE, PlaneRatios, histogram_medians, histogram_shifts
from linumpy.intensity.sections import Sections

__all__ = ["fit_along_z"]

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

STATES = 5
RATE, LEVEL, SLOPE, ODD, DRIFT = range(STATES)
"""Of a plane: ``a``, ``q_s`` and its slope, ``e``, ``u``."""
MAX_PROFILE_POINTS = 64
"""Depths at which ``P`` is estimated; between them it is a straight line."""
NARROW, WIDE = 1e-4, 0.5
"""Standard deviation of ``e``: of a plane like any other, and of a named one."""
NAMED_SCALES, NAMED_LEAST = 6.0, 0.03
"""A plane is named where it is off by so many standard deviations of the planes' residuals, and by 3 %."""
NAMING_TURNS = 4
MIN_SECTIONS_OF_PROFILE = 4
"""Fewest sections whose median at a depth is no single plane's."""
MIN_PLANES_TO_NAME = 5
NEARBY = 3
"""Planes each way whose median stands for the profile where sections are few."""
LARGEST_AREA_RATE_TO_NAME = 0.2
STRAIGHT = 3e-4
"""A section's own level follows its slope this closely; an exact 0 would spoil the condition of the system."""
AREA_RATE_FLOOR, AREA_RATE_USUAL = 0.01, 0.02
"""Change of the logarithm of the tissue's area from plane to plane: least and usual."""
LARGEST_AREA_RATE = 0.5
AREA_RATE_SMOOTHING = 3.0
"""Planes over which it is averaged."""
DRIFT_RANGE = (0.7, 5.0)
HISTOGRAM_NOISE = 0.02
LOG_RANGE = (-11.0, 9.0)
"""Of the logarithms of standard deviations and lengths."""
NOT_LIKELY = 1e10
MOST_SECTIONS, RUN = 1024, 64
"""Sections that the variances are told from, in runs spread over the stack: more of them would change little."""
DRAWS = 64
"""Samples of the posterior that give the standard errors."""


class _Hyper(NamedTuple):
    """Standard deviations, and lengths in planes."""

    rate: float
    rate_length: float
    profile: float
    gain: float
    slope: float
    bend: float
    noise: float
    drift: float
    drift_length: float


DRIFT_FREE = 7
"""Variances that the ratios alone tell, the first of :class:`_Hyper`."""
_PRIOR_WIDTHS = np.array([1.0, 1.0, 1.5, 1.2, 1.2, 1.2, 1.0, 0.1, 0.7])
"""Standard deviations of the logarithms of :class:`_Hyper` around what is usual."""


def _usual(depth: int) -> _Hyper:
    planes = max(depth, 4)
    return _Hyper(0.02, 2.0 * planes, 0.3, 0.1, 0.05 / depth, 0.02 / depth**1.5, 0.003, 0.1, 2.0 * max(depth, 8))


def fit_along_z(ratios: PlaneRatios, sections: Sections) -> AlongZ:
    """Tell what the sections bring to the brightness along Z from what the tissue does.

    Parameters
    ----------
    ratios : PlaneRatios
        What was measured of the stack's planes.
    sections : tuple of (int, int)
        Planes ``(z_start, z_stop)`` of each section.

    Returns
    -------
    AlongZ
        All levels are 0 where fewer than two planes share tissue.

    Examples
    --------
    >>> first = np.arange(39)
    >>> gains = np.repeat([0.0, 0.3, -0.2, 0.1], 10)
    >>> measured = PlaneRatios(first, first + 1, np.diff(gains), np.full(39, 0.002), np.full(40, 900),
    ...                        np.zeros((40, 1000), np.uint32))
    >>> found = fit_along_z(measured, ((0, 10), (10, 20), (20, 30), (30, 40)))
    >>> bool(np.abs(np.diff(found.levels) - np.diff(gains)).max() < 0.02)
    True
    """
    depth = max(z_stop - z_start for z_start, z_stop in sections)
    hyper = _usual(depth)
    if not len(ratios.log_ratio):
        nothing = np.zeros(sections[-1][1])
        return AlongZ(nothing, nothing, nothing, np.zeros(depth), (), ratios.tissue, hyper._asdict())
    stack = _Stack(ratios, sections)
    part = _Stack(_spread(ratios, sections), sections)
    of_part = np.isin(stack.planes, part.planes)
    odd = _outstanding(stack, stack.log_ratio)
    shifts: Floats | None = None
    for _ in range(NAMING_TURNS):
        named = np.isin(np.flatnonzero(of_part), sorted(odd))
        of_shifts = None if shifts is None else shifts[of_part]
        hyper = _most_likely(part, hyper, set(np.flatnonzero(named).tolist()), of_shifts)
        solution = _solve(stack, hyper, odd, shifts)
        more = _outstanding(stack, solution.residuals) - odd
        if shifts is not None and not more:
            break
        odd |= more
        levels = stack.levels(solution.states, solution.border)
        shifts = levels + histogram_shifts(ratios.histograms[stack.planes], levels)
    levels = stack.levels(solution.states, solution.border)
    draws = np.stack([stack.levels(*solution.draw(seed)) for seed in range(DRAWS)])
    draws -= np.average(draws, axis=1, weights=stack.tissue)[:, None]
    # Not the sum of `a`: where a brain tapers, its columns darken towards the rim, and the tissue as a whole does not.
    kept = histogram_medians(ratios.histograms[stack.planes]) - levels
    kept -= np.average(kept, weights=stack.tissue)
    everywhere = np.zeros((2, sections[-1][1]))
    everywhere[:, stack.planes] = draws.std(axis=0), kept
    profile = stack.profile(solution.border)
    return AlongZ(
        levels=stack.of_all_planes(levels, solution.border),
        errors=everywhere[0],
        kept=everywhere[1],
        profile=profile - profile.mean(),
        odd_planes=tuple(int(stack.planes[i]) for i in sorted(odd)),
        tissue=ratios.tissue,
        variances={name: round(float(value), 6) for name, value in hyper._asdict().items()},
    )


def _spread(ratios: PlaneRatios, sections: Sections) -> PlaneRatios:
    """Return what was measured of `MOST_SECTIONS` sections, as if the others had no tissue."""
    there = [(z_start, z_stop) for z_start, z_stop in sections if ratios.tissue[z_start:z_stop].max() >= MIN_TISSUE]
    if len(there) <= MOST_SECTIONS:
        return ratios
    kept = np.zeros(len(ratios.tissue), bool)
    for first in np.linspace(0, len(there) - RUN, MOST_SECTIONS // RUN).astype(int):
        for z_start, z_stop in there[first : first + RUN]:
            kept[z_start:z_stop] = True
    pairs = kept[ratios.first] & kept[ratios.last]
    return replace(
        ratios,
        first=ratios.first[pairs],
        last=ratios.last[pairs],
        log_ratio=ratios.log_ratio[pairs],
        error=ratios.error[pairs],
        tissue=np.where(kept, ratios.tissue, 0),
    )


class _Stack:
    """The measurements, and where they stand in the model; nothing that depends on the variances.

    Planes without tissue are left out: those on both sides of them are neighbours, `gap` planes apart.
    """

    def __init__(self, ratios: PlaneRatios, sections: Sections) -> None:
        self.sections = sections
        starts = np.array([z_start for z_start, _ in sections])
        self.planes = np.flatnonzero(ratios.tissue >= MIN_TISSUE)
        self.tissue = ratios.tissue[self.planes]
        section = np.searchsorted(starts, self.planes, side="right") - 1
        self.plane_depth = self.planes - starts[section]
        self.depth = max(z_stop - z_start for z_start, z_stop in sections)
        self.gap = np.diff(self.planes).astype(np.float64)
        at_cut = np.diff(section) > 0
        self.starts = np.concatenate([[0], np.flatnonzero(at_cut) + 1])
        self.inner = np.flatnonzero(~at_cut) + 1
        self.first = np.searchsorted(self.planes, ratios.first)
        self.log_ratio, self.error = ratios.log_ratio, ratios.error
        self.points, self.profile_kernel = _profile_points(self.depth)
        log_area = np.log(self.tissue.astype(np.float64))
        area_rate = np.minimum(np.abs(np.diff(log_area, append=log_area[-1:])), LARGEST_AREA_RATE)
        area_rate = ndimage.gaussian_filter1d(area_rate, AREA_RATE_SMOOTHING, mode="nearest")
        self.rate_scale = np.hypot(AREA_RATE_FLOOR, area_rate) / AREA_RATE_USUAL
        self.drift_scale = np.clip(np.sqrt(np.median(self.tissue) / self.tissue), *DRIFT_RANGE)

    def levels(self, states: Floats, border: Floats) -> Floats:
        """``B`` of every plane."""
        levels: Floats = self.profile(border)[self.plane_depth] + states[:, LEVEL] + states[:, ODD]
        return levels

    def profile(self, border: Floats) -> Floats:
        """``P`` of every depth."""
        profile: Floats = self.points @ border[:-1]
        return profile

    def of_all_planes(self, levels: Floats, border: Floats) -> Floats:
        """Return levels of all planes of the stack; those without tissue go with the nearest of their section."""
        profile = self.profile(border)
        found = np.zeros(self.sections[-1][1])
        for z_start, z_stop in self.sections:
            low, high = np.searchsorted(self.planes, (z_start, z_stop))
            if low == high:
                continue
            z = np.arange(z_start, z_stop)
            own = levels[low:high] - profile[self.plane_depth[low:high]]
            middles = (self.planes[low : high - 1] + self.planes[low + 1 : high]) / 2
            found[z_start:z_stop] = profile[: len(z)] + own[np.searchsorted(middles, z)]
        found[self.planes] = levels
        return found


def _profile_points(depth: int) -> tuple[Floats, Floats]:
    """Weights of the points of ``P`` at each depth, and the points' prior covariance at standard deviation 1."""
    n_points = min(depth, MAX_PROFILE_POINTS)
    place = np.linspace(0, n_points - 1, depth)
    weights = np.maximum(0.0, 1 - np.abs(place[:, None] - np.arange(n_points)))
    at = np.linspace(0, depth - 1, n_points)
    root = np.sqrt(5.0) * np.abs(at[:, None] - at[None, :]) / max(depth / 2, 1.0)
    return weights, (1 + root + root**2 / 3) * np.exp(-root) + 1e-6 * np.eye(n_points)  # Matern 5/2


def _outstanding(stack: _Stack, log_ratio: Floats) -> set[int]:
    """Find planes that are brighter or darker than both their neighbours, far beyond what planes usually are.

    Such a plane shows as a pair of ratios of opposite sign; a step, as at a cut that was not declared, as one. What all
    sections have at a depth, their profile, is no fault: its median is taken out first. Only planes inside a section
    count, since the gain explains one at a cut.
    """
    ratio, error = np.full((2, len(stack.planes)), np.nan)
    ratio[stack.first], error[stack.first] = log_ratio, stack.error
    inner = stack.inner[np.isin(stack.inner + 1, stack.inner)]
    # At the end of a brain, where most tissue begins or ends with a plane, none can be told from its neighbours.
    change = np.abs(np.diff(np.log(stack.tissue.astype(np.float64)), prepend=np.nan, append=np.nan))
    inner = inner[np.maximum(change[inner], change[inner + 1]) < LARGEST_AREA_RATE_TO_NAME]
    # Where the tissue changes fast, so do its planes.
    usual = np.maximum(stack.rate_scale[inner], 1.0)
    noise = np.hypot(error[inner - 1], error[inner]) / 2
    found: set[int] = set()
    for _ in range(len(inner)):
        own = ratio - _usual_ratio(stack, ratio)
        up, down = own[inner - 1], -own[inner]
        off = np.where(np.abs(up - down) <= np.abs(up + down) / 2, (up + down) / 2, 0.0)
        there = np.isfinite(up) & np.isfinite(down)
        if np.count_nonzero(there) < MIN_PLANES_TO_NAME:
            break
        scale = 1.4826 * float(np.median(np.abs((up + down) / 2 / usual)[there]))
        least = np.maximum(NAMED_LEAST * usual, NAMED_SCALES * np.hypot(scale * usual, noise))
        worst = int(np.argmax(np.where(there, np.abs(off) / least, 0.0)))
        if not abs(off[worst]) > least[worst]:
            break
        plane = int(inner[worst])
        found.add(plane)
        # Without its own plane a pair of ratios says what lies between its neighbours.
        ratio[plane - 1 : plane + 1] = (ratio[plane - 1] + ratio[plane]) / 2
    return found


def _usual_ratio(stack: _Stack, ratio: Floats) -> Floats:
    """Return the median of the ratios at each depth of the sections; of those nearby where the sections are few."""
    usual = np.zeros(len(ratio))
    there = np.isfinite(ratio)
    if len(stack.sections) >= MIN_SECTIONS_OF_PROFILE:
        for depth in np.unique(stack.plane_depth[there]):
            same = stack.plane_depth == depth
            usual[same] = np.median(ratio[there & same])
    else:
        for at in np.flatnonzero(there):
            near = slice(max(0, at - NEARBY), at + NEARBY + 1)
            usual[at] = np.median(ratio[near][there[near]])
    return usual


class _Solution(NamedTuple):
    cost: float
    states: Floats
    border: Floats
    residuals: Floats
    factor: Floats
    schur: Floats
    coupling: Floats

    def draw(self, seed: int) -> tuple[Floats, Floats]:
        """Draw states and border from the posterior."""
        rng = np.random.default_rng(seed)
        border = linalg.solve_triangular(self.schur, rng.standard_normal(len(self.border)), lower=True, trans="T")
        free = _solve_upper(self.factor, rng.standard_normal(len(self.coupling)))
        states = free - self.coupling @ border
        return self.states + states.reshape(self.states.shape), self.border + border


def _solve_upper(factor: Floats, values: Floats) -> Floats:
    """Solve ``L.T x = values`` for the banded Cholesky factor ``L``."""
    bands = len(factor) - 1
    upper = np.zeros_like(factor)
    for k in range(bands + 1):
        upper[bands - k, k:] = factor[k, : factor.shape[1] - k]
    solved: Floats = linalg.solve_banded((0, bands), upper, values)
    return solved


class _Normal:
    """Sums of the normal equations: a band over the planes' states, bordered by the profile and one constant."""

    def __init__(self, n_planes: int, n_border: int) -> None:
        self.size = n_planes * STATES
        self.band = np.zeros((2 * STATES, self.size))
        self.right = np.zeros(self.size)
        self.coupling = np.zeros((self.size, n_border))
        self.border = np.zeros((n_border, n_border))
        self.border_right = np.zeros(n_border)
        self.quadratic = self.log_variance = 0.0

    def add(
        self,
        places: Sequence[Ints],
        factors: Sequence[float | Floats],
        variance: float | Floats,
        target: float | Floats = 0.0,
        border: Floats | None = None,
    ) -> None:
        """Add the terms ``(sum(factor * state[place]) + border @ unknowns - target)^2 / variance``, a term a row.

        No place is named twice in one of `places`.
        """
        n = len(places[0])
        if not n:
            return
        weight = np.broadcast_to(1.0 / np.asarray(variance, np.float64), n)
        goal = np.broadcast_to(np.asarray(target, np.float64), n)
        self.log_variance -= float(np.log(weight).sum())
        self.quadratic += float((goal**2 * weight).sum())
        for i, place in enumerate(places):
            weighted = factors[i] * weight
            self.right[place] += weighted * goal
            for j, other in enumerate(places):
                offset = int(place[0] - other[0])  # the same in all rows
                if offset >= 0:
                    self.band[offset, other] += weighted * factors[j]
            if border is not None:
                self.coupling[place] += weighted[:, None] * border
        if border is not None:
            weighted_border = border * weight[:, None]
            self.border += border.T @ weighted_border
            self.border_right += weighted_border.T @ goal


def _solve(stack: _Stack, hyper: _Hyper, odd: set[int], shifts: Floats | None) -> _Solution:
    n, n_points = len(stack.planes), stack.points.shape[1]
    normal = _Normal(n, n_points + 1)
    planes, starts, inner, first = np.arange(n), stack.starts, stack.inner, stack.first
    gap = stack.gap

    def at(state: int, which: Ints) -> Ints:
        return STATES * which + state

    for state, deviation, length in (
        (RATE, hyper.rate, hyper.rate_length),
        (DRIFT, hyper.drift, hyper.drift_length),
    ):
        keep = np.exp(-gap / length)
        normal.add([at(state, planes[:1])], [1.0], deviation**2)
        normal.add([at(state, planes[1:]), at(state, planes[:-1])], [1.0, -keep], deviation**2 * (1 - keep**2))
    normal.add([at(LEVEL, starts)], [1.0], hyper.gain**2)
    normal.add([at(SLOPE, starts)], [1.0], hyper.slope**2)
    far = gap[inner - 1]
    normal.add([at(LEVEL, inner), at(LEVEL, inner - 1), at(SLOPE, inner - 1)], [1.0, -1.0, -far], STRAIGHT**2)
    normal.add([at(SLOPE, inner), at(SLOPE, inner - 1)], [1.0, -1.0], far * hyper.bend**2 + STRAIGHT**4)
    deviations = np.full(n, NARROW)
    deviations[sorted(odd)] = WIDE
    normal.add([at(ODD, planes)], [1.0], deviations**2)
    points = stack.points[stack.plane_depth]
    # Over a gap the rate of its first plane stands for all of it.
    scale, missing = gap[first] * stack.rate_scale[first], gap[first] - 1
    beyond = (scale * hyper.rate) ** 2 * (1 - np.exp(-2 * missing / hyper.rate_length)) / 3
    normal.add(
        [at(RATE, first), at(LEVEL, first + 1), at(LEVEL, first), at(ODD, first + 1), at(ODD, first)],
        [scale, 1.0, -1.0, 1.0, -1.0],
        stack.error**2 + hyper.noise**2 + beyond,
        stack.log_ratio,
        np.hstack([points[first + 1] - points[first], np.zeros((len(first), 1))]),
    )
    if shifts is not None:
        measured = np.flatnonzero(np.isfinite(shifts))
        normal.add(
            [at(DRIFT, measured), at(LEVEL, measured), at(ODD, measured)],
            [stack.drift_scale[measured], 1.0, 1.0],
            HISTOGRAM_NOISE**2 + 0.25 / stack.tissue[measured],
            shifts[measured],
            np.hstack([points[measured], np.ones((len(measured), 1))]),
        )
    prior = np.zeros((n_points + 1,) * 2)
    prior[:-1, :-1] = hyper.profile**2 * stack.profile_kernel
    prior[-1, -1] = 4.0
    prior_factor = linalg.cholesky(prior, lower=True)
    inverse = linalg.cho_solve((prior_factor, True), np.eye(n_points + 1))
    factor = linalg.cholesky_banded(normal.band, lower=True, check_finite=False)
    solved = linalg.cho_solve_banded(
        (factor, True), np.column_stack([normal.coupling, normal.right]), check_finite=False
    )
    coupling, free = solved[:, :-1], solved[:, -1]
    schur = linalg.cholesky(normal.border + inverse - normal.coupling.T @ coupling, lower=True)
    border_right = normal.border_right - normal.coupling.T @ free
    border_found = linalg.cho_solve((schur, True), border_right)
    states = free - coupling @ border_found
    explained = float(normal.right @ states + normal.border_right @ border_found)
    log_determinant = 2 * float(np.log(factor[0]).sum() + np.log(np.diag(schur)).sum())
    log_prior = 2 * float(np.log(np.diag(prior_factor)).sum())
    cost = 0.5 * (normal.log_variance + log_prior + log_determinant + normal.quadratic - explained)
    states = states.reshape(n, STATES)
    levels = stack.levels(states, border_found)
    residuals = stack.log_ratio - (levels[first + 1] - levels[first]) - scale * states[first, RATE]
    return _Solution(cost, states, border_found, residuals, factor, schur, coupling)


def _most_likely(stack: _Stack, start: _Hyper, odd: set[int], shifts: Floats | None) -> _Hyper:
    """Return the most probable variances, to 1 %: the last bits of the sums shall not reach the field."""
    usual = np.log(_usual(stack.depth))
    free = len(usual) if shifts is not None else DRIFT_FREE

    def hyper(logs: Floats) -> _Hyper:
        return _Hyper(*np.exp(np.clip(np.concatenate([logs, usual[free:]]), *LOG_RANGE)))

    def cost(logs: Floats) -> float:
        off = (logs - usual[:free]) / _PRIOR_WIDTHS[:free]
        try:
            return _solve(stack, hyper(logs), odd, shifts).cost + 0.5 * float(off @ off)
        except linalg.LinAlgError:  # variances so far apart that rounding spoils the factors: no likely ones
            return NOT_LIKELY

    found = optimize.minimize(cost, np.log(start)[:free], method="L-BFGS-B", options={"maxiter": 60, "eps": 1e-4})
    return hyper(np.round(found.x, 2))
