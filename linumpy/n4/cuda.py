"""The voxel passes on a CUDA device, with CuPy.

Three kernels do what touches voxels one by one: the histogram, the residual, and taking off the update with its
measures. A fourth sharpens the histogram in one block, which saves some thirty launches. The contractions between
voxels and control points are matrix products in single precision.

An iteration brings 32 bytes to the host, the four measures; nothing else waits. Sums have one order (per block, then
over the blocks; the histogram counts whole numbers), so equal runs on a device give equal bits.

Memory on the device: 4 bytes per voxel for the log intensities, 4 for the residual, later the update, and about 4 more
per voxel and X span fraction for the half-contracted products, 16 in all at most.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import cupy
import numpy as np
import numpy.typing as npt

from linumpy.n4.bspline import Basis
from linumpy.n4.passes import OUTSIDE, Passes, divide_where_reached, residual_weights
from linumpy.n4.sharpen import (
    BIAS_FIELD_FWHM,
    N_HISTOGRAM_BINS,
    PAD_BEFORE,
    PADDED_BINS,
    WIENER_FILTER_NOISE,
)

THREADS = 256
BLOCKS = 1024  # fixed: the order of the sums depends on it

SOURCE = r"""
#define OUTSIDE 1e30f
#define LIMIT 1e29f
#define ONE (1 << 20)

typedef unsigned long long count_t;

// Place of u on the axis of bins; 255 outside the mask.
__device__ float bin_position(float u, float low, float per_unit) {
    return u < LIMIT ? (u - low) * per_unit : 255.0f;
}

// counts[0..255]: voxels of each bin, counts[256..511]: sum of their fractions in 2**-20. Zeroed by the caller.
extern "C" __global__ void histogram(const float* u, long long n, float low, float per_unit, count_t* counts) {
    __shared__ count_t local[512];
    for (int i = threadIdx.x; i < 512; i += blockDim.x) local[i] = 0;
    __syncthreads();
    for (long long i = (long long)blockIdx.x * blockDim.x + threadIdx.x; i < n;
         i += (long long)gridDim.x * blockDim.x) {
        int position = (int)(bin_position(u[i], low, per_unit) * (float)ONE);
        int bin = position >> 20;
        if (bin < 255) {
            atomicAdd(&local[bin], (count_t)1);
            atomicAdd(&local[256 + bin], (count_t)(position & (ONE - 1)));
        }
    }
    __syncthreads();
    for (int i = threadIdx.x; i < 512; i += blockDim.x)
        if (local[i]) atomicAdd(&counts[i], local[i]);
}

// E(u) at 256 bin centres and the steps between them, from the counts; one block of 512 threads, one per point.
// The transforms are sums over a table of roots of unity: short enough, and free of any plan or library.
extern "C" __global__ void sharpen(const count_t* counts, double low, double spacing, double offset, double fwhm_log,
                                   double noise, int n_bins, int pad_before, float* at_centre, float* to_next) {
    const int N = 512;
    const double LN2 = 0.69314718055994530942;
    __shared__ double cosine[512], sine[512], a[512], b[512], c[512], d[512];
    int k = threadIdx.x;
    double step = spacing > 0 ? spacing : 1.0;
    int bin = k - pad_before;
    bool inside = bin >= 0 && bin < n_bins;
    double centre = low + offset + bin * step;

    sincospi(k / 256.0, &sine[k], &cosine[k]);
    a[k] = 0;
    if (inside) {
        double one = ONE;
        a[k] = (double)counts[bin] - counts[256 + bin] / one + (bin > 0 ? counts[256 + bin - 1] / one : 0.0);
    }
    double fwhm = fwhm_log / step;
    double distance = min(k, N - k) / fwhm;
    b[k] = 2 * sqrt(LN2 / 3.14159265358979323846) / fwhm * exp(-4 * LN2 * distance * distance);
    __syncthreads();

    double re = 0, im = 0, blur = 0;
    for (int n = 0; n < N; ++n) {
        int root = (k * n) & (N - 1);
        re += a[n] * cosine[root];
        im -= a[n] * sine[root];
        blur += b[n] * cosine[root];
    }
    double wiener = blur / (blur * blur + noise);
    c[k] = re * wiener;
    d[k] = im * wiener;
    __syncthreads();

    double sharp = 0;
    for (int n = 0; n < N; ++n) {
        int root = (k * n) & (N - 1);
        sharp += c[n] * cosine[root] - d[n] * sine[root];
    }
    sharp = max(sharp / N, 0.0);
    __syncthreads();
    a[k] = centre * sharp;
    b[k] = sharp;
    __syncthreads();

    double re_a = 0, im_a = 0, re_b = 0, im_b = 0;
    for (int n = 0; n < N; ++n) {
        int root = (k * n) & (N - 1);
        re_a += a[n] * cosine[root];
        im_a -= a[n] * sine[root];
        re_b += b[n] * cosine[root];
        im_b -= b[n] * sine[root];
    }
    __syncthreads();
    a[k] = re_a * blur;
    b[k] = im_a * blur;
    c[k] = re_b * blur;
    d[k] = im_b * blur;
    __syncthreads();

    double numerator = 0, denominator = 0;
    for (int n = 0; n < N; ++n) {
        int root = (k * n) & (N - 1);
        numerator += a[n] * cosine[root] - b[n] * sine[root];
        denominator += c[n] * cosine[root] - d[n] * sine[root];
    }
    double expected = denominator != 0 ? numerator / denominator : 0.0;
    if (!(spacing > 0)) expected = low + offset;
    __syncthreads();
    float* table = (float*)cosine;
    if (inside) table[bin] = (float)(expected - offset);
    __syncthreads();
    if (k < 256) {
        float value = table[min(k, n_bins - 1)];
        at_centre[k] = k < 255 ? value : OUTSIDE;
        to_next[k] = k < 254 ? table[min(k + 1, n_bins - 1)] - value : 0.0f;
    }
}

