"""Where the data say that sections begin: jumps between planes, and a depth profile that repeats.

Inside a section the log ratios of neighbouring planes change little from one to the next, and change alike at the
same depth of every section, since the optics are the same. At a cut the brightness jumps. How likely the ratios are
with given cuts follows from that:

- from one ratio to the next inside a section: a mean common to that depth, and Student's t about it, with a scale
  from the data;
- from the last ratio before a cut to the first after it: the same, with a mean of its own;
- at a cut: any jump, from a normal distribution whose mean and width the cuts share.

Cuts cost as many bits as it takes to say where they are: few for sections of equal depth, many for unequal ones. No
cut, every number of equally deep sections, and the best unequal ones are compared. Planes that are off by themselves
(a jump and back) and the thin ends of the tissue tell nothing and are left out.

Ratios that jump at every plane tell no sections: those of one plane look like planes that differ for other reasons.

Axis is Z; a cut is the first plane of a section. Evidence is in natural logarithms of likelihood.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from math import log, log1p
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import special

from linumpy.intensity.plane_ratios import PlaneRatios
from linumpy.intensity.sections import Sections, equal_cuts

__all__ = ["ENOUGH", "CutCheck", "FoundCuts", "check_cuts", "find_cuts"]

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

ENOUGH = 15.0
"""Cuts are told where they are exp(15) times as likely as what else may be: the model is not the world."""
TAIL = 4.0
"""Degrees of freedom of Student's t."""
LEAST_SCALE = 3e-3
"""Of the changes from ratio to ratio: anatomy is not smoother."""
MEAN_SCALES = 3.0
"""Usual size of a depth's mean change, in scales of the changes about it."""
USUAL_JUMP, JUMP_MEAN_WEIGHT = 0.1, 0.1
"""Prior of the jumps: their standard deviation, and how many jumps the mean 0 counts for."""
LEAST_TISSUE = 0.1
"""Of a large plane's: less is the end of a brain, where what a plane shows changes from plane to plane."""
ODD_SCALES, ODD_BALANCE = 6.0, 0.35
"""A plane is off by itself where a jump of so many scales is taken back but for this share."""
NEARBY = 3
MOST_ODD = 0.04
"""Share of planes: where more seem odd, they are not, but what the stack is like."""
MOST_NUMBERS = 300
"""Numbers of equally deep sections that are looked at closely."""
MOST_CHANGED = 100
"""Cuts that are tried left out and moved by a plane, and planes that are tried as cuts."""
LEAST_SUPPORT = 7.0
"""All cuts are certain where no single change is more likely than exp(-7); one of no common depth needs as much."""
TURNS = 8
DP_QUANTILES, DP_JUMPS = (20, 35, 50), (0.1, 0.3, 1.0)
_STUDENT = float(special.gammaln((TAIL + 1) / 2) - special.gammaln(TAIL / 2) - 0.5 * log(np.pi * TAIL))


@dataclass(frozen=True)
class FoundCuts:
    """Where the data say that sections begin.

    Parameters
    ----------
    sections : tuple of (int, int)
        Planes ``(z_start, z_stop)`` of each; one section where no cut is told.
    equal : bool
        They are as equally deep as whole planes allow.
    evidence : float
        Logarithm of how many times as likely they are as the next likely of all that was tried; 0 where none is told.
    """

    sections: Sections
    equal: bool
    evidence: float

    @property
    def told(self) -> bool:
        """Whether the data tell that there are cuts."""
        return len(self.sections) > 1

    @property
    def certain(self) -> bool:
        """Whether the data tell every one of them."""
        return self.told and self.evidence > LEAST_SUPPORT


@dataclass(frozen=True)
class CutCheck:
    """Declared sections beside what the data say.

    Parameters
    ----------
    n_declared : int
        Sections that were declared.
    found : FoundCuts
        What the data say.
    against : float
        Logarithm of how many times as likely the found cuts are as the declared ones; 0 where none are told.
    """

    n_declared: int
    found: FoundCuts
    against: float

    @property
    def differs(self) -> bool:
        """Whether the data say clearly that the sections begin elsewhere."""
        return self.found.told and self.against > ENOUGH

    def to_dict(self) -> dict[str, Any]:
        """Return it as JSON values."""
        return {
            "declared": self.n_declared,
            "found": [z_start for z_start, _ in self.found.sections[1:]],
            "equal": self.found.equal,
            "evidence": round(self.found.evidence, 1),
            "against_declared": round(self.against, 1),
            "certain": self.found.certain,
            "differs": self.differs,
        }


