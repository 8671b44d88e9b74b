"""CuPy's stand-in for machines without a GPU: arrays that refuse what CuPy's refuse.

A `DeviceArray` holds NumPy's numbers but is no NumPy array: it turns into one only when asked (`get`, `asnumpy`), and
refuses to be mixed with one. NumPy's own functions reach those of the stand-in module, as they reach CuPy's.
"""

from __future__ import annotations

import functools
import sys
import types
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from numpy.lib.mixins import NDArrayOperatorsMixin
from scipy import ndimage

from linumpy import gpu

DTYPES = ("bool_", "int32", "int64", "uint8", "uint64", "float32", "float64")
CREATE = ("arange", "empty", "full", "zeros")
COMPUTE = (
    "bincount", "empty_like", "exp", "expm1", "log", "matmul", "maximum", "minimum", "moveaxis", "tensordot", "where",
)  # fmt: skip


class DeviceArray(NDArrayOperatorsMixin):
    """What `cupy.ndarray` is, as far as this package uses it."""

    def __init__(self, host: np.ndarray) -> None:
        self.host = host

    def __array__(self, *args: Any, **kwargs: Any) -> np.ndarray:
        raise TypeError("Implicit conversion to a NumPy array is not allowed.")

    def __array_ufunc__(self, ufunc: np.ufunc, method: str, *inputs: Any, **kwargs: Any) -> Any:
        return on_device(getattr(ufunc, method))(*inputs, **kwargs)

    def __array_function__(self, function: Any, kinds: Any, args: Any, kwargs: Any) -> Any:
        own = getattr(sys.modules["cupy"], function.__name__, None)
        return NotImplemented if own is None else own(*args, **kwargs)

    def __getattr__(self, name: str) -> Any:
        if name not in ("T", "astype", "dtype", "fill", "max", "min", "ndim", "ravel", "real", "reshape", "shape",
                        "size", "sum"):  # fmt: skip
            raise AttributeError(f"the stand-in for cupy.ndarray has no {name}")
        value = getattr(self.host, name)
        return on_device(value) if callable(value) else wrap(value)

    def __getitem__(self, key: Any) -> Any:
        return on_device(self.host.__getitem__)(key)

    def __setitem__(self, key: Any, value: Any) -> None:
        on_device(self.host.__setitem__)(key, value)

    def __len__(self) -> int:
        return len(self.host)

    def __float__(self) -> float:
        return float(self.host)

    def __int__(self) -> int:
        return int(self.host)

    def get(self) -> np.ndarray:
        return self.host.copy()


def wrap(value: Any) -> Any:
    """Put what NumPy returned on the device; there a single number is an array, too."""
    return DeviceArray(np.asarray(value)) if isinstance(value, np.ndarray | np.generic) else value


def unwrap(value: Any) -> Any:
    if isinstance(value, tuple | list):
        return type(value)(map(unwrap, value))
    if isinstance(value, np.ndarray):
        raise TypeError(f"Unsupported type {type(value)}")
    return value.host if isinstance(value, DeviceArray) else value


def on_device(function: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(function)
    def call(*args: Any, **kwargs: Any) -> Any:
        return wrap(function(*map(unwrap, args), **{name: unwrap(value) for name, value in kwargs.items()}))

    return call


def where(condition: DeviceArray, x: Any, y: Any) -> Any:
    return on_device(np.where)(condition.astype(bool), x, y)  # CuPy takes no Python bool here


def as_array(values: Any, dtype: Any = None) -> DeviceArray:
    """Copy from the host; what is there already stays."""
    if isinstance(values, DeviceArray):
        return values if dtype in (None, values.dtype) else values.astype(dtype)
    return DeviceArray(np.array(values, dtype))


@pytest.fixture
def cupy(monkeypatch: pytest.MonkeyPatch) -> types.ModuleType:
    """A machine with a CUDA device, its CuPy this module's."""
    module, filters = types.ModuleType("cupy"), types.ModuleType("cupyx.scipy.ndimage")
    vars(module).update({name: getattr(np, name) for name in DTYPES})
    vars(module).update({name: on_device(getattr(np, name)) for name in (*CREATE, *COMPUTE)})
    vars(module).update(asarray=as_array, where=where, asnumpy=DeviceArray.get, ndarray=DeviceArray)
    module.fft = types.SimpleNamespace(rfft=on_device(np.fft.rfft), irfft=on_device(np.fft.irfft))  # type: ignore[attr-defined]
    filters.gaussian_filter = on_device(ndimage.gaussian_filter)  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "cupy", module)
    monkeypatch.setitem(sys.modules, "cupyx.scipy.ndimage", filters)
    monkeypatch.setattr(gpu, "_gpu_available", lambda: True)
    return module
