"""Rotations, elementwise over the batch: quaternions (w, x, y, z) and the 6-D representation (Zhou et al. 2019).

The 6-D representation is the x axis and the y axis of the rotated frame.
"""

from __future__ import annotations

import numpy as np

Vector = tuple[np.ndarray, np.ndarray, np.ndarray]  # x, y, z, each (m,)
Quaternion = tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]  # w, x, y, z, each (m,)


def rotation_6d(quaternion: np.ndarray) -> np.ndarray:
    """Return the 6-D representation (..., 6) of quaternions (..., 4) of any length."""
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
    """Return the cross product (..., 3) of vectors (..., 3)."""
    (a, b, c), (x, y, z) = (tuple(v[..., k] for k in range(3)) for v in (first, second))
    return np.stack([b * z - c * y, c * x - a * z, a * y - b * x], axis=-1)


def dot(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Return the inner product (...,) of vectors (..., 3)."""
    return first[..., 0] * second[..., 0] + first[..., 1] * second[..., 1] + first[..., 2] * second[..., 2]


def quaternion_from_6d(axes: np.ndarray) -> np.ndarray:
    """Return unit quaternions (..., 4) with w >= 0 of 6-D representations (..., 6).

    The axes need not be orthonormal, for example if a model predicted them: y is made orthogonal to x.
    """
    x = _normalize(axes[..., :3], np.array([1.0, 0.0, 0.0]))
    y = axes[..., 3:] - dot(axes[..., 3:], x)[..., None] * x
    helper = np.where(np.abs(x[..., 2:]) < 0.9, np.array([0.0, 0.0, 1.0]), np.array([0.0, 1.0, 0.0]))
    y = _normalize(y, _normalize(cross(helper, x), np.array([0.0, 1.0, 0.0])))
    return _quaternion_from_axes(x, y, cross(x, y))


def _normalize(vector: np.ndarray, default: np.ndarray) -> np.ndarray:
    """Return vectors (..., 3) scaled to length 1, or `default` where the length is zero."""
    length = np.sqrt(dot(vector, vector))[..., None]
    return np.where(length > 1e-6, vector / np.maximum(length, 1e-6), default)


def _quaternion_from_axes(x: np.ndarray, y: np.ndarray, z: np.ndarray) -> np.ndarray:
    """Return quaternions (..., 4) of orthonormal axes (..., 3), from the largest component for precision."""
    trace = x[..., 0] + y[..., 1] + z[..., 2]
    squares = np.stack([trace, x[..., 0], y[..., 1], z[..., 2]], axis=-1)  # largest where the component is
    difference = (y[..., 2] - z[..., 1], z[..., 0] - x[..., 2], x[..., 1] - y[..., 0])
    total = (x[..., 1] + y[..., 0], z[..., 0] + x[..., 2], y[..., 2] + z[..., 1])
    diagonal = [1 + trace, *(1 + 2 * squares[..., k] - trace for k in (1, 2, 3))]
    candidates = np.stack(
        [
            np.stack([diagonal[0], difference[0], difference[1], difference[2]], axis=-1),
            np.stack([difference[0], diagonal[1], total[0], total[1]], axis=-1),
            np.stack([difference[1], total[0], diagonal[2], total[2]], axis=-1),
            np.stack([difference[2], total[1], total[2], diagonal[3]], axis=-1),
        ],
        axis=-2,
    )  # (..., 4, 4)
    largest = np.argmax(squares, axis=-1)[..., None, None]
    chosen = np.take_along_axis(candidates, largest, axis=-2)[..., 0, :]
    w, i, j, k = (chosen[..., c] for c in range(4))
    length = np.sqrt(w * w + i * i + j * j + k * k)
    return chosen * (np.where(w < 0, -1.0, 1.0) / length)[..., None]


def distance_to_cube(point: np.ndarray, center: np.ndarray, axes: np.ndarray, half: float) -> np.ndarray:
    """Return the distances (...,) [m] from points to cubes; 0 inside.

    Args:
        point: (..., 3) [m].
        center: (..., 3) [m] of the cubes.
        axes: (..., 6) 6-D representation of the cubes' orientation.
        half: Half the edge length [m].
    """
    offset = point - center
    x, y = axes[..., :3], axes[..., 3:]
    outside = [np.maximum(np.abs(dot(offset, axis)) - half, 0.0) for axis in (x, y, cross(x, y))]
    return np.sqrt(outside[0] ** 2 + outside[1] ** 2 + outside[2] ** 2)


def lowest_corner(center: np.ndarray, axes: np.ndarray, half: float) -> np.ndarray:
    """Return the height (...,) [m] of the lowest corner of cubes; arguments as in `distance_to_cube`."""
    x, y = axes[..., :3], axes[..., 3:]
    extent = np.abs(x[..., 2]) + np.abs(y[..., 2]) + np.abs(cross(x, y)[..., 2])
    return center[..., 2] - half * extent


def split_xyz(array: np.ndarray) -> Vector:
    """Return x, y and z, each (m,), of vectors (m, 3)."""
    return array[:, 0], array[:, 1], array[:, 2]


def split_wxyz(array: np.ndarray) -> Quaternion:
    """Return w, x, y and z, each (m,), of quaternions (m, 4)."""
    return array[:, 0], array[:, 1], array[:, 2], array[:, 3]


def quaternion_from_roll_pitch(roll: np.ndarray, pitch: np.ndarray) -> np.ndarray:
    """Return quaternions (4, m) of a rotation by roll (m,) about x, then by pitch (m,) about y [rad]."""
    cos_roll, sin_roll = np.cos(roll / 2), np.sin(roll / 2)
    cos_pitch, sin_pitch = np.cos(pitch / 2), np.sin(pitch / 2)
    return np.stack([cos_pitch * cos_roll, cos_pitch * sin_roll, sin_pitch * cos_roll, -sin_pitch * sin_roll])


def up_direction(quaternion: Quaternion) -> Vector:
    """Return the world's z axis in the frame rotated by unit quaternions."""
    w, x, y, z = quaternion
    return 2.0 * (x * z - w * y), 2.0 * (y * z + w * x), 1.0 - 2.0 * (x * x + y * y)


def rotate_inverse(quaternion: Quaternion, vector: Vector) -> Vector:
    """Return a world vector in the frame rotated by unit quaternions."""
    w, x, y, z = quaternion
    a, b, c = vector
    first = (b * z - c * y, c * x - a * z, a * y - b * x)  # vector x axis
    second = (first[1] * z - first[2] * y, first[2] * x - first[0] * z, first[0] * y - first[1] * x)
    return (
        a + 2.0 * (w * first[0] + second[0]),
        b + 2.0 * (w * first[1] + second[1]),
        c + 2.0 * (w * first[2] + second[2]),
    )


def rotate_about_axis(vector: Vector, axis: str, angle: np.ndarray) -> Vector:
    """Return a vector rotated by angles (m,) [rad] about "x", "y" or "z"; a leading "-" reverses the direction."""
    cosine, sine = np.cos(angle), np.sin(-angle if axis.startswith("-") else angle)
    x, y, z = vector
    if axis.endswith("x"):
        return x, cosine * y - sine * z, sine * y + cosine * z
    if axis.endswith("y"):
        return cosine * x + sine * z, y, cosine * z - sine * x
    return cosine * x - sine * y, sine * x + cosine * y, z
