"""The images that native N4 and SimpleITK are compared on.

Seeds are chosen so that SimpleITK's own slips do not decide the comparison. It loses the brightest voxel from its
histogram when rounding puts it a hair above the last bin (the field then moves by some 3e-4 near that voxel, and does
so too when the image is multiplied by a constant), and it reads before the start of its histogram when the darkest
voxel is the first of the mask. docs/solver.md shows both.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

Volume = npt.NDArray[Any]
Triple = tuple[int, int, int]


@dataclass(frozen=True)
class Case:
    """A fit: an image, its mask and how it is fitted.

    `real` names a volume of the test data and the samples taken of it; without it the image is `phantom`.
    """

    name: str
    shape: Triple
    n_control_points: Triple
    n_iterations: tuple[int, ...]
    mask: str = "ellipsoid"
    noise: float = 0.1
    seed: int = 0
    spacing_mm: tuple[float, float, float] = (1.0, 1.0, 1.0)
    real: tuple[str, tuple[slice, slice, slice]] | None = field(default=None)


CASES = (
    Case("cube, one level", (32, 32, 32), (4, 4, 4), (20,)),
    Case(
        "all sizes differ, anisotropic control points",
        (18, 41, 60),
        (4, 6, 9),
        (15, 15),
        spacing_mm=(3, 1, 0.5),
        seed=20,
    ),
    Case("three levels", (24, 40, 33), (4, 4, 4), (12, 12, 12), seed=21),
    Case("four levels", (26, 34, 42), (4, 4, 4), (10, 10, 10, 10), seed=22),
    Case("no mask", (16, 36, 44), (4, 5, 5), (15, 15), mask="full", seed=43),
    Case("mask with holes and islands", (20, 40, 48), (4, 5, 6), (15, 15), mask="scattered", seed=4),
    Case("half of the voxels at random", (16, 32, 40), (4, 4, 5), (15, 15), mask="random", seed=45),
    Case("few planes", (5, 60, 64), (4, 6, 6), (15, 15), seed=64),
    Case("strong speckle", (20, 44, 44), (4, 5, 5), (15, 15), noise=0.5, seed=7),
    Case("next to no noise", (20, 44, 44), (4, 5, 5), (15, 15), noise=0.005, seed=8),
    Case("lattice finer than the grid", (8, 30, 30), (7, 12, 12), (10, 10), seed=9),
    Case("one plane", (1, 96, 120), (4, 5, 6), (15, 15), seed=10),
    Case("two planes", (2, 60, 60), (4, 4, 4), (15, 15), seed=11),
    Case(
        "cortex, a section",
        (10, 64, 83),
        (4, 4, 5),
        (12, 12, 12),
        mask="bright",
        real=("cortex_3sections.ome.zarr", (slice(0, 10), slice(3, None, 8), slice(3, None, 8))),
    ),
    Case(
        "cortex, the stack",
        (10, 64, 83),
        (4, 4, 4),
        (15, 15),
        mask="bright",
        real=("cortex_3sections.ome.zarr", (slice(1, None, 3), slice(3, None, 8), slice(3, None, 8))),
    ),
    Case(
        "hemisphere, every fourth voxel",
        (44, 26, 25),
        (4, 4, 4),
        (15, 15, 15),
        mask="bright",
        real=("hemisphere_176sections.ome.zarr", (slice(None, None, 4),) * 3),
    ),
)


def load(case: Case, data: Path | None = None) -> tuple[Volume, Volume]:
    """Return the image and the mask of a case; `data` is the folder of the real volumes."""
    if case.real is None:
        image, _ = phantom(case.shape, noise=case.noise, seed=case.seed)
    else:
        import zarr

        assert data is not None
        name, samples = case.real
        image = np.asarray(zarr.open_group(data / name, mode="r")["0"][...]).squeeze()[samples]
    return image, make_mask(case.mask, image, case.seed)


def phantom(shape: Triple, *, noise: float = 0.1, seed: int = 0) -> tuple[Volume, Volume]:
    """Return tissue of three intensities seen through a smooth field, float32, and the log of that field."""
    rng = np.random.default_rng(seed)
    z, y, x = np.meshgrid(*(np.linspace(-1, 1, max(n, 2))[:n] for n in shape), indexing="ij")
    tissue = 100.0 * (1 + 0.5 * (np.hypot(y - 0.2, x) < 0.6) + 0.8 * (np.sin(4 * x + 2 * z) * np.cos(5 * y) > 0.4))
    log_field = 0.3 * z - 0.25 * x + 0.2 * x * y + 0.2 * np.sin(2 * y + z)
    speckle = rng.gamma(1 / noise**2, noise**2, shape)
    return (tissue * np.exp(log_field) * speckle).astype(np.float32), log_field


def make_mask(kind: str, image: Volume, seed: int = 0) -> Volume:
    """Return a mask of the kind named by a case."""
    rng = np.random.default_rng(seed + 1000)
    z, y, x = np.meshgrid(*(np.linspace(-1, 1, n) if n > 1 else np.zeros(1) for n in image.shape), indexing="ij")
    if kind == "full":
        return np.ones(image.shape, bool)
    if kind == "random":
        return rng.random(image.shape) < 0.5
    if kind == "scattered":
        blobs = np.sin(9 * x + 1) + np.sin(11 * y) + np.sin(7 * z + 2)
        return (blobs > 0) & (rng.random(image.shape) < 0.97)
    if kind == "bright":
        return image > np.median(image[image > 0])
    return z**2 / 1.5 + y**2 + x**2 < 0.9
