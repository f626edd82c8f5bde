"""Rotations: axis-angle, matrices, the two published 6D layouts, Euler angles, random draws.

Matrices act on column vectors (x' = R x). torch unless said; every function is finite, with finite gradients,
at the zero rotation. Sources: Rodrigues' formula; Zhou et al., "On the Continuity of Rotation Representations
in Neural Networks" (6D); Shoemake, "Uniform random rotations".
"""

from typing import Literal

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from poses.errors import RotationError
from poses.kinematics import safe_normalise

Layout = Literal["columns", "rows"]
SMALL_ANGLE_SQUARED = 1e-6
UNIT_FLOOR = 1e-12


def axis_angle_to_matrix(axis_angle_rad: Float[Tensor, "*B 3"]) -> Float[Tensor, "*B 3 3"]:
    """Rodrigues: R = cos(a) I + sin(a)/a [v]x + (1 - cos(a))/a^2 v v^T, by its series near a = 0."""
    squared = axis_angle_rad.square().sum(-1)
    is_small = squared < SMALL_ANGLE_SQUARED
    angle = torch.where(is_small, torch.ones_like(squared), squared).sqrt()
    half_sine = torch.sin(angle / 2)
    by_sine = torch.where(is_small, 1 - squared / 6, torch.sin(angle) / angle)
    by_cosine = torch.where(is_small, 0.5 - squared / 24, 2 * half_sine * half_sine / (angle * angle))
    x, y, z = axis_angle_rad.unbind(-1)
    cosine = 1 - by_cosine * squared
    sx, sy, sz = by_sine * x, by_sine * y, by_sine * z
    cx, cy, cz = by_cosine * x, by_cosine * y, by_cosine * z
    entries = [
        cosine + cx * x, cx * y - sz, cx * z + sy,
        cx * y + sz, cosine + cy * y, cy * z - sx,
        cx * z - sy, cy * z + sx, cosine + cz * z,
    ]  # fmt: skip
    return torch.stack(entries, dim=-1).unflatten(-1, (3, 3))


def matrix_to_quaternion(rotation: Float[Tensor, "*B 3 3"]) -> Float[Tensor, "*B 4"]:
    """Unit quaternion (w, x, y, z) with w >= 0, from the best conditioned of its four formulas."""
    m = rotation.flatten(-2).unbind(-1)
    xx, yy, zz = m[0], m[4], m[8]
    squares = torch.stack([1 + xx + yy + zz, 1 + xx - yy - zz, 1 - xx + yy - zz, 1 - xx - yy + zz], dim=-1)
    wx, wy, wz = m[7] - m[5], m[2] - m[6], m[3] - m[1]
    xy, xz, yz = m[1] + m[3], m[2] + m[6], m[5] + m[7]
    candidates = torch.stack(
        [
            torch.stack([squares[..., 0], wx, wy, wz], dim=-1),
            torch.stack([wx, squares[..., 1], xy, xz], dim=-1),
            torch.stack([wy, xy, squares[..., 2], yz], dim=-1),
            torch.stack([wz, xz, yz, squares[..., 3]], dim=-1),
        ],
        dim=-2,
    )
    best = squares.argmax(-1)[..., None, None].expand(*squares.shape[:-1], 1, 4)
    quaternion = safe_normalise(candidates.gather(-2, best).squeeze(-2))
    return torch.where(quaternion[..., :1] < 0, -quaternion, quaternion)


def matrix_to_axis_angle(rotation: Float[Tensor, "*B 3 3"]) -> Float[Tensor, "*B 3"]:
    """Axis times angle in radians, angle in [0, pi]; the inverse of `axis_angle_to_matrix` up to full turns."""
    quaternion = matrix_to_quaternion(rotation)
    w, vector = quaternion[..., 0], quaternion[..., 1:]
    squared = vector.square().sum(-1)
    is_small = squared < SMALL_ANGLE_SQUARED
    sine = torch.where(is_small, torch.ones_like(squared), squared).sqrt()
    factor = torch.where(is_small, 2 + squared / 3, 2 * torch.atan2(sine, w) / sine)
    return vector * factor.unsqueeze(-1)


def six_d_to_matrix(six_d: Float[Tensor, "*B 6"], layout: Layout) -> Float[Tensor, "*B 3 3"]:
    """Rotation matrix by Gram-Schmidt on its first two columns.

    Args:
        six_d: Six numbers holding two columns a, b of a 3x3 matrix.
        layout: "columns": a then b, (a1 a2 a3 b1 b2 b3), as 4D-Humans has it. "rows": the 3x2 matrix [a b]
            row by row, (a1 b1 a2 b2 a3 b3), as SPIN and HMR's heirs have it. Weights made for one are
            nonsense in the other.
    """
    pair = (
        six_d.unflatten(-1, (2, 3)) if _is_columns(layout) else six_d.unflatten(-1, (3, 2)).transpose(-1, -2)
    )
    first = safe_normalise(pair[..., 0, :], UNIT_FLOOR)
    second = pair[..., 1, :]
    second = safe_normalise(second - (first * second).sum(-1, keepdim=True) * first, UNIT_FLOOR)
    return torch.stack([first, second, torch.linalg.cross(first, second, dim=-1)], dim=-1)


