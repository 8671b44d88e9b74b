"""The public functions: geometry against SimpleITK, faces, buffers, sections, fallbacks, errors."""

from __future__ import annotations

import logging
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from linumpy import gpu
from linumpy.intensity.bias_field import (
    apply_bias_field,
    compute_tissue_mask,
    n4_correct,
    n4_correct_per_section,
)
from linumpy.n4.grid import SampleGrid, n_control_points

SHAPE = (11, 34, 46)
VOXEL = (0.4, 0.15, 0.25)
QUICK: dict[str, Any] = {"n_iterations": [4, 4], "spline_distance_mm": 1.0, "voxel_size_mm": VOXEL}
BACKENDS = ["cpu", "native"]


@pytest.fixture
def vol() -> np.ndarray:
    rng = np.random.default_rng(0)
    z, y, x = np.meshgrid(*(np.linspace(-1, 1, n) for n in SHAPE), indexing="ij")
    tissue = 50.0 * (1 + (np.sin(5 * x + z) * np.cos(6 * y) > 0))
    return (tissue * np.exp(0.4 * z + 0.3 * y * x - 0.2 * y) * rng.gamma(100, 0.01, SHAPE)).astype(np.float32)


@pytest.fixture
def mask() -> np.ndarray:
    z, y, x = np.meshgrid(*(np.linspace(-1, 1, n) for n in SHAPE), indexing="ij")
    return 0.3 * z**2 + y**2 + x**2 < 0.9


def simpleitk_log_field(vol: np.ndarray, mask: np.ndarray, spacing: tuple[float, ...], points: Any) -> np.ndarray:
    sitk = pytest.importorskip("SimpleITK")
    image, label = sitk.GetImageFromArray(vol), sitk.GetImageFromArray(mask.astype(np.uint8))
    for picture in (image, label):
        picture.SetSpacing(spacing[::-1])
    n4 = sitk.N4BiasFieldCorrectionImageFilter()
    n4.SetMaximumNumberOfIterations(QUICK["n_iterations"])
    n4.SetNumberOfControlPoints(points[::-1])
    n4.Execute(image, label)
    return sitk.GetArrayFromImage(n4.GetLogBiasFieldAsImage(image))


@pytest.mark.parametrize("backend", BACKENDS)
def test_axes_match_a_direct_simpleitk_call(vol: np.ndarray, mask: np.ndarray, backend: str) -> None:
    points = n_control_points(SHAPE, VOXEL, QUICK["spline_distance_mm"])
    assert len(set(points)) == len(set(SHAPE)) == len(set(VOXEL)) == 3
    expected = simpleitk_log_field(vol, mask, VOXEL, points)
    corrected, bias_field = n4_correct(vol, mask, shrink_factor=1, backend=backend, **QUICK)
    assert corrected.dtype == bias_field.dtype == np.float32
    # the parity of the fits (1e-4), on fields of the order of 1
    np.testing.assert_allclose(np.log(bias_field)[mask], expected[mask], atol=1e-4)
    np.testing.assert_array_equal(corrected, vol / bias_field)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("shrink", [2, (1, 2, 3)])
def test_axes_match_on_the_shrunk_grid(vol: np.ndarray, mask: np.ndarray, backend: str, shrink: Any) -> None:
    grid = SampleGrid.of(SHAPE, shrink)
    assert len(set(grid.size)) == 3
    points = n_control_points(SHAPE, VOXEL, QUICK["spline_distance_mm"])
    samples, inside = vol[grid.slices], mask[grid.slices]
    expected = simpleitk_log_field(samples, inside, grid.spacing_mm(VOXEL), points)
    _, bias_field = n4_correct(vol, mask, shrink_factor=shrink, backend=backend, **QUICK)
    # with a thousand voxels, rounding in ITK (is the brightest counted?) moves its own field by 5e-4
    atol = 1e-5 if backend == "cpu" else 1e-3
    np.testing.assert_allclose(np.log(bias_field)[grid.slices][inside], expected[inside], atol=atol)