def find_cuts(ratios: PlaneRatios) -> FoundCuts:
    """Find where sections begin.

    Parameters
    ----------
    ratios : PlaneRatios
        What was measured of the stack's planes.

    Returns
    -------
    FoundCuts

    Examples
    --------
    >>> first = np.arange(39)
    >>> decay = np.tile(-0.1 * np.arange(10.0), 4)
    >>> measured = PlaneRatios(first, first + 1, np.diff(decay), np.full(39, 0.002), np.full(40, 900),
    ...                        np.zeros((40, 1000), np.uint32))
    >>> find_cuts(measured).sections
    ((0, 10), (10, 20), (20, 30), (30, 40))
    """
    return _found(_Ratios(ratios))[0]


def check_cuts(ratios: PlaneRatios, sections: Sections) -> CutCheck:
    """Compare declared sections with what the data say.

    Parameters
    ----------
    ratios : PlaneRatios
        What was measured of the stack's planes.
    sections : tuple of (int, int)
        Planes ``(z_start, z_stop)`` of each declared section.

    Returns
    -------
    CutCheck
    """
    measured = _Ratios(ratios)
    found, evidence = _found(measured)
    declared = np.array([z_start for z_start, _ in sections[1:]], np.int64)
    # What was declared costs nothing to say.
    against = evidence - measured.evidence(declared) if found.told else 0.0
    return CutCheck(len(sections), found, max(against, 0.0))


def _found(measured: _Ratios) -> tuple[FoundCuts, float]:
    """Return what is told, and the evidence for it, what it costs to say counted."""
    n = measured.n
    nothing = FoundCuts(((0, n),), equal=True, evidence=0.0)
    if np.count_nonzero(np.isfinite(measured.ratio)) < 3:
        return nothing, 0.0
    scores: dict[bytes, float] = {}

    def score(cuts: Ints) -> float:
        key = cuts.tobytes()
        if key not in scores:
            scores[key] = measured.evidence(cuts) - _cost(n, cuts)
        return scores[key]

    none, every = equal_cuts(n, 1), np.arange(1, n)
    best = max((none, every, *_equal_cuts(measured), *_unequal_cuts(measured)), key=score)
    for _ in range(TURNS):
        before = best
        for changed in _changed_planes(measured, best):
            best = max(best, np.setxor1d(best, changed), key=score)
        if best is before:
            break
    # Cuts that follow from no common depth have to be told one by one.
    while len(best) and not np.array_equal(best, equal_cuts(n, len(best) + 1)):
        fewer = max((np.delete(best, i) for i in range(len(best))), key=score)
        if score(best) - score(fewer) > LEAST_SUPPORT:
            break
        best = fewer
    found = score(best)
    if not len(best) or found - max(score(none), score(every)) < ENOUGH:
        return nothing, 0.0
    near = (np.setxor1d(best, planes) for planes in _changed_planes(measured, best))
    # That there is one more cut at which nothing happens can never be told.
    others = [none, every, *_equal_cuts(measured), *(other for other in near if len(other) <= len(best))]
    evidence = min(
        found - score(other)
        for other in others
        # Where nothing was measured, nothing tells cuts apart.
        if np.isfinite(measured.ratio[np.setxor1d(best, other)]).any()
    )
    sections = tuple(pairwise([0, *best.tolist(), n]))
    equal = np.array_equal(best, equal_cuts(n, len(sections)))
    if not equal and _longest_run(np.isnan(measured.ratio[1:])) >= min(np.diff(best, prepend=0, append=n)):
        evidence = 0.0  # a section may begin or end there unseen
    return FoundCuts(sections, equal, max(evidence, 0.0)), found


def _longest_run(there: npt.NDArray[np.bool_]) -> int:
    edges = np.flatnonzero(np.diff(there, prepend=False, append=False))
    return int((edges[1::2] - edges[::2]).max(initial=0))


