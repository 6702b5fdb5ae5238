"""DeviceArray: a torch tensor that numpy's functions accept, so that robots written with numpy run on a device.

Robots and tasks call numpy functions on the arrays of their batch. Numpy hands such a call to the class of its
arguments (`__array_ufunc__` and `__array_function__`, NEP 13 and NEP 18); here torch answers it, on the device of the
tensor. All floating-point values are float32, also where numpy code names float64.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch
from numpy.lib.mixins import NDArrayOperatorsMixin

from .device_functions import FUNCTIONS, REDUCTIONS, UFUNCS
from .device_tensors import constant, index_tensor, torch_dtype


class DeviceArray(NDArrayOperatorsMixin):
    """An array on a device; basic indexing gives views, as in numpy.

    Args:
        tensor: The tensor; it is not copied.
    """

    __slots__ = ("_tensor",)

    def __init__(self, tensor: torch.Tensor) -> None:
        self._tensor = tensor

    @property
    def tensor(self) -> torch.Tensor:
        """The tensor behind the array."""
        return self._tensor

    # --- numpy's protocols

    def __array_ufunc__(self, ufunc: np.ufunc, method: str, *inputs: Any, **options: Any) -> Any:
        device = self.tensor.device
        out = options.pop("out", None)
        called = ufunc.__name__ if method == "__call__" else f"{ufunc.__name__}.{method}"
        options.pop("dtype", None)
        if method == "reduce" and ufunc in REDUCTIONS:
            axis, keepdims = options.pop("axis", 0), bool(options.pop("keepdims", False))
            _check_no_more(called, options)
            result = REDUCTIONS[ufunc](unwrap(inputs[0], device), axis, keepdims)
        elif method == "__call__" and ufunc in UFUNCS:
            _check_no_more(called, options)
            if ufunc is np.power and np.ndim(inputs[1]) == 0 and not isinstance(inputs[1], DeviceArray):
                result = torch.pow(unwrap(inputs[0], device), float(inputs[1]))
            else:
                result = UFUNCS[ufunc](*(unwrap(value, device) for value in inputs))
        else:
            raise TypeError(f"numpy.{called} has no implementation on a device")
        return DeviceArray(result) if out is None else _written(called, out[0], result)

    def __array_function__(self, function: Any, types: Any, args: Any, options: Any) -> Any:
        name = function.__name__
        if function not in FUNCTIONS:
            raise TypeError(f"numpy.{name} has no implementation on a device")
        rest = {
            key: value for key, value in options.items() if key not in ("device", "out")
        }  # on that of the array
        try:
            result = FUNCTIONS[function](self.tensor.device, *args, **rest)
        except TypeError as error:
            raise TypeError(f"numpy.{name} on a device: {error}") from error
        out = options.get("out")
        return wrap(result) if out is None else _written(name, out, result)

    def __array__(self, *args: Any, **options: Any) -> np.ndarray:
        raise TypeError(
            "np.asarray and np.array would copy a device array to the host; use robossl.envs.as_array, which leaves it "
            "on its device"
        )

    # --- shape and elements

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape, as that of a numpy array."""
        return tuple(self.tensor.shape)

    @property
    def ndim(self) -> int:
        """Number of axes."""
        return self.tensor.ndim

    @property
    def size(self) -> int:
        """Number of elements."""
        return self.tensor.numel()

    @property
    def dtype(self) -> np.dtype:
        """The numpy type of the elements."""
        return np.dtype(str(self.tensor.dtype).removeprefix("torch."))

    @property
    def T(self) -> DeviceArray:
        """The array with its axes reversed."""
        return DeviceArray(self.tensor.permute(*reversed(range(self.ndim))))

    def __len__(self) -> int:
        return len(self.tensor)

    def __iter__(self) -> Iterator[DeviceArray]:
        return (DeviceArray(row) for row in self.tensor)

    def __bool__(self) -> bool:
        raise TypeError("the truth of a device array is not known on the host; use np.where, &, | and ~")

    def __getitem__(self, key: Any) -> DeviceArray:
        return DeviceArray(self.tensor[_key(key, self.tensor.device)])

    def __setitem__(self, key: Any, value: Any) -> None:
        tensor, where = self.tensor, _key(key, self.tensor.device)
        new = unwrap(value, tensor.device)
        if isinstance(where, torch.Tensor) and where.dtype == torch.bool and new.ndim == 0:
            mask = where.reshape(where.shape + (1,) * (tensor.ndim - where.ndim))
            tensor.copy_(torch.where(mask, new.to(tensor.dtype), tensor))
        else:
            tensor[where] = new.to(tensor.dtype)

    # --- methods of numpy arrays

    def copy(self, order: str = "C") -> DeviceArray:
        """Return a copy."""
        return DeviceArray(self.tensor.clone())

    def astype(self, dtype: Any, *_: Any, **__: Any) -> DeviceArray:
        """Return a copy of another type; every floating-point type is float32."""
        return DeviceArray(self.tensor.to(torch_dtype(dtype), copy=True))

    def take(self, indices: Any, axis: int) -> DeviceArray:
        """Return the elements at `indices` of an axis."""
        chosen = index_tensor(np.asarray(indices), self.tensor.device)
        return DeviceArray(self.tensor.index_select(axis, chosen.reshape(-1)))

    def reshape(self, *shape: Any) -> DeviceArray:
        """Return the array with another shape."""
        return DeviceArray(self.tensor.reshape(*shape))

    def sum(self, axis: Any = None, keepdims: bool = False) -> DeviceArray:
        """Return the sum along an axis."""
        return DeviceArray(REDUCTIONS[np.add](self.tensor, axis, keepdims))

    def mean(self, axis: Any = None, keepdims: bool = False) -> DeviceArray:
        """Return the mean along an axis."""
        total = self.sum(axis, keepdims)
        return DeviceArray(total.tensor * (total.tensor.numel() / max(self.tensor.numel(), 1)))

    def min(self, axis: Any = None, keepdims: bool = False) -> DeviceArray:
        """Return the minimum along an axis."""
        return DeviceArray(REDUCTIONS[np.minimum](self.tensor, axis, keepdims))

    def max(self, axis: Any = None, keepdims: bool = False) -> DeviceArray:
        """Return the maximum along an axis."""
        return DeviceArray(REDUCTIONS[np.maximum](self.tensor, axis, keepdims))

    def any(self, axis: Any = None, keepdims: bool = False) -> DeviceArray:
        """Return whether any element along an axis is true."""
        return DeviceArray(REDUCTIONS[np.logical_or](self.tensor, axis, keepdims))

    def all(self, axis: Any = None, keepdims: bool = False) -> DeviceArray:
        """Return whether all elements along an axis are true."""
        return DeviceArray(REDUCTIONS[np.logical_and](self.tensor, axis, keepdims))


