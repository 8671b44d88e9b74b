"""An organ with ends: what brains have and the prism phantom has not.

In every direction the organ tapers off; grey shell, white core and dark nuclei beside a ventricle, so that the
planes pass from grey to white where it widens, and back. Layers of the shell are finer than the knots of a fit;
a slow change of the brightness, across the planes too, is coarser than they are.

With ``q`` the distance from the organ's middle, 1 at its surface, and ``h = 1 - q`` times its smallest half width
the depth below the surface, a voxel is tissue where ``q < 1``, grey where ``h`` is less than the shell's thickness.
"""

from __future__ import annotations

import numpy as np

from linumpy.simulate.even import EvenVolume
from linumpy.simulate.noise import SmoothNoise

GREY, WHITE, NUCLEI = 1, 2, 3
REFLECTIVITY = (0.0, 1.0, 1.5, 0.7)
SHELL_MM = 0.45
LAYER_MM = 0.09
TEXTURE, TEXTURE_MM = 0.05, 0.05
COARSE, COARSE_MM = 0.06, 4.0
_HALF_WIDTH = (0.46, 0.45, 0.43)


def organ(
    shape: tuple[int, int, int] = (152, 190, 170),
    voxel_size_um: tuple[float, float, float] = (25.0, 25.0, 25.0),
    *,
    seed: int = 0,
) -> EvenVolume:
    """Make an organ.

    Parameters
    ----------
    shape : tuple of int
        Planes, rows and columns (Z, Y, X); the organ fills most of them.
    voxel_size_um : tuple of float
        (z, y, x).
    seed : int
        Of folds, nuclei, texture, and of how the organ lies.

    Returns
    -------
    EvenVolume
        Classes 1 to 3: grey and white matter, dark nuclei. The ventricle is a hole.
    """
    voxel_mm = (voxel_size_um[0] / 1000, voxel_size_um[1] / 1000, voxel_size_um[2] / 1000)
    half_mm = [share * n * size for share, n, size in zip(_HALF_WIDTH, shape, voxel_mm, strict=True)]
    place, *streams = np.random.default_rng(seed).spawn(7)
    scales_mm = (half_mm[1] / 2, 0.35, 0.3, TEXTURE_MM, COARSE_MM, 0.5)
    lobes, folds, bundles, texture, coarse, nuclei = (
        SmoothNoise(stream, shape, voxel_mm, scale) for stream, scale in zip(streams, scales_mm, strict=True)
    )
    lean_y, lean_x = place.uniform(-0.12, 0.12, 2)
    labels = np.zeros(shape, np.uint8)
    reflectivity = np.zeros(shape, np.float32)
    by_class = np.array(REFLECTIVITY, np.float32)
    w_all, v_all, u_all = (
        (2 * (np.arange(n) + 0.5) / n - 1) * 0.5 / share for n, share in zip(shape, _HALF_WIDTH, strict=True)
    )
    for z, w in enumerate(w_all):
        v = v_all[:, None] - lean_y * w
        u = u_all[None, :] - lean_x * w
        distance = np.sqrt(u**2 + v**2 + w**2)
        surface = 1 + 0.04 * lobes.plane(z) + 0.02 * folds.plane(z)
        depth_mm = (1 - distance / surface) * min(half_mm)
        # Bundles of white matter reach into the shell.
        white = depth_mm > SHELL_MM * (1 + 0.35 * bundles.plane(z))
        # A curved, flat cavity behind the middle, with nuclei beside it.
        cavity = ((w - 0.1) / 0.45) ** 2 + ((v + 0.25 * w**2) / 0.16) ** 2 + (u / 0.30) ** 2
        plane = labels[z]
        plane[depth_mm > 0] = GREY
        plane[white] = WHITE
        plane[white & (cavity < 4) & (nuclei.plane(z) > 0.5)] = NUCLEI
        plane[cavity < 1] = 0
        layers = np.sin((2 * np.pi / LAYER_MM) * depth_mm) * ~white
        detail = np.exp(TEXTURE * (texture.plane(z) + layers) + COARSE * coarse.plane(z))
        reflectivity[z] = by_class[plane] * detail
    return EvenVolume(reflectivity, labels, voxel_size_um)
