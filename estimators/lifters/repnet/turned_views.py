"""Poses turned by drawn cameras: an own term of RepNet, which the paper and its code do not have.

A pose in the body's frame is turned, imaged by a drawn camera and normalised like any 2D; from that image the networks
have to find the pose and the weak-perspective camera again. No pair of the data is used: the images are of our own
making. The pose may be the generator's (self-consistency: Chen et al., "Unsupervised 3D Pose Estimation with Geometric
Self-Supervision", CVPR 2019; there the turned pose's image is also judged, here its 3D is) or a real one, whose depth
is known. Only the latter tells a pose from its mirror image in depth, which image, camera loss and chain cannot do
(docs/results_repnet.md).

Cameras are drawn about the body: turned evenly all around its upright axis, then up or down, then about the line of
sight by normal distributions, so that they know nothing of the cameras of the 2D that is learned from. From a distance
of a few metres a person's near parts look larger, which no weak-perspective camera can explain; images that have
it teach the networks to see through it.
"""

import math
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from estimators.lifters.repnet.flat_pose import normalise_keypoints, unflatten_joints
from estimators.lifters.repnet.settings import TurnedViewsSettings
from poses.rotations import axis_angle_to_matrix

_SMALLEST_DEPTH = 0.2
"""Of a joint, in units of the person's distance: generated poses may reach behind the camera at first."""


@dataclass(frozen=True)
class TurnedViews:
    """Images of our own making, and what they show.

    Args:
        keypoints_flat: Normalised 2D, as the networks get it.
        poses_flat: Poses in the body's frame, metres.
        camera: K at the person's distance, normalised image from body frame.
        weights: Of the two losses.
    """

    keypoints_flat: Float[Tensor, "B D"]
    poses_flat: Float[Tensor, "B P"]
    camera: Float[Tensor, "B 2 3"]
    weights: Float[Tensor, " 2"]


def draw_cameras(settings: TurnedViewsSettings, rows: int, random: torch.Generator) -> Float[Tensor, "B 3 3"]:
    """Rotations, camera from body frame (x right, y down, z away)."""
    device = random.device
    around = 2 * math.pi * torch.rand(rows, generator=random, device=device)
    above, roll = torch.randn(2, rows, generator=random, device=device)
    above = math.radians(settings.elevation_deg) + math.radians(settings.elevation_deviation_deg) * above
    roll = math.radians(settings.roll_deviation_deg) * roll
    zero = torch.zeros_like(around)
    turns = (
        torch.stack([zero, zero, roll], 1),
        torch.stack([above, zero, zero], 1),
        torch.stack([zero, around, zero], 1),
    )
    by_roll, by_elevation, by_azimuth = (axis_angle_to_matrix(turn) for turn in turns)
    return by_roll @ by_elevation @ by_azimuth


def turned_views(
    settings: TurnedViewsSettings,
    poses_flat: Float[Tensor, "B P"],
    availability: Float[Tensor, "B J"] | None,
    random: torch.Generator,
) -> TurnedViews:
    """Images of poses by drawn cameras.

    Args:
        settings: How cameras are drawn.
        poses_flat: In the body's frame, centred.
        availability: Joints that are 0 here are missing in the images, too.
        random: Where cameras come from.
    """
    joints_m = unflatten_joints(poses_flat, 3)
    rotation = draw_cameras(settings, len(joints_m), random)
    turned_m = joints_m @ rotation.transpose(1, 2)
    image = turned_m[..., :2]
    if settings.distance_m is not None:
        least, most = settings.distance_m
        shares = torch.rand(len(joints_m), 1, generator=random, device=random.device)
        distance_m = least + (most - least) * shares
        depth = (1 + turned_m[..., 2] / distance_m).clamp_min(_SMALLEST_DEPTH)
        image = image / depth[..., None]
    normalised = normalise_keypoints(image, availability)
    camera = rotation[:, :2] / normalised.spread[:, None, None]
    weights = camera.new_tensor([settings.pose_weight, settings.camera_weight])
    return TurnedViews(normalised.flat, poses_flat, camera, weights)


def turned_losses(
    views: TurnedViews, poses_flat: Float[Tensor, "B P"], camera_flat: Float[Tensor, "B 6"]
) -> Float[Tensor, " 2"]:
    """What was found of turned views against what they show, means over the batch, unweighted.

    Returns:
        Mean distance of joints in metres, and Frobenius distance of cameras in units of the true scale (for
        small errors about sqrt 2 times the angle in radians).
    """
    offset = unflatten_joints(poses_flat, 3) - unflatten_joints(views.poses_flat, 3)
    scale = views.camera.norm(dim=(1, 2)) / math.sqrt(2)
    difference = (camera_flat.view(-1, 2, 3) - views.camera).norm(dim=(1, 2)) / scale
    return torch.stack([offset.norm(dim=2).mean(), difference.mean()])