def _check_no_more(name: str, options: dict[str, Any]) -> None:
    """Raise TypeError if a numpy function was called with further options."""
    if options:
        raise TypeError(f"numpy.{name} on a device takes no {', '.join(options)}")


def _written(name: str, out: Any, result: torch.Tensor) -> DeviceArray:
    """Write a result into `out` and return that."""
    if not isinstance(out, DeviceArray):
        raise TypeError(
            f"numpy.{name} on a device cannot write into a numpy array; make it with np.empty(shape, like=array)"
        )
    out.tensor.copy_(result)
    return out


def unwrap(value: Any, device: torch.device) -> torch.Tensor:
    """Return a value as a tensor on a device; numbers and numpy arrays are constants that are copied there once."""
    return value.tensor if isinstance(value, DeviceArray) else constant(value, device)


def wrap(result: Any) -> Any:
    """Return tensors as device arrays, also within a list or tuple."""
    if isinstance(result, torch.Tensor):
        return DeviceArray(result)
    return type(result)(wrap(part) for part in result) if isinstance(result, (list, tuple)) else result


def _key(key: Any, device: torch.device) -> Any:
    """Return an index of numpy as one of torch."""
    if isinstance(key, tuple):
        return tuple(_key(part, device) for part in key)
    if isinstance(key, DeviceArray):
        return key.tensor
    if isinstance(key, slice) and key.step is not None and key.step < 0:
        raise TypeError("a slice with a negative step has no implementation on a device; use np.flip")
    if isinstance(key, (np.ndarray, Sequence)):
        return index_tensor(np.asarray(key), device)
    return int(key) if isinstance(key, np.integer) else key
