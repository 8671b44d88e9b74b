"""GPU support: never loaded by accident, found out once, and the same numbers where there is a device."""

from __future__ import annotations

import logging
import subprocess
import sys
import time
import types
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from linumpy import gpu
from linumpy.gpu.n4 import n4_correct_gpu
from linumpy.n4.fit import fit_log_bias_field

SETTINGS: dict[str, Any] = {
    "shrink_factor": 2,
    "n_iterations": [4, 4],
    "spline_distance_mm": 10.0,
    "voxel_size_mm": (1.0, 1.0, 1.0),
}


@pytest.fixture
def vol() -> np.ndarray:
    rng = np.random.default_rng(0)
    z, y, x = np.meshgrid(*(np.linspace(-1, 1, n) for n in (12, 40, 52)), indexing="ij")
    return (50 * (1 + (x > 0.1)) * np.exp(0.3 * z + 0.2 * x * y) * rng.gamma(100, 0.01, x.shape)).astype(np.float32)


@pytest.fixture
def asked_anew() -> Iterator[None]:
    gpu._gpu_available.cache_clear()
    yield
    gpu._gpu_available.cache_clear()


def test_importing_the_package_loads_nothing_heavy() -> None:
    heavy = ("cupy", "numba", "SimpleITK")
    code = (
        "import sys, linumpy.gpu.n4, linumpy.intensity.bias_field, linumpy.n4.fit; "
        f"print([name for name in {heavy} if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize(("n_devices", "expected"), [(0, False), (1, True)])
@pytest.mark.usefixtures("asked_anew")
def test_available_means_a_device(monkeypatch: pytest.MonkeyPatch, n_devices: int, expected: bool) -> None:
    runtime = types.SimpleNamespace(getDeviceCount=lambda: n_devices)
    stand_in = types.SimpleNamespace(cuda=types.SimpleNamespace(runtime=runtime))
    monkeypatch.setitem(sys.modules, "cupy", stand_in)  # type: ignore[arg-type]
    assert gpu.GPU_AVAILABLE is expected


@pytest.mark.usefixtures("asked_anew")
def test_a_broken_cupy_is_no_gpu_and_a_debug_line_says_why(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setitem(sys.modules, "cupy", None)
    with caplog.at_level(logging.DEBUG, "linumpy"):
        assert gpu.GPU_AVAILABLE is False
    assert "import of cupy halted" in caplog.text


@pytest.mark.parametrize("available", [False, True])
def test_use_gpu_false_stays_on_the_cpu(
    vol: np.ndarray, available: bool, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(gpu, "_gpu_available", lambda: available)
    corrected, bias_field = n4_correct_gpu(vol, use_gpu=False, **SETTINGS)
    assert not caplog.records
    np.testing.assert_array_equal(corrected, vol / bias_field)


def test_unknown_attributes_are_unknown() -> None:
    with pytest.raises(AttributeError, match="GPU_AVAILABEL"):
        gpu.GPU_AVAILABEL  # noqa: B018


@pytest.mark.gpu
class TestOnADevice:
    """The CUDA passes against the compiled ones."""

    @pytest.mark.parametrize("shape", [(12, 40, 52), (1, 64, 80), (20, 1, 33)])
    def test_same_field(self, shape: tuple[int, int, int]) -> None:
        rng = np.random.default_rng(1)
        image = rng.gamma(20, 5, shape).astype(np.float32)
        mask = rng.random(shape) < 0.8
        fits = [
            fit_log_bias_field(
                image,
                mask,
                n_control_points=(4, 5, 6),
                n_iterations=(10, 10),
                convergence_threshold=0,
                backend=backend,
            )
            for backend in ("native", "gpu")
        ]
        assert fits[1].backend == "cupy"
        fields = [fit.lattice.evaluate(shape, 1.0)[mask] for fit in fits]
        np.testing.assert_allclose(fields[1], fields[0], atol=1e-4)  # the parity asked of every backend

    def test_same_bits_twice(self, vol: np.ndarray) -> None:
        one, two = (n4_correct_gpu(vol, **SETTINGS)[1] for _ in range(2))
        np.testing.assert_array_equal(one, two)

    @pytest.mark.parametrize("constant", [0.0, 7.0])
    def test_awkward_images(self, constant: float) -> None:
        fit = fit_log_bias_field(
            np.full((5, 8, 9), constant), None, n_control_points=(4, 4, 4), n_iterations=(3,), backend="gpu"
        )
        assert not fit.lattice.coefficients.any()

    def test_120_iterations_of_three_million_voxels(self) -> None:
        """The target is 50 ms on an H200; the bound leaves room for slower devices and a cold clock."""
        rng = np.random.default_rng(2)
        image = rng.gamma(20, 5, (64, 256, 192)).astype(np.float32)
        settings: dict[str, Any] = {
            "n_control_points": (4, 6, 5),
            "n_iterations": (40, 40, 40),
            "convergence_threshold": 0,
            "backend": "gpu",
        }
        fit_log_bias_field(image, None, **(settings | {"n_iterations": (1, 1, 1)}))
        start = time.perf_counter()
        fit_log_bias_field(image, None, **settings)
        seconds = time.perf_counter() - start
        print(f"64x256x192, [40, 40, 40]: {seconds * 1e3:.1f} ms with upload")
        assert seconds < 1
