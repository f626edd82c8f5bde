"""PoseAug's augmentor: bone angle, bone length and rigid motion steps, networks on the source pose.

Source: Gong et al., CVPR 2021, Eqs. 4 to 6, as the released code has them: directions are renormalised after
the residual, torso bones keep their direction, length ratios are tied left and right and limited by a tanh,
depth is a square. Where we differ: bones point from parent to child (the sign of a learned residual), and
norms are safe unless `compat.unsafe_norms` asks otherwise. All heads are conditioned on the source pose, not
on the previous step.
"""

from dataclasses import dataclass, replace
from itertools import pairwise
from math import pi

import torch
from jaxtyping import Float
from torch import Tensor, nn

from augment.poseaug.geometry import (
    bones_of,
    joints_of,
    lengths_and_directions,
    rotation_from_axis_angle,
    skeleton_tensors,
)
from augment.poseaug.settings import GeneratorSettings
from augment.windows import POSE, WindowShape
from poses.skeleton import Skeleton

LEAKY_SLOPE = 0.01
HEADS = ("bone_angle", "bone_length", "rotation", "translation")


@dataclass(frozen=True)
class Augmented3D:
    """What the augmentor makes of B source poses, or of the B = W·T frames of W windows.

    Args:
        bone_angle_joints_m: (B, J, 3) after the bone angle step, root where the source's was.
        bone_angle_change: (B, K) 1 - cos between old and new direction.
        bone_length_joints_m: (B, J, 3) after the bone length step.
        bone_length_ratio: (W, G) relative change of each length group.
        joints_camera_m: (B, J, 3) after the rigid motion: the augmented pose.
        axis_angle_rad: (W, 3).
        translation_m: (W, 3) position of the root before the camera, in a window's output frame.
    """

    bone_angle_joints_m: Float[Tensor, "B J 3"]
    bone_angle_change: Float[Tensor, "B K"]
    bone_length_joints_m: Float[Tensor, "B J 3"]
    bone_length_ratio: Float[Tensor, "W G"]
    joints_camera_m: Float[Tensor, "B J 3"]
    axis_angle_rad: Float[Tensor, "W 3"]
    translation_m: Float[Tensor, "W 3"]

    def output_frames(self, shape: WindowShape) -> "Augmented3D":
        """The windows' output frames alone: W poses."""
        frames = ("bone_angle_joints_m", "bone_angle_change", "bone_length_joints_m", "joints_camera_m")
        return replace(self, **{name: shape.output_frames(getattr(self, name)) for name in frames})


class Head(nn.Module):
    """Linear-BatchNorm-LeakyReLU layers and a linear output; no skip connection, no dropout."""

    def __init__(self, inputs: int, outputs: int, settings: GeneratorSettings) -> None:
        super().__init__()
        width = settings.width
        widths = [inputs] + [width] * (1 + 2 * settings.blocks)
        self.layers = nn.ModuleList(nn.Linear(a, b) for a, b in pairwise(widths))
        self.norms = nn.ModuleList(nn.BatchNorm1d(width) for _ in self.layers)
        self.output = nn.Linear(width, outputs)
        for part in self.modules():
            if isinstance(part, nn.Linear):
                nn.init.kaiming_normal_(part.weight)

    def pairs(self) -> list[tuple[nn.Linear, nn.BatchNorm1d]]:
        """Hidden layers, each with its normalisation."""
        layers = [part for part in self.layers if isinstance(part, nn.Linear)]
        norms = [part for part in self.norms if isinstance(part, nn.BatchNorm1d)]
        return list(zip(layers, norms, strict=True))

    def forward(self, features: Float[Tensor, "B F"]) -> Float[Tensor, "B O"]:
        """(B, inputs) -> (B, outputs)."""
        hidden = features
        for layer, norm in zip(self.layers, self.norms, strict=True):
            hidden = nn.functional.leaky_relu_(norm(layer(hidden)), LEAKY_SLOPE)
        return self.output(hidden)


class BoneAngleStep(nn.Module):
    """Turns every bone by a residual on its direction; lengths and the root stay (BA operation, Eq. 4)."""

    frozen: Tensor

    def __init__(self, settings: GeneratorSettings, skeleton: Skeleton) -> None:
        super().__init__()
        self.skeleton = skeleton
        self.head = Head(3 * skeleton.n_joints + settings.noise_size, 3 * skeleton.n_bones, settings)
        frozen = skeleton.frozen_direction_bones if settings.freeze_torso_directions else ()
        keep = torch.zeros(skeleton.n_bones, 1, dtype=torch.bool)
        keep[torch.tensor(skeleton.bone_indices(frozen))] = True
        self.register_buffer("frozen", keep, persistent=False)

    def forward(self, features: Tensor, directions: Tensor, safe: bool) -> tuple[Tensor, Tensor]:
        """New unit directions (B, K, 3) and their change 1 - cos (B, K)."""
        residual = self.head(features).view_as(directions)
        _, turned = lengths_and_directions(directions + residual, safe)
        turned = torch.where(self.frozen, directions, turned)
        change = torch.where(self.frozen[:, 0], 0.0, 1.0 - (turned * directions).sum(-1))
        return turned, change