class _Ratios:
    """The log ratio of each plane to the one before it, NaN where it tells nothing, and how likely cuts make them."""

    def __init__(self, ratios: PlaneRatios) -> None:
        self.n = len(ratios.tissue)
        self.ratio = np.full(self.n, np.nan)
        if len(ratios.first):
            enough = LEAST_TISSUE * np.percentile(ratios.tissue, 90)
            least = np.minimum(ratios.tissue[ratios.first], ratios.tissue[ratios.last])
            tells = (ratios.last - ratios.first == 1) & (least >= enough)
            self.ratio[ratios.last[tells]] = ratios.log_ratio[tells]
        self.outstanding = _outstanding(self.ratio)
        for plane in _odd_planes(self.outstanding):
            self.ratio[plane : plane + 2] = np.nan

    def evidence(self, cuts: Ints) -> float:
        """Return the logarithm of how likely the ratios are if sections begin at these planes."""
        plane = np.arange(self.n)
        starts = np.concatenate([[0], cuts])
        depth = plane - starts[np.searchsorted(starts, plane, side="right") - 1]
        before = np.where(depth == 1, plane - 2, plane - 1)  # across a cut, the last ratio of the section before
        chained = (depth > 0) & (before > 0)
        chained[chained] = depth[before[chained]] > 0
        change, depth = self.ratio[chained] - self.ratio[before[chained]], depth[chained]
        there = np.isfinite(change)
        jumps = self.ratio[cuts]
        return _changes(change[there], depth[there]) + _jumps(jumps[np.isfinite(jumps)])


