"""The CUDA kernels' logic, run on the host: compiled as C++, one thread per CUDA thread, one block after the other."""

from __future__ import annotations

import ctypes
import shutil
import subprocess
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from linumpy.n4 import bspline
from linumpy.n4 import cuda as cuda_module
from linumpy.n4.fit import fit_log_bias_field
from linumpy.n4.passes import OUTSIDE, ArrayPasses, lookup_table
from tests import device_arrays
from tests.device_arrays import DeviceArray

BLOCKS = 3
cupy = device_arrays.cupy

HOST = r"""
#include <algorithm>
#include <cmath>
#include <pthread.h>
#include <thread>
#include <vector>
using std::max; using std::min;
struct Index { int x; };
static thread_local Index threadIdx, blockIdx;
static Index blockDim, gridDim;
static pthread_barrier_t barrier;
#define __global__
#define __device__ static
#define __shared__ static
#define __syncthreads() pthread_barrier_wait(&barrier)
static void sincospi(double x, double* s, double* c) { *s = std::sin(M_PI * x); *c = std::cos(M_PI * x); }
template <class T> static void atomicAdd(T* to, T what) { __atomic_fetch_add(to, what, __ATOMIC_SEQ_CST); }
#include KERNELS
template <class F> static void launch(int blocks, int threads, F kernel) {
    blockDim.x = threads; gridDim.x = blocks;
    pthread_barrier_init(&barrier, nullptr, threads);
    for (int block = 0; block < blocks; ++block) {
        std::vector<std::thread> team;
        for (int t = 0; t < threads; ++t)
            team.emplace_back([=] { threadIdx.x = t; blockIdx.x = block; kernel(); });
        for (auto& thread : team) thread.join();
    }
    pthread_barrier_destroy(&barrier);
}
#define RUN(kernel, ...) launch(blocks, threads, [=] { kernel(__VA_ARGS__); })
extern "C" {
void run_histogram(int blocks, int threads, const float* u, long long n, float low, float per_unit, count_t* counts) {
    RUN(histogram, u, n, low, per_unit, counts);
}
void run_sharpen(int blocks, int threads, const count_t* counts, double low, double spacing, double offset,
                 double fwhm, double noise, int n_bins, int pad, float* at_centre, float* to_next) {
    RUN(sharpen, counts, low, spacing, offset, fwhm, noise, n_bins, pad, at_centre, to_next);
}
void run_residual(int blocks, int threads, const float* u, long long n, float low, float per_unit,
                  const float* at_centre, const float* to_next, float* result) {
    RUN(residual, u, n, low, per_unit, at_centre, to_next, result);
}
void run_subtract(int blocks, int threads, float* u, const float* spline, long long n, double* measures) {
    RUN(subtract, u, spline, n, measures);
}
void run_gather(int blocks, int threads, const double* measures, int n_blocks, double* result) {
    RUN(gather, measures, n_blocks, result);
}
}
"""


class HostModule:
    """What CuPy's RawModule is to `CudaPasses`, on the host."""

    def __init__(self, kernels: ctypes.CDLL) -> None:
        self.kernels = kernels

    def get_function(self, name: str) -> Callable[..., None]:
        def launch(grid: tuple[int], block: tuple[int], arguments: tuple[Any, ...]) -> None:
            getattr(self.kernels, f"run_{name}")(*grid, *block, *map(as_c, arguments))

        return launch


def as_c(argument: Any) -> Any:
    if isinstance(argument, DeviceArray):
        assert argument.host.flags.c_contiguous  # a kernel takes a pointer and knows no strides
        return ctypes.c_void_p(argument.host.ctypes.data)
    return np.ctypeslib.as_ctypes_type(argument.dtype)(argument.item())


@pytest.fixture(scope="module")
def host(tmp_path_factory: pytest.TempPathFactory) -> HostModule:
    compiler = shutil.which("g++")
    if compiler is None:
        pytest.skip("no g++ to compile the CUDA kernels for the host with")
    folder = tmp_path_factory.mktemp("kernels")
    source, library = folder / "host.cpp", folder / "host.so"
    source.write_text(HOST)
    command = [compiler, "-std=c++14", "-O1", "-shared", "-fPIC", "-pthread", f'-DKERNELS="{cuda_module.SOURCE}"']
    subprocess.run([*command, str(source), "-o", str(library)], check=True)
    return HostModule(ctypes.CDLL(str(library)))


@pytest.fixture
def cuda(host: HostModule, cupy: Any, monkeypatch: pytest.MonkeyPatch) -> Any:
    """`linumpy.n4.cuda` with the stand-in for CuPy, and its kernels on the host."""
    monkeypatch.setattr(cuda_module, "BLOCKS", BLOCKS)
    monkeypatch.setattr(cuda_module.CudaPasses, "_module", lambda self: host)
    return cuda_module


@pytest.fixture
def image() -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(3)
    samples = rng.gamma(4.0, 30.0, (5, 37, 41)).astype(np.float32)
    return samples, rng.random(samples.shape) < 0.7