class BoneLengthStep(nn.Module):
    """One length ratio per group of bones, left and right tied (BL operation, Eq. 5)."""

    movable: Tensor

    def __init__(self, settings: GeneratorSettings, skeleton: Skeleton) -> None:
        super().__init__()
        self.limit = settings.bone_length_limit
        inputs = 3 * skeleton.n_joints + skeleton.n_bones + settings.noise_size
        self.head = Head(inputs, skeleton.n_bone_groups, settings)
        movable = torch.ones(skeleton.n_bone_groups)
        if settings.freeze_lengths:
            frozen = skeleton.bone_group_index[skeleton.bone_indices(skeleton.frozen_length_bones)]
            movable[torch.tensor(frozen)] = 0.0
        self.register_buffer("movable", movable, persistent=False)

    def forward(self, features: Tensor) -> Float[Tensor, "B G"]:
        """Relative change of each length group, within +-limit."""
        return self.limit * torch.tanh(self.head(features) * self.movable)


class RigidMotionStep(nn.Module):
    """A rotation about the root and a new place before the camera (RT operation, Eq. 6)."""

    def __init__(self, settings: GeneratorSettings, skeleton: Skeleton) -> None:
        super().__init__()
        inputs = 3 * skeleton.n_joints + settings.noise_size
        self.rotation_head = Head(inputs, 3, settings)
        self.translation_head = Head(inputs, 3, settings)

    def forward(self, rotation_features: Tensor, translation_features: Tensor) -> tuple[Tensor, Tensor]:
        """Axis-angle vector (B, 3), each entry within +-pi, and translation (B, 3) with depth >= 0."""
        axis_angle_rad = pi * torch.tanh(self.rotation_head(rotation_features))
        raw = self.translation_head(translation_features)
        return axis_angle_rad, torch.cat([raw[:, :2], raw[:, 2:].square()], dim=1)


class PoseAugGenerator(nn.Module):
    """The augmentor: source poses and noise in, augmented poses in the camera frame out."""

    def __init__(self, settings: GeneratorSettings, skeleton: Skeleton, safe_norms: bool = True) -> None:
        super().__init__()
        self.settings = settings
        self.skeleton = skeleton
        self.safe_norms = safe_norms
        self.bone_angle = BoneAngleStep(settings, skeleton)
        self.bone_length = BoneLengthStep(settings, skeleton)
        self.rigid_motion = RigidMotionStep(settings, skeleton)

    def draw_noise(self, rows: int, generator: torch.Generator) -> Float[Tensor, "B 4 N"]:
        """Standard normal noise for every head, in the order of HEADS."""
        shape = (rows, len(HEADS), self.settings.noise_size)
        return torch.randn(shape, generator=generator, device=generator.device)

    def forward(
        self, joints_m: Float[Tensor, "B J 3"], noise: Float[Tensor, "W 4 N"], shape: WindowShape = POSE
    ) -> Augmented3D:
        """Augment poses.

        Windows (our addition, the published code has none): all frames get the window's noise; bones are turned frame
        by frame, as smoothly as the source moves; body, rotation and place are those of the output frame, and the
        person goes where the source goes, turned with it, with steps that grow with the body.

        Args:
            joints_m: Source poses in metres, any root position (it is kept until the rigid motion).
            noise: As `draw_noise` gives it, for each pose or window.
            shape: Of the windows.
        """
        root_m = joints_m[:, self.skeleton.root_index : self.skeleton.root_index + 1]
        pose = (joints_m - root_m).flatten(1)
        lengths_m, directions = lengths_and_directions(bones_of(joints_m, self.skeleton), self.safe_norms)
        angle_noise, length_noise, rotation_noise, translation_noise = noise.unbind(1)
        angle_features = torch.cat([pose, shape.on_frames(angle_noise)], 1)
        turned, change = self.bone_angle(angle_features, directions, self.safe_norms)
        angle_joints = joints_of(turned * lengths_m, root_m, self.skeleton)
        pose, lengths = shape.output_frames(pose), shape.output_frames(lengths_m[..., 0])
        ratio = self.bone_length(torch.cat([pose, lengths, length_noise], 1))
        group = skeleton_tensors(self.skeleton, str(joints_m.device)).group
        growth = 1.0 + ratio.index_select(1, group)
        new_lengths_m = lengths_m * shape.on_frames(growth).unsqueeze(-1)
        length_joints_root = joints_of(turned * new_lengths_m, torch.zeros_like(root_m), self.skeleton)
        axis_angle_rad, translation_m = self.rigid_motion(
            torch.cat([pose, rotation_noise], 1), torch.cat([pose, translation_noise], 1)
        )
        rotation = shape.on_frames(rotation_from_axis_angle(axis_angle_rad))
        moving = length_joints_root
        if shape.temporal:
            path_m = root_m - root_m[shape.anchors(len(root_m)).to(root_m.device)]
            steps = (lengths * growth).sum(1) / lengths.sum(1)
            moving = length_joints_root + path_m * shape.on_frames(steps)[:, None, None]
        placed = moving @ rotation.transpose(1, 2) + shape.on_frames(translation_m).unsqueeze(1)
        return Augmented3D(
            bone_angle_joints_m=angle_joints,
            bone_angle_change=change,
            bone_length_joints_m=length_joints_root + root_m,
            bone_length_ratio=ratio,
            joints_camera_m=placed,
            axis_angle_rad=axis_angle_rad,
            translation_m=translation_m,
        )