@pytest.mark.parametrize("backend", BACKENDS)
def test_no_seam_at_any_face(vol: np.ndarray, backend: str) -> None:
    """No size is a multiple of the shrink factor: past the last sample the field stays, it never jumps to 1."""
    shrink = 4
    assert all(n % shrink for n in SHAPE)
    bright = vol * np.float32(3)
    _, bias_field = n4_correct(bright, shrink_factor=shrink, backend=backend, **QUICK)
    grid = SampleGrid.of(SHAPE, shrink)
    log_field = np.log(bias_field)
    for axis in range(3):
        steps = np.abs(np.diff(log_field, axis=axis))
        first, last = grid.start[axis], grid.start[axis] + (grid.size[axis] - 1) * shrink
        inner = steps.take(range(first, last), axis=axis)
        assert inner.max() > 1e-3  # the field does vary along this axis
        assert steps.max() <= inner.max()
        # outside the samples it is level, to the last bit of the logarithm of a float32
        assert steps.take(range(first), axis=axis).max(initial=0) < 1e-6
        # the last sample lies 1/1000 of a step before the end, as in ITK
        assert steps.take(range(last, SHAPE[axis] - 1), axis=axis).max(initial=0) < 1e-3 * inner.max() * shrink


def test_native_is_the_reference_at_full_resolution(vol: np.ndarray, mask: np.ndarray) -> None:
    reference, native = (n4_correct(vol, mask, backend=backend, **QUICK)[1] for backend in BACKENDS)
    np.testing.assert_allclose(native, reference, rtol=1e-4)


@pytest.mark.parametrize("backend", BACKENDS)
def test_unusable_voxels_do_not_reach_any_backend(vol: np.ndarray, mask: np.ndarray, backend: str) -> None:
    bad, without = vol.copy(), mask.copy()
    for index, value in zip(np.argwhere(mask)[::301], [0, -7, np.nan, np.inf] * 99, strict=False):
        bad[tuple(index)], without[tuple(index)] = value, False
    corrected, bias_field = n4_correct(bad, mask, backend=backend, shrink_factor=1, **QUICK)
    _, expected = n4_correct(vol, without, backend=backend, shrink_factor=1, **QUICK)
    np.testing.assert_allclose(bias_field, expected, rtol=1e-5)  # SimpleITK's threads sum in any order
    np.testing.assert_array_equal(corrected, bad / bias_field)


@pytest.mark.parametrize("backend", [*BACKENDS, "gpu"])
def test_empty_mask_is_a_field_of_ones_and_a_warning(
    vol: np.ndarray, backend: str, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING):
        corrected, bias_field = n4_correct(vol, np.zeros(SHAPE, bool), backend=backend, **QUICK)
    np.testing.assert_array_equal(bias_field, 1)
    np.testing.assert_array_equal(corrected, vol)
    assert "no sample in the mask" in caplog.text


def test_no_mask_is_the_full_volume(vol: np.ndarray) -> None:
    without, full = (n4_correct(vol, m, backend="native", **QUICK)[1] for m in (None, np.ones(SHAPE)))
    np.testing.assert_array_equal(without, full)


def test_any_value_but_zero_is_in_the_mask(vol: np.ndarray, mask: np.ndarray) -> None:
    one, many = (n4_correct(vol, m, backend="native", **QUICK)[1] for m in (mask, mask.astype(np.uint8) * 255))
    np.testing.assert_array_equal(one, many)


def test_input_is_left_alone(vol: np.ndarray, mask: np.ndarray) -> None:
    before = vol.copy()
    n4_correct(vol, mask, backend="native", **QUICK)
    np.testing.assert_array_equal(vol, before)


