"""Laws of rotations."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from poses.errors import RotationError
from poses.rotations import (
    axis_angle_to_matrix,
    euler_to_matrix,
    matrix_to_axis_angle,
    matrix_to_six_d,
    random_rotation_matrix,
    random_unit_vector,
    rotation_about,
    six_d_to_matrix,
    yaw_pitch_roll_to_matrix,
)

few = settings(max_examples=25, deadline=None)
coordinates = st.floats(-3.0, 3.0, allow_nan=False)
vectors = st.tuples(coordinates, coordinates, coordinates)
EYE = torch.eye(3, dtype=torch.float64)


@few
@given(vector=vectors)
def test_axis_angle_and_back(vector: tuple[float, float, float]) -> None:
    axis_angle = torch.tensor([vector], dtype=torch.float64)
    matrix = axis_angle_to_matrix(axis_angle)
    torch.testing.assert_close(matrix[0] @ matrix[0].T, EYE, atol=1e-9, rtol=0)
    assert torch.linalg.det(matrix)[0] == pytest.approx(1.0)
    torch.testing.assert_close(axis_angle_to_matrix(matrix_to_axis_angle(matrix)), matrix, atol=1e-9, rtol=0)
    torch.testing.assert_close((matrix @ axis_angle[..., None])[..., 0], axis_angle, atol=1e-9, rtol=0)


@pytest.mark.parametrize("angle", [0.0, 1e-9, 1e-4, 9.9e-4, 1.01e-3, 1.0, 3.14159])
def test_matches_the_matrix_exponential_at_every_size(angle: float) -> None:
    axis = torch.tensor([0.6, 0.0, 0.8], dtype=torch.float64) * angle
    x, y, z = axis.tolist()
    cross = torch.tensor([[0, -z, y], [z, 0, -x], [-y, x, 0]], dtype=torch.float64)
    torch.testing.assert_close(axis_angle_to_matrix(axis), torch.linalg.matrix_exp(cross), atol=1e-12, rtol=0)
    torch.testing.assert_close(matrix_to_axis_angle(axis_angle_to_matrix(axis)), axis, atol=1e-9, rtol=0)


def test_the_zero_rotation_has_finite_gradients() -> None:
    axis_angle = torch.zeros(2, 3, requires_grad=True)
    weights = torch.arange(9.0).reshape(3, 3)
    (axis_angle_to_matrix(axis_angle) * weights).sum().backward()
    assert axis_angle.grad is not None
    torch.testing.assert_close(axis_angle.grad[0], torch.tensor([2.0, -4.0, 2.0]))
    matrix = torch.eye(3).repeat(1, 1, 1).requires_grad_()
    matrix_to_axis_angle(matrix).sum().backward()
    assert matrix.grad is not None
    assert torch.isfinite(matrix.grad).all()
    six_d = torch.zeros(1, 6, requires_grad=True)
    six_d_to_matrix(six_d, "rows").sum().backward()
    assert six_d.grad is not None
    assert torch.isfinite(six_d.grad).all()


@pytest.mark.parametrize("layout", ["rows", "columns"])
def test_six_d_and_back(layout: str) -> None:
    rotations = random_rotation_matrix(torch.rand(20, 3, dtype=torch.float64, generator=_generator()))
    torch.testing.assert_close(six_d_to_matrix(matrix_to_six_d(rotations, layout), layout), rotations)


def test_the_layouts_order_the_numbers_as_they_say() -> None:
    matrix = torch.arange(9.0).reshape(3, 3)
    assert matrix_to_six_d(matrix, "columns").tolist() == [0, 3, 6, 1, 4, 7]
    assert matrix_to_six_d(matrix, "rows").tolist() == [0, 1, 3, 4, 6, 7]


@pytest.mark.parametrize("axis", ["x", "y", "z"])
def test_axis_rotations_agree_with_axis_angle(axis: str) -> None:
    angle = torch.tensor([0.3, -2.0], dtype=torch.float64)
    vector = torch.zeros(2, 3, dtype=torch.float64)
    vector[:, "xyz".index(axis)] = angle
    torch.testing.assert_close(rotation_about(axis, angle), axis_angle_to_matrix(vector))


def test_yaw_comes_first_and_roll_last() -> None:
    yaw, pitch, roll = torch.tensor([0.4, 0.2, -0.1], dtype=torch.float64)
    expected = rotation_about("z", roll) @ rotation_about("x", pitch) @ rotation_about("y", yaw)
    torch.testing.assert_close(yaw_pitch_roll_to_matrix(yaw, pitch, roll), expected)


@pytest.mark.parametrize("order", ["ZXY", "xyz", "YZX", "X", "ZYZ"])
def test_euler_angles_multiply_in_reading_order(order: str) -> None:
    angles = np.random.default_rng(0).normal(size=(4, len(order)))
    expected = EYE.repeat(4, 1, 1)
    for column, letter in enumerate(order.lower()):
        expected = expected @ rotation_about(letter, torch.from_numpy(angles[:, column].copy()))
    np.testing.assert_allclose(euler_to_matrix(angles, order), expected.numpy(), atol=1e-12)


def test_random_rotations_are_rotations_and_spread_evenly() -> None:
    rotations = random_rotation_matrix(torch.rand(20_000, 3, dtype=torch.float64, generator=_generator()))
    torch.testing.assert_close(rotations @ rotations.transpose(1, 2), EYE.expand(20_000, 3, 3))
    assert (torch.linalg.det(rotations) > 0.99).all()
    assert rotations.mean(0).abs().max() < 0.03
    torch.testing.assert_close(
        rotations.square().mean(0), torch.full((3, 3), 1 / 3, dtype=torch.float64), atol=0.02, rtol=0
    )
    directions = random_unit_vector(torch.rand(20_000, 2, generator=_generator()))
    torch.testing.assert_close(directions.norm(dim=1), torch.ones(20_000))
    assert directions.mean(0).abs().max() < 0.03


def test_unknown_layouts_and_orders_are_refused() -> None:
    with pytest.raises(RotationError, match=r"'sideways'.*columns"):
        six_d_to_matrix.__wrapped__(torch.zeros(1, 6), "sideways")
    with pytest.raises(RotationError, match="ZXW"):
        euler_to_matrix(np.zeros((1, 3)), "ZXW")


def _generator() -> torch.Generator:
    return torch.Generator().manual_seed(7)