def test_histogram_counts_the_same_whole_numbers(cuda: Any, image: Any) -> None:
    device, plain = cuda.CudaPasses(*image), ArrayPasses(*image)
    np.testing.assert_array_equal(device.u.get(), plain.u)
    counts = device.histogram().get().astype(np.float64)
    assert counts[:256].sum() == plain.n_voxels
    shared = counts[:256] - counts[256:] / 2**20
    shared[1:] += counts[256:-1] / 2**20
    np.testing.assert_array_equal(shared[:200], plain.histogram())


@pytest.mark.parametrize("constant", [False, True])
def test_sharpening_agrees_with_the_fft(cuda: Any, image: Any, constant: bool) -> None:
    device, plain = cuda.CudaPasses(*image), ArrayPasses(*image)
    if constant:
        device.high, plain.high = device.low, plain.low
    at_centre, to_next = device.sharpen(device.histogram()).get()
    expected_centre, expected_step = lookup_table(plain.sharpen(plain.histogram()), np)
    held = plain.histogram() > 0  # where no voxel is, E may be a quotient of two rounding errors
    # float32 holds E to 1e-7; the sums of 512 double terms add nothing to that
    np.testing.assert_allclose(at_centre[:200][held], expected_centre[:200][held], atol=1e-6)
    both = held[1:] & held[:-1]
    np.testing.assert_allclose(to_next[:199][both], expected_step[:199][both], atol=1e-6)
    assert at_centre[255] == OUTSIDE
    assert to_next[254] == to_next[255] == 0


@pytest.mark.parametrize("shape", [(5, 37, 41), (1, 37, 41), (6, 20, 1)])
def test_whole_iterations_agree_with_the_plain_arrays(cuda: Any, cupy: Any, shape: tuple[int, int, int]) -> None:
    rng = np.random.default_rng(5)
    samples = rng.gamma(4.0, 30.0, shape).astype(np.float32)
    mask = rng.random(shape) < 0.7
    device, plain = cuda.CudaPasses(samples, mask), ArrayPasses(samples, mask)
    bases = [bspline.fit_basis(n, cp) for n, cp in zip(shape, (4, 6, 9), strict=True)]
    device.use_bases(*bases)
    plain.use_bases(*bases)
    for _ in range(3):
        on_device = device.fit_residual(device.sharpen(device.histogram()))
        expected = plain.fit_residual(plain.sharpen(plain.histogram()))
        # products of single-precision matrices over 7,000 voxels; control points are of the order of 0.1
        np.testing.assert_allclose(on_device.get(), expected, atol=2e-5)
        convergence = device.subtract(cupy.asarray(expected))
        assert convergence == pytest.approx(plain.subtract(expected), rel=1e-5)
        np.testing.assert_allclose(device.u.get(), plain.u, atol=1e-6)
        assert (device.low, device.high) == pytest.approx((plain.low, plain.high), abs=1e-6)


@pytest.mark.parametrize("shape", [(5, 37, 41), (1, 37, 41), (6, 20, 1)])
def test_whole_fits_agree_with_the_native_ones(cuda: Any, shape: tuple[int, int, int]) -> None:
    rng = np.random.default_rng(7)
    image = rng.gamma(4.0, 30.0, shape).astype(np.float32)
    mask = rng.random(shape) < 0.7
    settings: dict[str, Any] = {"n_control_points": (4, 5, 6), "n_iterations": (3, 3, 3), "convergence_threshold": 0}
    device, native = (
        fit_log_bias_field(image, mask, backend=backend, refinements=(1, 2, 2), **settings)
        for backend in ("gpu", "native")
    )
    assert (device.backend, native.backend) == ("cupy", "numba")
    assert [level.n_control_points for level in device.levels] == [level.n_control_points for level in native.levels]
    # nine fits by products of single-precision matrices
    np.testing.assert_allclose(device.lattice.coefficients, native.lattice.coefficients, atol=1e-4)


@pytest.mark.parametrize("gap", [1, 0])
@pytest.mark.usefixtures("cuda")
def test_a_constant_image_has_no_field(gap: int) -> None:
    mask = np.ones((5, 8, 9), bool)
    mask[2, 4, 4:6] = gap
    fit = fit_log_bias_field(
        np.full(mask.shape, 7.0), mask, n_control_points=(4, 4, 4), n_iterations=(2, 2), backend="gpu"
    )
    assert not fit.lattice.coefficients.any()


def test_the_plain_arrays_run_on_a_device(cupy: Any, image: Any) -> None:
    device, plain = ArrayPasses(*image, cupy), ArrayPasses(*image)
    bases = [bspline.fit_basis(n, 5) for n in image[0].shape]
    for passes in (device, plain):
        passes.use_bases(*bases)
    update = device.fit_residual(device.sharpen(device.histogram()))
    np.testing.assert_array_equal(update.get(), plain.fit_residual(plain.sharpen(plain.histogram())))
    assert device.subtract(update) == plain.subtract(update.get())