class TestBuffers:
    """`out` and `bias_out`."""

    @pytest.mark.parametrize("backend", ["native", "gpu"])
    def test_results_are_the_buffers(self, vol: np.ndarray, backend: str) -> None:
        expected = n4_correct(vol, backend=backend, **QUICK)
        out, bias_out = np.empty(SHAPE, np.float32), np.empty(SHAPE[::-1], np.float32).T
        results = n4_correct(vol, backend=backend, out=out, bias_out=bias_out, **QUICK)
        assert results[0] is out
        assert results[1] is bias_out
        np.testing.assert_array_equal(results, expected)

    def test_out_may_be_vol(self, vol: np.ndarray) -> None:
        expected = n4_correct(vol, backend="native", **QUICK)[0]
        assert n4_correct(vol, backend="native", out=vol, **QUICK)[0] is vol
        np.testing.assert_array_equal(vol, expected)

    @pytest.mark.parametrize("n_sections", [None, 2])
    def test_those_that_share_memory_are_refused(self, vol: np.ndarray, n_sections: int | None) -> None:
        def correct(volume: np.ndarray, mask: np.ndarray | None = None, **buffers: np.ndarray) -> tuple:
            if n_sections is None:
                return n4_correct(volume, mask, backend="native", **buffers, **QUICK)
            return n4_correct_per_section(volume, n_sections, mask, backend="native", **buffers, **QUICK)

        longer, own = np.concatenate([vol, vol[:1]]), np.empty(SHAPE, np.float32)
        cases = [
            ("out", "vol", longer[:-1], None, {"out": longer[1:]}),
            ("out", "vol", vol, None, {"out": vol[::-1]}),
            ("bias_out", "vol", vol, None, {"bias_out": vol}),
            ("bias_out", "out", vol, None, {"out": own, "bias_out": own}),
            ("bias_out", "vol", vol, None, {"out": vol, "bias_out": vol}),
            ("out", "mask", vol, own, {"out": own}),
            ("bias_out", "mask", vol, own, {"bias_out": own}),
        ]
        for name, other, volume, mask, buffers in cases:
            before = volume.copy()
            with pytest.raises(ValueError, match=f"^{name} shares memory with {other}; give an array of its own"):
                correct(volume, mask, **buffers)
            np.testing.assert_array_equal(volume, before)

    def test_channels_of_one_array_and_a_view_of_all_of_vol_are_taken(self, vol: np.ndarray) -> None:
        expected = n4_correct(vol, backend="native", **QUICK)
        channels = np.stack([vol, vol, vol], axis=-1)
        buffers = {"out": channels[..., 1], "bias_out": channels[..., 2]}
        np.testing.assert_array_equal(n4_correct(channels[..., 0], backend="native", **buffers, **QUICK), expected)
        np.testing.assert_array_equal(n4_correct(vol, backend="native", out=vol[:], **QUICK)[0], expected[0])

    def test_per_section_writes_into_them_too(self, vol: np.ndarray) -> None:
        expected = n4_correct_per_section(vol, 2, backend="native", **QUICK)
        out, bias_out = vol, np.empty(SHAPE, np.float32)
        results = n4_correct_per_section(vol, 2, backend="native", out=out, bias_out=bias_out, **QUICK)
        assert results[0] is out
        assert results[1] is bias_out
        np.testing.assert_array_equal(results, expected)

    @pytest.mark.parametrize("name", ["out", "bias_out"])
    def test_wrong_ones_are_refused(self, vol: np.ndarray, name: str) -> None:
        for wrong in (np.empty(SHAPE), np.empty(SHAPE[1:], np.float32), [1.0]):
            with pytest.raises(ValueError, match=rf"^{name} has shape"):
                n4_correct(vol, backend="native", **{name: wrong}, **QUICK)
        frozen = np.empty(SHAPE, np.float32)
        frozen.flags.writeable = False
        with pytest.raises(ValueError, match="read-only"):
            n4_correct(vol, backend="native", **{name: frozen}, **QUICK)
        for function in (n4_correct, lambda v, **kwargs: n4_correct_per_section(v, 2, **kwargs)):
            with pytest.raises(ValueError, match=r"backend 'cpu' .* takes none"):
                function(vol, backend="cpu", **{name: np.empty(SHAPE, np.float32)}, **QUICK)


