// The voxel passes of N4 on a CUDA device; linumpy/n4/cuda.py says how they are used.
// Written so that it also compiles as C++ on a host (tests/unit/test_cuda_kernels.py runs it there).
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
