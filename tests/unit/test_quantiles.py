"""Median and quantiles have NumPy's bits."""

import numpy as np
import pytest

from linumpy.intensity.quantiles import median, quantiles


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_the_same_bits_as_numpy(dtype: type[np.floating]) -> None:
    rng = np.random.default_rng(6)
    for n in [*range(1, 40), 999, 1000, 2500]:
        for values in (rng.gamma(3, 100, n).astype(dtype), rng.integers(0, 3, n).astype(dtype)):
            assert median(values) == float(np.median(values))
            assert quantiles(values, [0.25, 0.9]) == np.percentile(values, [25, 90]).tolist()
            assert quantiles(values, [0.01, 0.99]) == np.percentile(values, [1, 99]).tolist()