class TestSections:
    """`n4_correct_per_section`."""

    def test_each_section_is_its_own_volume(self, vol: np.ndarray, mask: np.ndarray) -> None:
        corrected, bias_field = n4_correct_per_section(vol, 3, mask, backend="native", **QUICK)
        for planes in (slice(0, 4), slice(4, 7), slice(7, 11)):
            expected = n4_correct(vol[planes], mask[planes], backend="native", **QUICK)
            np.testing.assert_array_equal(corrected[planes], expected[0])
            np.testing.assert_array_equal(bias_field[planes], expected[1])

    def test_bounds_may_be_given(self, vol: np.ndarray) -> None:
        counted = n4_correct_per_section(vol, 3, backend="native", **QUICK)
        given = n4_correct_per_section(vol, [(0, 4), (4, 7), (7, 11)], backend="native", **QUICK)
        np.testing.assert_array_equal(given, counted)
        with pytest.raises(ValueError, match="planes"):
            n4_correct_per_section(vol, [(0, 4), (5, 11)], backend="native", **QUICK)

    def test_processes_change_nothing(self, vol: np.ndarray, mask: np.ndarray) -> None:
        serial = n4_correct_per_section(vol, 3, mask, backend="native", **QUICK)
        parallel = n4_correct_per_section(vol, 3, mask, backend="native", n_processes=2, **QUICK)
        np.testing.assert_array_equal(parallel, serial)

    def test_processes_of_a_script_without_a_main_guard_end_in_an_error(self, tmp_path: Path) -> None:
        script = tmp_path / "unguarded.py"
        script.write_text(
            "import multiprocessing\n"
            "import numpy as np\n"
            "from linumpy.intensity.bias_field import n4_correct_per_section\n"
            "multiprocessing.set_start_method('spawn', force=True)\n"
            "n4_correct_per_section(np.ones((4, 8, 8), np.float32), 2, backend='native', n_processes=2)\n"
        )
        ended = subprocess.run([sys.executable, str(script)], capture_output=True, text=True, timeout=120, check=False)
        assert ended.returncode == 1
        assert "BrokenProcessPool: a process that fitted sections ended before its time" in ended.stderr

    def test_a_gpu_backend_starts_no_processes(self, vol: np.ndarray, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("linumpy.intensity.bias_field.ProcessPoolExecutor", None)
        n4_correct_per_section(vol, 2, backend="gpu", n_processes=2, **QUICK)

    def test_an_empty_section_keeps_its_voxels(self, vol: np.ndarray, mask: np.ndarray) -> None:
        mask[:4] = False
        corrected, bias_field = n4_correct_per_section(vol, 3, mask, backend="native", **QUICK)
        np.testing.assert_array_equal(corrected[:4], vol[:4])
        np.testing.assert_array_equal(bias_field[:4], 1)
        assert np.ptp(bias_field[4:]) > 0.05

    def test_sections_of_one_plane(self, vol: np.ndarray) -> None:
        _, bias_field = n4_correct_per_section(vol, SHAPE[0], backend="native", **QUICK)
        expected = [n4_correct(vol[z : z + 1], backend="native", **QUICK)[1] for z in range(SHAPE[0])]
        np.testing.assert_array_equal(bias_field, np.concatenate(expected))
        assert min(map(np.ptp, expected)) > 0.05

    @pytest.mark.parametrize("n_processes", [0, -1, 1.5])
    def test_refuses_impossible_numbers_of_processes(self, vol: np.ndarray, n_processes: float) -> None:
        with pytest.raises(ValueError, match="n_processes is"):
            n4_correct_per_section(vol, 2, n_processes=n_processes, **QUICK)  # type: ignore[arg-type]


class TestBackends:
    """What is chosen, and what is said where it is missing."""

    def test_auto_without_a_gpu_is_simpleitk(self, vol: np.ndarray, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(gpu, "_gpu_available", lambda: False)
        called = []
        monkeypatch.setattr(
            "linumpy.intensity.bias_field.correct_volume",
            lambda *args, backend, **kwargs: called.append(backend) or (vol, vol),
        )
        n4_correct(vol, backend="auto", **QUICK)
        assert called == ["cpu"]

    def test_auto_with_a_gpu_is_the_gpu(self, vol: np.ndarray, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(gpu, "_gpu_available", lambda: True)
        called = []
        monkeypatch.setattr("linumpy.gpu.n4.n4_correct_gpu", lambda *a, **k: called.append(a) or (vol, vol))
        n4_correct(vol, backend="auto", **QUICK)
        assert len(called) == 1

    def test_gpu_without_a_gpu_says_so(
        self, vol: np.ndarray, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
    ) -> None:
        monkeypatch.setattr(gpu, "_gpu_available", lambda: False)
        with caplog.at_level(logging.WARNING):
            results = n4_correct(vol, backend="gpu", **QUICK)
        assert "no CUDA device" in caplog.text
        with pytest.raises(ValueError, match="workers is 0"):
            n4_correct(vol, backend="gpu", workers=0, **QUICK)
        np.testing.assert_array_equal(results, n4_correct(vol, backend="native", **QUICK))

    def test_native_without_numba_says_so(
        self, vol: np.ndarray, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
    ) -> None:
        expected = n4_correct(vol, backend="native", **QUICK)[1]
        monkeypatch.setitem(sys.modules, "linumpy.n4.native", None)
        with caplog.at_level(logging.WARNING):
            bias_field = n4_correct(vol, backend="native", **QUICK)[1]
        assert "plain NumPy" in caplog.text
        np.testing.assert_allclose(bias_field, expected, rtol=2e-5)  # single precision over eight iterations

    def test_unknown_ones_are_refused(self, vol: np.ndarray) -> None:
        for function in (n4_correct, lambda v, **kwargs: n4_correct_per_section(v, 2, **kwargs)):
            with pytest.raises(ValueError, match="backend is 'itk'"):
                function(vol, backend="itk", **QUICK)

    def test_simpleitk_cannot_fit_a_line(self, vol: np.ndarray) -> None:
        with pytest.raises(ValueError, match="Use backend 'native'"):
            n4_correct(vol[:, :2], backend="cpu", shrink_factor=(20, 2, 1), **QUICK)


def test_apply_bias_field_divides_and_floors() -> None:
    vol = np.array([[[2, 4, 6]]], np.uint16)
    field = np.array([[[2.0, 0.0, -1.0]]])
    corrected = apply_bias_field(vol, field, floor=0.5)
    assert corrected.dtype == np.float32
    np.testing.assert_array_equal(corrected, [[[1, 8, 12]]])
    np.testing.assert_allclose(apply_bias_field(vol, field), [[[1, 4e6, 6e6]]], rtol=1e-6)
    with pytest.raises(ValueError, match="bias_field has shape"):
        apply_bias_field(vol, field[0])
    with pytest.raises(ValueError, match="floor is 0"):
        apply_bias_field(vol, field, floor=0)
    for floor in (1e-50, "0.5", True, 1j, [1.0]):
        with pytest.raises(ValueError, match=rf"floor is {re.escape(str(floor))}; "):
            apply_bias_field(vol, field, floor=floor)  # type: ignore[arg-type]
    for kind in (bool, complex, object, str):
        for given in ((vol.astype(kind), field), (vol, field.astype(kind))):
            with pytest.raises(ValueError, match="give real numbers"):
                apply_bias_field(*given)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"shrink_factor": 0}, "shrink_factor"),
        ({"n_iterations": []}, "n_iterations"),
        *(
            ({"n_iterations": wrong}, "n_iterations is")
            for wrong in (50, "22", b"22", [True], [2 + 0j], [-1], [2.5], [1e20])
        ),
        ({"n_iterations": (n for n in (2, 2))}, "n_iterations is <generator"),
        ({"n_iterations": [0, 5], "backend": "cpu"}, r"n_iterations is \[0, 5\]; SimpleITK's first level"),
        *(({"spline_distance_mm": wrong}, "spline_distance_mm is") for wrong in (1e-320, "10", True, 1j)),
        ({"spline_distance_mm": np.array([1, 1, 1], object)}, "spline_distance_mm is"),
        ({"voxel_size_mm": 1e-200, "backend": "cpu"}, "voxel_size_mm is 1e-200; each value must lie between 1e-30 and"),
        ({"voxel_size_mm": 1e200}, "voxel_size_mm is"),
        *(({"shrink_factor": wrong}, "shrink_factor is") for wrong in (True, "1", ["1", "1", "1"])),
        *(({"workers": wrong}, "workers is") for wrong in (True, np.complex64(1))),
        *(({"mask": np.ones(SHAPE, kind)}, "mask has dtype") for kind in (complex, object, str)),
        ({"spline_distance_mm": -1}, "spline_distance_mm"),
        ({"voxel_size_mm": (1, 1)}, "voxel_size_mm"),
        ({"voxel_size_mm": (1e3, 1e3, 1e3)}, "is the voxel size in millimetres"),
        ({"mask": np.ones((2, 2, 2))}, r"mask has shape \(2, 2, 2\), vol \(11, 34, 46\)"),
    ],
)
def test_refuses_with_a_way_out(vol: np.ndarray, change: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        n4_correct(vol, **({"backend": "native"} | QUICK | change))


def test_refuses_what_is_not_a_volume(vol: np.ndarray) -> None:
    for wrong in (vol[0], vol[:0], vol.astype(complex), vol > 1, vol.astype(str), vol.astype(object)):
        with pytest.raises(ValueError, match="vol has shape"):
            n4_correct(wrong, backend="native", **QUICK)
    with pytest.raises(ValueError, match="vol has shape"):
        n4_correct_per_section(vol[0], 2)


def test_the_whole_api_is_in_one_place(vol: np.ndarray) -> None:
    mask = compute_tissue_mask(vol)
    assert mask.shape == vol.shape
    assert mask.dtype == bool
