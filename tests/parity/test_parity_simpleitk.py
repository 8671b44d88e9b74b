"""Native N4 against a plain SimpleITK call: the same log bias field."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from linumpy.n4.fit import fit_log_bias_field

sitk = pytest.importorskip("SimpleITK", reason="SimpleITK, the reference, is not installed")

_spec = importlib.util.spec_from_file_location("parity_cases", Path(__file__).with_name("cases.py"))
cases = sys.modules.setdefault("parity_cases", importlib.util.module_from_spec(_spec))
_spec.loader.exec_module(cases)

EQUAL_ITERATIONS = 1e-4  # of the log field anywhere in the mask: invariant 2 of the design
WITH_CONVERGENCE_RMS = 5e-3  # single-precision sums let ITK stop an iteration or two apart


def itk_log_field(
    image: np.ndarray, mask: np.ndarray, case: Any, *, n_iterations: tuple[int, ...], threshold: float
) -> np.ndarray:
    """Return SimpleITK's log bias field on the image's grid; an axis of one voxel is dropped."""
    kept = [axis for axis in range(3) if image.shape[axis] > 1]
    shape = [image.shape[axis] for axis in kept]
    grid = sitk.GetImageFromArray(image.astype(np.float32).reshape(shape))
    label = sitk.GetImageFromArray(mask.astype(np.uint8).reshape(shape))
    for picture in (grid, label):
        picture.SetSpacing([case.spacing_mm[axis] for axis in reversed(kept)])
    n4 = sitk.N4BiasFieldCorrectionImageFilter()
    n4.SetMaximumNumberOfIterations(list(n_iterations))
    n4.SetNumberOfControlPoints([case.n_control_points[axis] for axis in reversed(kept)])
    n4.SetConvergenceThreshold(threshold)
    n4.Execute(grid, label)
    return sitk.GetArrayFromImage(n4.GetLogBiasFieldAsImage(grid)).reshape(image.shape)


def load(case: Any, request: pytest.FixtureRequest) -> tuple[np.ndarray, np.ndarray]:
    data = request.getfixturevalue("test_data") if case.real else None
    image, mask = cases.load(case, data)
    assert image.shape == case.shape
    return image, mask


@pytest.mark.parametrize("case", cases.CASES, ids=lambda case: case.name)
def test_same_field_at_equal_iterations(case: Any, request: pytest.FixtureRequest) -> None:
    image, mask = load(case, request)
    expected = itk_log_field(image, mask, case, n_iterations=case.n_iterations, threshold=0)
    fit = fit_log_bias_field(
        image,
        mask,
        n_control_points=case.n_control_points,
        n_iterations=case.n_iterations,
        spacing_mm=case.spacing_mm,
        convergence_threshold=0,
    )
    assert fit.backend == "numba"
    assert [level.iterations for level in fit.levels] == list(case.n_iterations)
    field = fit.lattice.evaluate(image.shape, case.spacing_mm)
    difference = np.abs(field - expected)[mask]
    assert np.ptp(expected[mask]) > 0.1  # there is something to agree on
    assert difference.max() <= EQUAL_ITERATIONS


@pytest.mark.parametrize("case", [cases.CASES[i] for i in (2, 4, 8, 15)], ids=lambda case: case.name)
def test_as_good_with_the_convergence_test(case: Any, request: pytest.FixtureRequest) -> None:
    image, mask = load(case, request)
    n_iterations = (30,) * len(case.n_iterations)
    expected = itk_log_field(image, mask, case, n_iterations=n_iterations, threshold=0.001)
    fit = fit_log_bias_field(
        image,
        mask,
        n_control_points=case.n_control_points,
        n_iterations=n_iterations,
        spacing_mm=case.spacing_mm,
    )
    field = fit.lattice.evaluate(image.shape, case.spacing_mm)
    assert np.sqrt(np.mean((field - expected)[mask] ** 2)) <= WITH_CONVERGENCE_RMS
    if case.real is None:
        _, truth = cases.phantom(case.shape, noise=case.noise, seed=case.seed)
        # N4 leaves the constant free; 2 % is far more than one iteration changes
        assert np.std((field - truth)[mask]) <= 1.02 * np.std((expected - truth)[mask])


def test_simpleitk_backend_is_simpleitk(request: pytest.FixtureRequest) -> None:
    case = cases.CASES[1]
    image, mask = load(case, request)
    expected = itk_log_field(image, mask, case, n_iterations=(4, 3), threshold=0.001)
    fit = fit_log_bias_field(
        image,
        mask,
        n_control_points=case.n_control_points,
        n_iterations=(4, 3),
        spacing_mm=case.spacing_mm,
        backend="cpu",
    )
    assert fit.backend == "simpleitk"
    assert [level.iterations for level in fit.levels] == [4, 3]
    assert [level.n_control_points for level in fit.levels] == [(4, 6, 9), (5, 9, 15)]
    assert all(0 < c < 1 for level in fit.levels for c in level.history)
    field = fit.lattice.evaluate(image.shape, case.spacing_mm)
    # control points recovered from a single-precision field, and ITK's threads sum in any order
    np.testing.assert_allclose(field, expected, atol=1e-5)


def test_histories_agree(request: pytest.FixtureRequest) -> None:
    case = cases.CASES[8]
    image, mask = load(case, request)
    fits = [
        fit_log_bias_field(image, mask, n_control_points=case.n_control_points, n_iterations=(6, 6), backend=backend)
        for backend in ("cpu", "native")
    ]
    for reference, native in zip(*(fit.levels for fit in fits), strict=True):
        assert reference.n_control_points == native.n_control_points
        # ITK sums the measure in single precision, one voxel after the other: 5 % off at 1e-3
        np.testing.assert_allclose(native.history, reference.history, rtol=0.06)


def test_the_field_does_not_depend_on_the_unit_of_intensity(request: pytest.FixtureRequest) -> None:
    """SimpleITK's moves by 3e-4 on this image: rounding decides whether its brightest voxel is counted."""
    image, _ = cases.phantom((18, 41, 60), seed=0)
    mask = cases.make_mask("ellipsoid", image)
    fields = [
        fit_log_bias_field(
            image * np.float32(factor), mask, n_control_points=(4, 6, 9), n_iterations=(10, 10, 1)
        ).lattice.evaluate(image.shape, 1.0)
        for factor in (1, 1.3, 1000)
    ]
    for other in fields[1:]:
        # the logarithms of the products are rounded anew: 5e-7 at 8
        np.testing.assert_allclose(other, fields[0], atol=5e-6)
