"""What torch computes for each numpy function of robot code: tables by function, with tensors in and out."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch

from .device_tensors import constant, torch_dtype

_Tensor = torch.Tensor

UFUNCS: dict[np.ufunc, Callable[..., _Tensor]] = {
    np.add: torch.add,
    np.subtract: torch.subtract,
    np.multiply: torch.multiply,
    np.divide: torch.true_divide,
    np.floor_divide: torch.floor_divide,
    np.remainder: torch.remainder,
    np.power: torch.pow,
    np.float_power: torch.pow,
    np.negative: torch.negative,
    np.positive: torch.positive,
    np.absolute: torch.abs,
    np.fabs: torch.abs,
    np.sign: torch.sign,
    np.sqrt: torch.sqrt,
    np.square: torch.square,
    np.reciprocal: torch.reciprocal,
    np.exp: torch.exp,
    np.expm1: torch.expm1,
    np.exp2: torch.exp2,
    np.log: torch.log,
    np.log1p: torch.log1p,
    np.log2: torch.log2,
    np.log10: torch.log10,
    np.sin: torch.sin,
    np.cos: torch.cos,
    np.tan: torch.tan,
    np.arcsin: torch.asin,
    np.arccos: torch.acos,
    np.arctan: torch.atan,
    np.arctan2: torch.atan2,
    np.sinh: torch.sinh,
    np.cosh: torch.cosh,
    np.tanh: torch.tanh,
    np.hypot: torch.hypot,
    np.degrees: torch.rad2deg,
    np.radians: torch.deg2rad,
    np.deg2rad: torch.deg2rad,
    np.rad2deg: torch.rad2deg,
    np.maximum: torch.maximum,
    np.minimum: torch.minimum,
    np.fmax: torch.fmax,
    np.fmin: torch.fmin,
    np.floor: torch.floor,
    np.ceil: torch.ceil,
    np.rint: torch.round,
    np.trunc: torch.trunc,
    np.greater: torch.gt,
    np.greater_equal: torch.ge,
    np.less: torch.lt,
    np.less_equal: torch.le,
    np.equal: torch.eq,
    np.not_equal: torch.ne,
    np.logical_and: torch.logical_and,
    np.logical_or: torch.logical_or,
    np.logical_xor: torch.logical_xor,
    np.logical_not: torch.logical_not,
    np.bitwise_and: torch.bitwise_and,
    np.bitwise_or: torch.bitwise_or,
    np.bitwise_xor: torch.bitwise_xor,
    np.invert: torch.bitwise_not,
    np.isfinite: torch.isfinite,
    np.isnan: torch.isnan,
    np.isinf: torch.isinf,
    np.matmul: torch.matmul,
}


def _promoted(function: Callable[..., _Tensor]) -> Callable[..., _Tensor]:
    """Return a function of two tensors that gives them a common type first, as numpy does."""

    def promoted(first: _Tensor, second: _Tensor) -> _Tensor:
        common = torch.result_type(first, second)
        return function(first.to(common), second.to(common))

    return promoted


for _ufunc in (np.maximum, np.minimum, np.hypot, np.arctan2, np.fmax, np.fmin, np.matmul):
    UFUNCS[_ufunc] = _promoted(UFUNCS[_ufunc])


def _axes(tensor: _Tensor, axis: Any) -> list[int]:
    """Return the axes of a reduction; None is all of them."""
    if axis is None:
        return list(range(tensor.ndim))
    return [axis] if isinstance(axis, int) else list(axis)


def _reduced(function: Callable[..., _Tensor]) -> Callable[[_Tensor, Any, bool], _Tensor]:
    return lambda tensor, axis, keepdims: function(tensor, dim=_axes(tensor, axis), keepdim=keepdims)


def _product(tensor: _Tensor, axis: Any, keepdims: bool) -> _Tensor:
    for number in sorted((a % tensor.ndim for a in _axes(tensor, axis)), reverse=True):
        tensor = tensor.prod(dim=number, keepdim=keepdims)
    return tensor


REDUCTIONS: dict[np.ufunc, Callable[[_Tensor, Any, bool], _Tensor]] = {
    np.add: _reduced(torch.sum),
    np.maximum: _reduced(torch.amax),
    np.minimum: _reduced(torch.amin),
    np.logical_and: _reduced(torch.all),
    np.logical_or: _reduced(torch.any),
    np.multiply: _product,
}


def _tensor(value: Any, device: torch.device) -> _Tensor:
    tensor = getattr(value, "tensor", None)
    return constant(value, device) if tensor is None else tensor


def _common(values: Sequence[Any], device: torch.device) -> list[_Tensor]:
    """Return tensors of one type."""
    tensors = [_tensor(value, device) for value in values]
    common = tensors[0].dtype
    for tensor in tensors[1:]:
        common = torch.promote_types(common, tensor.dtype)
    return [tensor.to(common) for tensor in tensors]


def _concatenate(device: torch.device, arrays: Any, axis: int = 0) -> _Tensor:
    return torch.cat(_common(list(arrays), device), dim=axis)


def _stack(device: torch.device, arrays: Any, axis: int = 0) -> _Tensor:
    same: list[_Tensor] = list(torch.broadcast_tensors(*_common(list(arrays), device)))
    return torch.stack(same, dim=axis)


def _where(device: torch.device, condition: Any, first: Any, second: Any) -> _Tensor:
    one, other = _common([first, second], device)
    return torch.where(_tensor(condition, device), one, other)


def _clip(
    device: torch.device,
    values: Any,
    a_min: Any = None,
    a_max: Any = None,
    *,
    min: Any = None,
    max: Any = None,
) -> _Tensor:
    tensor = _tensor(values, device)
    low, high = a_min if min is None else min, a_max if max is None else max
    if low is not None:
        tensor = UFUNCS[np.maximum](tensor, _tensor(low, device))
    return tensor if high is None else UFUNCS[np.minimum](tensor, _tensor(high, device))


def _filled(value: float) -> Callable[..., _Tensor]:
    def filled(device: torch.device, shape: Any, dtype: Any = float, order: str = "C") -> _Tensor:
        return torch.full(_shape(shape), value, dtype=torch_dtype(dtype), device=device)

    return filled


def _full(device: torch.device, shape: Any, value: Any, dtype: Any = None, order: str = "C") -> _Tensor:
    tensor = _tensor(value, device)
    tensor = tensor if dtype is None else tensor.to(torch_dtype(dtype))
    return tensor.expand(_shape(shape)).clone()


def _shape(shape: Any) -> tuple[int, ...]:
    return (int(shape),) if isinstance(shape, (int, np.integer)) else tuple(shape)


def _filled_like(value: float | None) -> Callable[..., _Tensor]:
    def filled(device: torch.device, array: Any, *fill: Any, dtype: Any = None, **options: Any) -> _Tensor:
        tensor = _tensor(array, device)
        shape = options.get("shape")
        given = options.get("fill_value", fill[0] if fill else value)
        target = tensor.dtype if dtype is None else torch_dtype(dtype)
        size = tensor.shape if shape is None else _shape(shape)
        return _tensor(given, device).to(target).expand(size).clone()

    return filled


def _reduction(ufunc: np.ufunc) -> Callable[..., _Tensor]:
    def reduced(
        device: torch.device, array: Any, axis: Any = None, *, keepdims: bool = False, dtype: Any = None
    ) -> _Tensor:
        result = REDUCTIONS[ufunc](_tensor(array, device), axis, keepdims)
        return result if dtype is None else result.to(torch_dtype(dtype))

    return reduced


def _mean(
    device: torch.device, array: Any, axis: Any = None, *, keepdims: bool = False, dtype: Any = None
) -> _Tensor:
    tensor = _tensor(array, device).float()
    return torch.mean(tensor, dim=_axes(tensor, axis), keepdim=keepdims)


def _chosen(function: Callable[..., _Tensor]) -> Callable[..., _Tensor]:
    def chosen(
        device: torch.device, array: Any, axis: int | None = None, *, keepdims: bool = False
    ) -> _Tensor:
        return function(_tensor(array, device), dim=axis, keepdim=keepdims)

    return chosen


def _take_along_axis(device: torch.device, array: Any, indices: Any, axis: int = -1) -> _Tensor:
    tensor, index = _tensor(array, device), _tensor(indices, device)
    return torch.take_along_dim(tensor, index, dim=axis)


def _norm(
    device: torch.device, array: Any, ord: Any = None, axis: Any = None, keepdims: bool = False
) -> _Tensor:
    return torch.linalg.vector_norm(
        _tensor(array, device), ord=2 if ord is None else ord, dim=axis, keepdim=keepdims
    )


def _sinc(device: torch.device, array: Any) -> _Tensor:
    return torch.sinc(_tensor(array, device))


def _tile(device: torch.device, array: Any, repetitions: Any) -> _Tensor:
    return torch.tile(_tensor(array, device), _shape(repetitions))


def _asarray(device: torch.device, value: Any, dtype: Any = None, **_: Any) -> _Tensor:
    tensor = _tensor(value, device)
    return tensor if dtype is None else tensor.to(torch_dtype(dtype))


FUNCTIONS: dict[Any, Callable[..., Any]] = {
    np.concatenate: _concatenate,
    np.stack: _stack,
    np.where: _where,
    np.clip: _clip,
    np.empty: _filled(0.0),
    np.zeros: _filled(0.0),
    np.ones: _filled(1.0),
    np.full: _full,
    np.empty_like: _filled_like(0.0),
    np.zeros_like: _filled_like(0.0),
    np.ones_like: _filled_like(1.0),
    np.full_like: _filled_like(None),
    np.asarray: _asarray,
    np.array: lambda device, value, dtype=None, **_: _asarray(device, value, dtype).clone(),
    np.copy: lambda device, array, **_: _tensor(array, device).clone(),
    np.sum: _reduction(np.add),
    np.prod: _reduction(np.multiply),
    np.min: _reduction(np.minimum),
    np.max: _reduction(np.maximum),
    np.any: _reduction(np.logical_or),
    np.all: _reduction(np.logical_and),
    np.mean: _mean,
    np.argmax: _chosen(torch.argmax),
    np.argmin: _chosen(torch.argmin),
    np.take_along_axis: _take_along_axis,
    np.linalg.norm: _norm,
    np.sinc: _sinc,
    np.tile: _tile,
    np.ndim: lambda device, array: _tensor(array, device).ndim,
    np.shape: lambda device, array: tuple(_tensor(array, device).shape),
    np.reshape: lambda device, array, shape, **_: _tensor(array, device).reshape(_shape(shape)),
    np.moveaxis: lambda device, array, source, target: torch.moveaxis(_tensor(array, device), source, target),
    np.expand_dims: lambda device, array, axis: _tensor(array, device).unsqueeze(axis),
    np.squeeze: lambda device, array, axis: _tensor(array, device).squeeze(axis),
    np.transpose: lambda device, array, axes: _tensor(array, device).permute(*axes),
    np.flip: lambda device, array, axis: torch.flip(_tensor(array, device), [axis]),
    np.roll: lambda device, array, shift, axis: torch.roll(_tensor(array, device), shift, axis),
    np.cumsum: lambda device, array, axis: torch.cumsum(_tensor(array, device), axis),
    np.diff: lambda device, array, n=1, axis=-1: torch.diff(_tensor(array, device), n, dim=axis),
    np.broadcast_to: lambda device, array, shape: _tensor(array, device).expand(_shape(shape)),
    np.cross: lambda device, a, b, axis=-1: torch.linalg.cross(*_common([a, b], device), dim=axis),
    np.nan_to_num: lambda device, array, **options: torch.nan_to_num(_tensor(array, device), **options),
}
