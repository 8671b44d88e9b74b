"""N3 histogram sharpening: what log intensity a voxel would have without the bias field.

The bias field blurs the histogram of log intensities, roughly with a Gaussian. Sled et al. undo that blur
with a Wiener filter and read from the sharpened histogram ``U`` the expected true value at each observed
value ``v``:

    E(u | v) = (F * (u U))(v) / (F * U)(v),     U = max(0, W * H)

where ``H`` is the histogram, ``F`` the Gaussian and ``W`` its regularised inverse. All on 512 points, in
double precision; written for NumPy and CuPy alike.

References
----------
Sled, Zijdenbos, Evans 1998, doi:10.1109/42.668698. Tustison et al. 2010, doi:10.1109/TMI.2010.2046908.
"""

from __future__ import annotations

import math
from typing import Any

N_HISTOGRAM_BINS = 200
BIAS_FIELD_FWHM = 0.15  # of the blur, in log intensity
WIENER_FILTER_NOISE = 0.01
PADDED_BINS = 512  # twice the power of two that holds the bins
PAD_BEFORE = (PADDED_BINS - N_HISTOGRAM_BINS) // 2


def expected_log_intensity(counts: Any, low: float, bin_spacing: float, xp: Any) -> Any:
    """Return E(u | v) at the centre of each bin.

    Parameters
    ----------
    counts : array of float64, shape (200,)
        Histogram of the log intensities.
    low : float
        Centre of the first bin, the smallest log intensity.
    bin_spacing : float
        Distance between bin centres, in log intensity. 0 (a constant image) leaves nothing to sharpen.
    xp : module
        Array module of `counts`.

    Returns
    -------
    array of float64, shape (200,)
        Expected log intensities; `low` throughout for a constant image.
    """
    if bin_spacing <= 0:
        return xp.full(N_HISTOGRAM_BINS, low)
    centre = low + (xp.arange(PADDED_BINS) - PAD_BEFORE) * bin_spacing
    bins = slice(PAD_BEFORE, PAD_BEFORE + N_HISTOGRAM_BINS)

    padded = xp.zeros(PADDED_BINS)
    padded[bins] = counts
    fwhm = BIAS_FIELD_FWHM / bin_spacing
    distance = xp.minimum(xp.arange(PADDED_BINS), PADDED_BINS - xp.arange(PADDED_BINS))
    gaussian = 2 * math.sqrt(math.log(2) / math.pi) / fwhm * xp.exp(-4 * math.log(2) * (distance / fwhm) ** 2)

    blur = xp.fft.rfft(gaussian).real  # of a symmetric function: real
    wiener = blur / (blur * blur + WIENER_FILTER_NOISE)
    sharpened = xp.maximum(xp.fft.irfft(xp.fft.rfft(padded) * wiener, PADDED_BINS), 0.0)

    numerator = xp.fft.irfft(xp.fft.rfft(centre * sharpened) * blur, PADDED_BINS)[bins]
    denominator = xp.fft.irfft(xp.fft.rfft(sharpened) * blur, PADDED_BINS)[bins]
    empty = denominator == 0
    return xp.where(empty, 0.0, numerator / xp.where(empty, 1.0, denominator))
