"""The overall constant that N4 leaves free: the median tissue intensity of an acquisition stays what it was."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from linumpy.intensity.bias_model import BiasModel

__all__ = ["keep_median"]


def keep_median(
    bias: BiasModel,
    tissue: NDArray[np.int64],
    image: NDArray[np.float32],
    mask: NDArray[np.bool_],
    log_bias_field: NDArray[np.float32],
) -> BiasModel:
    """Scale all gains so that the median tissue intensity of the acquisition stays what it was.

    Parameters
    ----------
    bias : BiasModel
        The whole field.
    tissue : ndarray of int, shape (Z,)
        Samples of tissue of each plane; a section without any keeps its gain.
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
    gains = tuple(
        gain * factor if tissue[z_start:z_stop].any() else gain
        for gain, (z_start, z_stop) in zip(bias.gains, bias.sections, strict=True)
    )
    return replace(bias, gains=gains)