extern "C" __global__ void residual(const float* u, long long n, float low, float per_unit, const float* at_centre,
                                    const float* to_next, float* result) {
    for (long long i = (long long)blockIdx.x * blockDim.x + threadIdx.x; i < n;
         i += (long long)gridDim.x * blockDim.x) {
        float position = bin_position(u[i], low, per_unit);
        int bin = (int)position;
        result[i] = u[i] - (at_centre[bin] + (position - bin) * to_next[bin]);
    }
}

// u -= spline; measures[block]: smallest and largest u, sums of e = exp(-spline) - 1 and of e * e in the mask.
extern "C" __global__ void subtract(float* u, const float* spline, long long n, double* measures) {
    __shared__ double low[256], high[256], total[256], squares[256];
    int t = threadIdx.x;
    low[t] = OUTSIDE;
    high[t] = -OUTSIDE;
    total[t] = squares[t] = 0;
    for (long long i = (long long)blockIdx.x * blockDim.x + t; i < n; i += (long long)gridDim.x * blockDim.x) {
        float value = u[i] - spline[i];
        if (value < LIMIT) {
            u[i] = value;
            double e = expm1f(-spline[i]);
            low[t] = min(low[t], (double)value);
            high[t] = max(high[t], (double)value);
            total[t] += e;
            squares[t] += e * e;
        }
    }
    for (int half = blockDim.x / 2; half > 0; half /= 2) {
        __syncthreads();
        if (t < half) {
            low[t] = min(low[t], low[t + half]);
            high[t] = max(high[t], high[t + half]);
            total[t] += total[t + half];
            squares[t] += squares[t + half];
        }
    }
    if (t == 0) {
        measures[4 * blockIdx.x] = low[0];
        measures[4 * blockIdx.x + 1] = high[0];
        measures[4 * blockIdx.x + 2] = total[0];
        measures[4 * blockIdx.x + 3] = squares[0];
    }
}