def matrix_to_six_d(rotation: Float[Tensor, "*B 3 3"], layout: Layout) -> Float[Tensor, "*B 6"]:
    """First two columns of a rotation matrix in the given layout; the inverse of `six_d_to_matrix`."""
    pair = rotation[..., :2]
    return (pair.transpose(-1, -2) if _is_columns(layout) else pair).flatten(-2)


def rotation_about(axis: Literal["x", "y", "z"], angle_rad: Float[Tensor, "*B"]) -> Float[Tensor, "*B 3 3"]:
    """Right-handed rotation about a coordinate axis."""
    cosine, sine = torch.cos(angle_rad), torch.sin(angle_rad)
    zero, one = torch.zeros_like(cosine), torch.ones_like(cosine)
    entries = {
        "x": [one, zero, zero, zero, cosine, -sine, zero, sine, cosine],
        "y": [cosine, zero, sine, zero, one, zero, -sine, zero, cosine],
        "z": [cosine, -sine, zero, sine, cosine, zero, zero, zero, one],
    }
    if axis not in entries:
        raise RotationError(f"unknown axis {axis!r}; wanted x, y or z")
    return torch.stack(entries[axis], dim=-1).unflatten(-1, (3, 3))


def yaw_pitch_roll_to_matrix(
    yaw_rad: Float[Tensor, "*B"], pitch_rad: Float[Tensor, "*B"], roll_rad: Float[Tensor, "*B"]
) -> Float[Tensor, "*B 3 3"]:
    """R = Rz(roll) Rx(pitch) Ry(yaw): first about the vertical (y), then up or down (x), then in the image (z)."""
    tilt = rotation_about("z", roll_rad) @ rotation_about("x", pitch_rad)
    return tilt @ rotation_about("y", yaw_rad)


def euler_to_matrix(angles_rad: Float[np.ndarray, "*B n"], order: str) -> Float[np.ndarray, "*B 3 3"]:
    """Product of axis rotations in reading order, R = R_first R_second ..., as BVH channels are meant. numpy.

    Args:
        angles_rad: One angle per letter of `order`.
        order: Axis letters, for instance "ZXY"; any number of them, repeats allowed.
    """
    if set(order.upper()) - set("XYZ") or angles_rad.shape[-1] != len(order):
        raise RotationError(
            f"Euler order {order!r} wants letters X, Y, Z and one angle for each, got angles {angles_rad.shape}"
        )
    total = np.broadcast_to(np.eye(3, dtype=angles_rad.dtype), (*angles_rad.shape[:-1], 3, 3))
    for column, letter in enumerate(order.upper()):
        cosine, sine = np.cos(angles_rad[..., column]), np.sin(angles_rad[..., column])
        turn = np.zeros_like(total)
        axis = "XYZ".index(letter)
        after, before = (axis + 1) % 3, (axis + 2) % 3
        turn[..., axis, axis] = 1
        turn[..., after, after] = turn[..., before, before] = cosine
        turn[..., before, after], turn[..., after, before] = sine, -sine
        total = total @ turn
    return total


def random_rotation_matrix(uniforms: Float[Tensor, "*B 3"]) -> Float[Tensor, "*B 3 3"]:
    """Rotations spread evenly over SO(3) from three numbers in [0, 1) each (Shoemake's quaternions)."""
    low, high = (1 - uniforms[..., 0]).sqrt(), uniforms[..., 0].sqrt()
    first, second = 2 * torch.pi * uniforms[..., 1], 2 * torch.pi * uniforms[..., 2]
    x, y = low * torch.sin(first), low * torch.cos(first)
    z, w = high * torch.sin(second), high * torch.cos(second)
    return quaternion_to_matrix(torch.stack([w, x, y, z], dim=-1))


def random_unit_vector(uniforms: Float[Tensor, "*B 2"]) -> Float[Tensor, "*B 3"]:
    """Directions spread evenly over the sphere from two numbers in [0, 1) each."""
    height = 2 * uniforms[..., 0] - 1
    radius = (1 - height * height).clamp_min(0).sqrt()
    turn = 2 * torch.pi * uniforms[..., 1]
    return torch.stack([radius * torch.cos(turn), radius * torch.sin(turn), height], dim=-1)


def quaternion_to_matrix(quaternion: Float[Tensor, "*B 4"]) -> Float[Tensor, "*B 3 3"]:
    """Rotation matrix of a unit quaternion (w, x, y, z)."""
    w, x, y, z = quaternion.unbind(-1)
    entries = [
        1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y),
        2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x),
        2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y),
    ]  # fmt: skip
    return torch.stack(entries, dim=-1).unflatten(-1, (3, 3))


def _is_columns(layout: str) -> bool:
    if layout not in ("columns", "rows"):
        raise RotationError(f"unknown 6D layout {layout!r}; wanted 'columns' (4D-Humans) or 'rows' (SPIN)")
    return layout == "columns"
