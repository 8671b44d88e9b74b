"""What the sections bring to the brightness along Z: levels of planes, with their errors."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from linumpy.intensity.sections import Sections

__all__ = ["AlongZ"]

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class AlongZ:
    """What the sections bring to the brightness along Z.

    Parameters
    ----------
    levels : ndarray of float64, shape (Z,)
        ``B`` of each plane. Planes without tissue go with the nearest of their section; 0 in a section without any.
    errors : ndarray of float64, shape (Z,)
        Standard error of ``B`` relative to the stack's mean.
    kept : ndarray of float64, shape (Z,)
        Logarithm of the tissue's median brightness that stays in the image, mean 0; 0 for planes without tissue.
    profile : ndarray of float64, shape (deepest section,)
        ``P``, mean 0.
    odd_planes : tuple of int
        Planes that were badly taken.
    tissue : ndarray of int, shape (Z,)
        Samples of tissue that each plane has.
    variances : dict of str to float
        The standard deviations and lengths that the data asked for.
    """

    levels: Floats
    errors: Floats
    kept: Floats
    profile: Floats
    odd_planes: tuple[int, ...]
    tissue: Ints
    variances: dict[str, float]

    def to_dict(self) -> dict[str, Any]:
        """Return it as JSON values, rounded to 1e-9."""
        return {
            "levels": self.levels.round(9).tolist(),
            "errors": self.errors.round(9).tolist(),
            "kept": self.kept.round(9).tolist(),
            "profile": self.profile.round(9).tolist(),
            "odd_planes": list(self.odd_planes),
            "tissue": self.tissue.tolist(),
            "variances": self.variances,
        }

    @classmethod
    def from_dict(cls, stored: dict[str, Any]) -> AlongZ:
        """Read what :meth:`to_dict` gave."""
        arrays = {name: np.array(stored[name], np.float64) for name in ("levels", "errors", "kept", "profile")}
        return cls(
            **arrays,
            odd_planes=tuple(stored["odd_planes"]),
            tissue=np.array(stored["tissue"], np.int64),
            variances=stored["variances"],
        )

    def split(self, sections: Sections, *, within: bool, between: bool) -> tuple[tuple[float, ...], tuple[float, ...]]:
        """Split the levels into what the planes of a section differ by and the sections' gains.

        Parameters
        ----------
        sections : tuple of (int, int)
            Planes ``(z_start, z_stop)`` of each section.
        within, between : bool
            Whether the first, and the second, are wanted.

        Returns
        -------
        profile : tuple of float, length Z
            Log level of each plane relative to its section's mean over tissue; 0 if not wanted.
        gains : tuple of float
            Factor for each section; 1 if not wanted, and for sections without tissue.
        """
        profile = np.zeros(len(self.levels))
        gains = []
        for z_start, z_stop in sections:
            own, mean = self.within(z_start, z_stop)
            if within:
                profile[z_start:z_stop] = own
            gains.append(float(np.exp(-mean)) if between else 1.0)
        return tuple(profile.tolist()), tuple(gains)

    def within(self, z_start: int, z_stop: int) -> tuple[Floats, float]:
        """Return the levels of a section's planes relative to their mean over tissue, and that mean."""
        levels, tissue = self.levels[z_start:z_stop], self.tissue[z_start:z_stop]
        mean = float(np.average(levels, weights=tissue)) if tissue.any() else 0.0
        return levels - mean, mean