def _changes(changes: Floats, depth: Ints) -> float:
    """Log likelihood of changes from ratio to ratio, with means common to each depth, or without."""
    if not len(changes):
        return 0.0
    order = np.lexsort((changes, depth))
    changes, depth = changes[order], depth[order]
    edges = np.flatnonzero(np.diff(depth, prepend=-1, append=-1))
    count = np.diff(edges)
    shared = count > 1
    plain = _student(changes, _scale(changes))
    if not shared.any():
        return plain
    low, high = edges[:-1], edges[1:] - 1
    means = (changes[(low + high) // 2] + changes[(low + high + 1) // 2]) / 2 * shared  # medians
    rest = changes - np.repeat(means, count)
    scale = _scale(rest[np.repeat(shared, count)])
    # Laplace's approximation of what each mean costs, its prior a Cauchy distribution.
    width = MEAN_SCALES * scale
    cost = np.log(np.pi * width) + np.log1p((means[shared] / width) ** 2)
    gain = 0.5 * np.log(2 * np.pi * scale**2 / count[shared])
    return max(plain, _student(rest, scale) + float((gain - cost).sum()))


def _scale(values: Floats) -> float:
    return max(1.4826 * float(np.median(np.abs(values))), LEAST_SCALE)


def _student(values: Floats, scale: float) -> float:
    """Sum of the log density of Student's t."""
    return float(len(values) * (_STUDENT - log(scale)) - (TAIL + 1) / 2 * np.log1p((values / scale) ** 2 / TAIL).sum())


def _jumps(jumps: Floats) -> float:
    """Log likelihood of jumps of one normal distribution, over all its means and variances."""
    n = len(jumps)
    if not n:
        return 0.0
    weight, shape, mean = JUMP_MEAN_WEIGHT + n, 1 + n / 2, float(jumps.mean())
    spread = float(((jumps - mean) ** 2).sum()) + JUMP_MEAN_WEIGHT * n * mean**2 / weight
    rate = USUAL_JUMP**2 + 0.5 * spread
    return float(
        special.gammaln(shape)
        + 2 * log(USUAL_JUMP)
        - shape * log(rate)
        + 0.5 * log(JUMP_MEAN_WEIGHT / weight)
        - n / 2 * log(2 * np.pi)
    )


def _cost(n: int, cuts: Ints) -> float:
    """Natural logarithm of the cuts that are as simple to say."""
    k = len(cuts)
    if not k:
        return 0.0
    if np.array_equal(cuts, equal_cuts(n, k + 1)):
        return log(n)
    depths = np.diff(cuts)
    if k > 1 and depths.min() == depths.max() >= max(cuts[0], n - cuts[-1]):
        return 2 * log(n)  # equal but for the first and the last section, which are not whole
    return float(2 * log(n) + special.gammaln(n) - special.gammaln(k + 1) - special.gammaln(n - k))


def _equal_cuts(measured: _Ratios) -> Iterator[Ints]:
    """Equally deep sections of two planes or more; of very many numbers those at whose cuts most stands out."""
    numbers = list(range(2, measured.n // 2 + 1))
    if len(numbers) > MOST_NUMBERS:
        size = np.abs(measured.outstanding)
        size = np.minimum(np.nan_to_num(size), 3 * np.nanmedian(size))
        size -= size.mean()
        ranked = sorted(numbers, key=lambda k: (-size[equal_cuts(measured.n, k)].sum() / np.sqrt(k - 1), k))
        numbers = sorted(ranked[:MOST_NUMBERS])
    for number in numbers:
        yield equal_cuts(measured.n, number)


def _unequal_cuts(measured: _Ratios) -> Iterator[Ints]:
    """Return the most likely cuts of any depths but one plane, without a profile, at some scales and sizes of jumps."""
    ratio = measured.ratio
    changes = np.abs(np.diff(ratio[np.isfinite(ratio)]))
    for quantile in DP_QUANTILES:
        scale = max(1.5 * float(np.percentile(changes, quantile)), LEAST_SCALE)
        for jump in DP_JUMPS:
            yield _most_likely(ratio.tolist(), scale, jump)


def _most_likely(ratio: list[float], scale: float, jump: float) -> Ints:
    """Dynamic programming: each ratio follows on the one before it, or on the one before a cut."""
    n = len(ratio)
    at_cut = -0.5 * log(2 * np.pi * jump**2) - 2 * log(n)

    def follows(change: float) -> float:
        if change != change:  # NaN tells nothing
            return 0.0
        return _STUDENT - log(scale) - (TAIL + 1) / 2 * log1p((change / scale) ** 2 / TAIL)

    best, cut_before = [0.0] * n, [False] * n
    for z in range(2, n):
        best[z] = best[z - 1] + follows(ratio[z] - ratio[z - 1])
        if z >= 3:
            size = ratio[z - 1]
            with_cut = best[z - 2] + follows(ratio[z] - ratio[z - 2]) + at_cut
            with_cut -= 0.5 * (size / jump) ** 2 if size == size else at_cut
            if with_cut > best[z]:
                best[z], cut_before[z] = with_cut, True
    cuts, z = [], n - 1
    while z > 1:
        if cut_before[z]:
            cuts.append(z - 1)
        z -= 2 if cut_before[z] else 1
    return np.array(cuts[::-1], np.int64)


def _changed_planes(measured: _Ratios, cuts: Ints) -> Iterator[Ints]:
    """Planes to cut at, or no longer to cut at: all cuts a plane on or back; one left out, moved, or put in."""
    if 1 < len(cuts) < measured.n - 1:
        for step in (-1, 1):
            moved = cuts + step
            yield np.setxor1d(cuts, moved[(moved > 0) & (moved < measured.n)])
    for cut in cuts[np.unique(np.linspace(0, len(cuts) - 1, min(len(cuts), MOST_CHANGED)).astype(int))]:
        yield np.array([cut])
        for other in (cut - 1, cut + 1):
            if 0 < other < measured.n:
                yield np.array([cut, other])
    size = np.nan_to_num(np.abs(measured.outstanding))
    size[cuts] = 0
    for plane in np.argsort(-size, kind="stable")[:MOST_CHANGED]:
        if size[plane] > 0:
            yield np.array([plane])


def _outstanding(ratio: Floats) -> Floats:
    """Return what each ratio differs by from the median of those nearby."""
    padded = np.pad(ratio, NEARBY, constant_values=np.nan)
    near = np.lib.stride_tricks.sliding_window_view(padded, 2 * NEARBY + 1)
    near = np.delete(near, NEARBY, axis=1)
    there = np.isfinite(ratio) & np.isfinite(near).any(axis=1)
    found = np.full(len(ratio), np.nan)
    if there.any():
        found[there] = ratio[there] - np.nanmedian(near[there], axis=1)
    return found


def _odd_planes(outstanding: Floats) -> list[int]:
    """Planes of which a jump is taken back at once."""
    there = np.isfinite(outstanding)
    if not there.any():
        return []
    up, down = outstanding[:-1], outstanding[1:]
    smaller = np.minimum(np.abs(up), np.abs(down))
    odd = (up * down < 0) & (smaller > ODD_SCALES * _scale(outstanding[there]))
    odd &= np.abs(up + down) < ODD_BALANCE * smaller
    planes: list[int] = np.flatnonzero(odd).tolist()
    return planes if len(planes) <= max(2, MOST_ODD * len(outstanding)) else []
