"""Rotations of free bodies, elementwise over lanes: quaternions, and the two axes by which a rotation is observed."""

from __future__ import annotations

import numpy as np

Vector = tuple[np.ndarray, np.ndarray, np.ndarray]  # x, y, z, each (m,)


def rotation_6d(quaternion: np.ndarray) -> np.ndarray:
    """(..., 6): the x axis, then the y axis, of a frame turned by quaternions (..., 4) of any length."""
    w, x, y, z = (quaternion[..., k] for k in range(4))
    double = 2.0 / np.maximum(w * w + x * x + y * y + z * z, 1e-12)
    return np.stack(
        [
            1.0 - double * (y * y + z * z),
            double * (x * y + w * z),
            double * (x * z - w * y),
            double * (x * y - w * z),
            1.0 - double * (x * x + z * z),
            double * (y * z + w * x),
        ],
        axis=-1,
    )


def cross(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """(..., 3): the cross product of vectors (..., 3)."""
    (a, b, c), (x, y, z) = (tuple(v[..., k] for k in range(3)) for v in (first, second))
    return np.stack([b * z - c * y, c * x - a * z, a * y - b * x], axis=-1)


def dot(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """(...,): the inner product of vectors (..., 3)."""
    return first[..., 0] * second[..., 0] + first[..., 1] * second[..., 1] + first[..., 2] * second[..., 2]


def quaternion_of(axes: np.ndarray) -> np.ndarray:
    """(..., 4), w not negative: the rotation whose x and y axes are nearest to axes (..., 6), imagined ones too."""
    x = _unit(axes[..., :3], np.array([1.0, 0.0, 0.0]))
    y = axes[..., 3:] - dot(axes[..., 3:], x)[..., None] * x
    helper = np.where(np.abs(x[..., 2:]) < 0.9, np.array([0.0, 0.0, 1.0]), np.array([0.0, 1.0, 0.0]))
    y = _unit(y, _unit(cross(helper, x), np.array([0.0, 1.0, 0.0])))
    return _quaternion(x, y, cross(x, y))


def _unit(vector: np.ndarray, otherwise: np.ndarray) -> np.ndarray:
    """Vectors (..., 3) at length 1; `otherwise` where they have none."""
    length = np.sqrt(dot(vector, vector))[..., None]
    return np.where(length > 1e-6, vector / np.maximum(length, 1e-6), otherwise)


def _quaternion(x: np.ndarray, y: np.ndarray, z: np.ndarray) -> np.ndarray:
    """(..., 4) of a frame's axes, each (..., 3), from its largest component, which keeps the precision."""
    trace = x[..., 0] + y[..., 1] + z[..., 2]
    squares = np.stack([trace, x[..., 0], y[..., 1], z[..., 2]], axis=-1)  # 4 q^2 - 1 is w's, and so on
    turn = (y[..., 2] - z[..., 1], z[..., 0] - x[..., 2], x[..., 1] - y[..., 0])
    mixed = (x[..., 1] + y[..., 0], z[..., 0] + x[..., 2], y[..., 2] + z[..., 1])
    own = [1 + trace, *(1 + 2 * squares[..., k] - trace for k in (1, 2, 3))]
    candidates = np.stack(
        [
            np.stack([own[0], turn[0], turn[1], turn[2]], axis=-1),
            np.stack([turn[0], own[1], mixed[0], mixed[1]], axis=-1),
            np.stack([turn[1], mixed[0], own[2], mixed[2]], axis=-1),
            np.stack([turn[2], mixed[1], mixed[2], own[3]], axis=-1),
        ],
        axis=-2,
    )  # (..., 4, 4)
    largest = np.argmax(squares, axis=-1)[..., None, None]
    chosen = np.take_along_axis(candidates, largest, axis=-2)[..., 0, :]
    w, i, j, k = (chosen[..., c] for c in range(4))
    length = np.sqrt(w * w + i * i + j * j + k * k)
    return chosen * (np.where(w < 0, -1.0, 1.0) / length)[..., None]


def box_gap(point: np.ndarray, centre: np.ndarray, axes: np.ndarray, half: float) -> np.ndarray:
    """(...,) [m] from points (..., 3) to cubes of half side `half`; 0 inside. Centres (..., 3), axes (..., 6)."""
    offset = point - centre
    x, y = axes[..., :3], axes[..., 3:]
    beyond = [np.maximum(np.abs(dot(offset, axis)) - half, 0.0) for axis in (x, y, cross(x, y))]
    return np.sqrt(beyond[0] ** 2 + beyond[1] ** 2 + beyond[2] ** 2)


def lowest_corner(centre: np.ndarray, axes: np.ndarray, half: float) -> np.ndarray:
    """(...,) [m] height of the lowest corner of cubes of half side `half`."""
    x, y = axes[..., :3], axes[..., 3:]
    upward = np.abs(x[..., 2]) + np.abs(y[..., 2]) + np.abs(cross(x, y)[..., 2])
    return centre[..., 2] - half * upward


def columns(array: np.ndarray) -> Vector:
    """x, y and z, each (m,), of vectors (m, 3)."""
    return array[:, 0], array[:, 1], array[:, 2]


def rotate_inverse(turn: tuple[np.ndarray, ...], vector: Vector) -> Vector:
    """A vector of the world in the frame of a body that is turned by a quaternion."""
    w, x, y, z = turn
    a, b, c = vector
    cross = (b * z - c * y, c * x - a * z, a * y - b * x)  # vector x axis
    over = (cross[1] * z - cross[2] * y, cross[2] * x - cross[0] * z, cross[0] * y - cross[1] * x)
    return (
        a + 2.0 * (w * cross[0] + over[0]),
        b + 2.0 * (w * cross[1] + over[1]),
        c + 2.0 * (w * cross[2] + over[2]),
    )


def rotate_about_axis(vector: Vector, axis: str, angle: np.ndarray) -> Vector:
    """A vector, turned by an angle (m,) [rad] about an axis: "x", "y" or "z", with "-" the other way round."""
    cosine, sine = np.cos(angle), np.sin(-angle if axis.startswith("-") else angle)
    x, y, z = vector
    if axis.endswith("x"):
        return x, cosine * y - sine * z, sine * y + cosine * z
    if axis.endswith("y"):
        return cosine * x + sine * z, y, cosine * z - sine * x
    return cosine * x - sine * y, sine * x + cosine * y, z
