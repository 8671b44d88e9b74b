"""What a fit leaves behind: the lattice, and how it got there, level by level."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from linumpy.n4.lattice import Lattice


@dataclass(frozen=True)
class Level:
    """One fitting level.

    Attributes
    ----------
    n_control_points : tuple of int
        Control points (z, y, x); 1 on an axis of one sample.
    iterations : int
        Iterations done.
    convergence : float or None
        Coefficient of variation of the last update's bias field over the mask; None without an iteration.
    history : tuple of float
        The same after each iteration.
    """

    n_control_points: tuple[int, int, int]
    iterations: int
    convergence: float | None
    history: tuple[float, ...]


@dataclass(frozen=True)
class BiasFit:
    """A fitted log bias field and its record.

    Attributes
    ----------
    lattice : Lattice
        The log bias field.
    levels : tuple of Level
        One per fitting level; empty where the mask was.
    backend : str
        What computed it: ``"simpleitk"``, ``"numba"``, ``"numpy"``, ``"cupy"``, or ``"none"`` where the mask was empty.
    n_voxels : int
        Samples that took part.
    """

    lattice: Lattice
    levels: tuple[Level, ...]
    backend: str
    n_voxels: int

    def to_dict(self) -> dict[str, Any]:
        """Return the fit as values that JSON can hold."""
        return {
            "backend": self.backend,
            "n_voxels": self.n_voxels,
            "levels": [
                {
                    "n_control_points": list(level.n_control_points),
                    "iterations": level.iterations,
                    "convergence": level.convergence,
                    "history": list(level.history),
                }
                for level in self.levels
            ],
            "lattice": self.lattice.to_dict(),
        }