// The blocks' measures into one, in one order; a single block of 256 threads.
extern "C" __global__ void gather(const double* measures, int n_blocks, double* result) {
    __shared__ double low[256], high[256], total[256], squares[256];
    int t = threadIdx.x;
    low[t] = OUTSIDE;
    high[t] = -OUTSIDE;
    total[t] = squares[t] = 0;
    for (int i = t; i < n_blocks; i += blockDim.x) {
        low[t] = min(low[t], measures[4 * i]);
        high[t] = max(high[t], measures[4 * i + 1]);
        total[t] += measures[4 * i + 2];
        squares[t] += measures[4 * i + 3];
    }
    for (int half = blockDim.x / 2; half > 0; half /= 2) {
        __syncthreads();
        if (t < half) {
            low[t] = min(low[t], low[t + half]);
            high[t] = max(high[t], high[t + half]);
            total[t] += total[t + half];
            squares[t] += squares[t + half];
        }
    }
    if (t == 0) {
        result[0] = low[0];
        result[1] = high[0];
        result[2] = total[0];
        result[3] = squares[0];
    }
}
"""


@cache
def _kernel(name: str, device: int) -> Any:  # noqa: ARG001  (a kernel belongs to the device it was loaded on)
    return cupy.RawModule(code=SOURCE, options=("--std=c++14",)).get_function(name)


class CudaPasses(Passes):
    """The passes on the current CUDA device.

    Parameters
    ----------
    samples : ndarray, shape (Z, Y, X)
        Intensities on the host, positive in the mask.
    mask : ndarray of bool, shape (Z, Y, X)
        Samples that take part; at least one.
    """

    xp = cupy
    name = "cupy"

    def __init__(self, samples: npt.NDArray[Any], mask: npt.NDArray[np.bool_]) -> None:
        inside = cupy.asarray(np.ascontiguousarray(mask))
        intensities = cupy.asarray(np.ascontiguousarray(samples, np.float32))
        logarithms = cupy.log(cupy.where(inside, intensities, np.float32(1)))
        self.shape = samples.shape
        self.n_voxels = int(np.count_nonzero(mask))
        low = float(cupy.where(inside, logarithms, OUTSIDE).min())
        high = float(cupy.where(inside, logarithms, -OUTSIDE).max())
        middle = np.float32((low + high) / 2)
        self.offset = float(middle)
        self.low, self.high = float(np.float32(low) - middle), float(np.float32(high) - middle)
        self.u = cupy.where(inside, logarithms - middle, OUTSIDE)
        self._residual = cupy.empty_like(self.u)
        self._counts = cupy.empty(512, cupy.uint64)
        self._table = cupy.empty((2, 256), cupy.float32)
        self._measures = cupy.empty((BLOCKS, 4))
        self._result = cupy.empty(4)

    def use_bases(self, z: Basis, y: Basis, x: Basis) -> None:
        """Begin a level."""
        bases = (z, y, x)
        self._bases = [_on_device(basis.dense()) for basis in bases]
        self._residual_bases = [_on_device(basis.dense(residual_weights(basis))) for basis in bases]
        squares = [_on_device(basis.dense(basis.weights**2)) for basis in bases]
        self._omega = _contract((self.u < OUTSIDE).astype(cupy.float32), squares).astype(cupy.float64)

    def histogram(self) -> Any:
        """Return the counts, and fractions in 2**-20, of `u` in 256 bins; `sharpen` takes them as they are."""
        self._counts.fill(0)
        arguments = (self.u, np.int64(self.u.size), np.float32(self.low), self.bins_per_log_intensity, self._counts)
        self._launch("histogram", BLOCKS, THREADS, arguments)
        return self._counts

    def sharpen(self, counts: Any) -> Any:
        """Return E(u) at 256 bin centres and the steps between them, (2, 256)."""
        arguments = (
            counts, np.float64(self.low), np.float64(self.bin_spacing), np.float64(self.offset),
            np.float64(BIAS_FIELD_FWHM), np.float64(WIENER_FILTER_NOISE), np.int32(N_HISTOGRAM_BINS),
            np.int32(PAD_BEFORE), self._table[0], self._table[1],
        )  # fmt: skip
        self._launch("sharpen", 1, PADDED_BINS, arguments)
        return self._table

    def fit_residual(self, expected: Any) -> Any:
        """Return the control points (cz, cy, cx) of the spline fitted to ``u - E(u)``."""
        arguments = (
            self.u, np.int64(self.u.size), np.float32(self.low), self.bins_per_log_intensity, expected[0],
            expected[1], self._residual,
        )  # fmt: skip
        self._launch("residual", BLOCKS, THREADS, arguments)
        delta = _contract(self._residual, self._residual_bases).astype(cupy.float64)
        return divide_where_reached(delta, self._omega, cupy)

    def subtract(self, control_points: Any) -> float:
        """Take a spline off `u` and return its coefficient of variation."""
        spline = _expand(control_points.astype(cupy.float32), self._bases, out=self._residual)
        self._launch("subtract", BLOCKS, THREADS, (self.u, spline, np.int64(self.u.size), self._measures))
        self._launch("gather", 1, THREADS, (self._measures, np.int32(BLOCKS), self._result))
        low, high, total, total_squares = self._result.get().tolist()
        self.low, self.high = low, high
        return self.coefficient_of_variation(total, total_squares)

    def _launch(self, name: str, blocks: int, threads: int, arguments: tuple[Any, ...]) -> None:
        _kernel(name, cupy.cuda.runtime.getDevice())((blocks,), (threads,), arguments)


def _on_device(matrix: npt.NDArray[np.float64]) -> Any:
    return cupy.asarray(matrix.astype(np.float32))


def _contract(values: Any, matrices: list[Any]) -> Any:
    """Sum voxels (Z, Y, X) into control points (cz, cy, cx), given matrices (voxels, control points) per axis."""
    z, y, x = matrices
    n_z, n_y, _ = values.shape
    along_x = (values.reshape(n_z * n_y, -1) @ x).reshape(n_z, n_y, -1)
    along_y = y.T @ along_x  # one product per plane
    return (z.T @ along_y.reshape(n_z, -1)).reshape(z.shape[1], y.shape[1], x.shape[1])


def _expand(control_points: Any, matrices: list[Any], out: Any) -> Any:
    """Evaluate a spline at the voxels (Z, Y, X), into `out`."""
    z, y, x = matrices
    along_z = (z @ control_points.reshape(len(control_points), -1)).reshape(len(z), *control_points.shape[1:])
    along_y = y @ along_z
    cupy.matmul(along_y.reshape(-1, along_y.shape[2]), x.T, out=out.reshape(-1, out.shape[2]))
    return out
