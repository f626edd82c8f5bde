"""PoseAug's discriminators: body parts by the Gram matrices of their unit bones (3D), and 2D projections.

Source: Gong et al., CVPR 2021, section 3.3, and the released code. Each branch of the 3D discriminator sees
a masked K x K Gram matrix of which only the part's own rows and columns are not zero; we feed only those,
which is exact, since zero inputs give zero outputs and zero gradients, as long as weights and biases are
drawn for the full width K^2 (`full_inputs`). Scores have no sigmoid; 1 means real.
"""

import torch
from jaxtyping import Float
from torch import Tensor, nn

from augment.poseaug.geometry import bones_of, lengths_and_directions
from augment.poseaug.settings import DiscriminatorSettings
from poses.skeleton import Skeleton

LEAKY_SLOPE = 0.01


class PartBranch(nn.Module):
    """Scores one body part's Gram matrix, of n bones."""

    def __init__(self, n_bones: int, full_inputs: int, settings: DiscriminatorSettings) -> None:
        super().__init__()
        width, neck = settings.part_width, settings.part_neck
        self.layer_1 = reduced_linear(n_bones * n_bones, full_inputs, width)
        self.layer_2 = nn.Linear(width, width)
        self.layer_3 = nn.Linear(width, width)
        self.layer_last = nn.Linear(width, neck)
        self.score = nn.Linear(neck, 1)
        for layer in (self.layer_2, self.layer_3, self.layer_last, self.score):
            nn.init.kaiming_normal_(layer.weight)

    def forward(self, gram: Float[Tensor, "B E"]) -> Float[Tensor, "B 1"]:
        """(B, n * n) -> (B, 1)."""
        first = nn.functional.leaky_relu_(self.layer_1(gram), LEAKY_SLOPE)
        second = nn.functional.leaky_relu_(self.layer_2(first), LEAKY_SLOPE)
        joined = self.layer_3(second) + first
        return self.score(nn.functional.leaky_relu_(self.layer_last(joined), LEAKY_SLOPE))


def reduced_linear(inputs: int, full_inputs: int, outputs: int) -> nn.Linear:
    """The columns that matter of a Linear with `full_inputs` inputs, initialised as the full one would be."""
    layer = nn.Linear(inputs, outputs)
    nn.init.normal_(layer.weight, std=(2.0 / full_inputs) ** 0.5)
    nn.init.uniform_(layer.bias, -(full_inputs**-0.5), full_inputs**-0.5)
    return layer


class BodyPartDiscriminator(nn.Module):
    """Scores the bone angles of each body part (D_3d); blind to place, view and bone lengths."""

    entries: Tensor

    def __init__(self, settings: DiscriminatorSettings, skeleton: Skeleton, safe_norms: bool = True) -> None:
        super().__init__()
        self._width = settings.part_width
        self.skeleton = skeleton
        self.safe_norms = safe_norms
        self.branches = nn.ModuleDict()
        rows: list[int] = []
        columns: list[int] = []
        self._sizes: list[int] = []
        for part in skeleton.body_parts:
            bones = sorted(int(bone) for bone in skeleton.part_bone_index(part))
            self.branches[part] = PartBranch(len(bones), skeleton.n_bones**2, settings)
            rows += [row for row in bones for _ in bones]
            columns += [column for _ in bones for column in bones]
            self._sizes.append(len(bones) ** 2)
        entries = torch.tensor(rows) * skeleton.n_bones + torch.tensor(columns)
        self.register_buffer("entries", entries, persistent=False)

    def forward(self, joints_m: Float[Tensor, "B J 3"]) -> Float[Tensor, "B P"]:
        """Scores of poses in any frame, one per body part in the skeleton's order."""
        _, directions = lengths_and_directions(bones_of(joints_m, self.skeleton), self.safe_norms)
        gram = (directions @ directions.transpose(1, 2)).flatten(1)
        parts = gram.index_select(1, self.entries).split(self._sizes, dim=1)
        return torch.cat(
            [branch(part) for branch, part in zip(self.branches.values(), parts, strict=True)], dim=1
        )

    @property
    def published_parameter_count(self) -> int:
        """Parameters of the same network with full-width first layers, as the released code counts them."""
        missing = sum(self.skeleton.n_bones**2 - size for size in self._sizes)
        return sum(parameter.numel() for parameter in self.parameters()) + missing * self._width


class ProjectionDiscriminator(nn.Module):
    """Scores raw screen keypoints: pose, view and place in the image (D_2d)."""

    def __init__(self, settings: DiscriminatorSettings, skeleton: Skeleton) -> None:
        super().__init__()
        width = settings.projection_width
        self.pose_layer_1 = nn.Linear(2 * skeleton.n_joints, width)
        self.pose_layer_2 = nn.Linear(width, width)
        self.pose_layer_3 = nn.Linear(width, width)
        self.pose_layer_4 = nn.Linear(width, width)
        self.layer_last = nn.Linear(width, width)
        self.layer_pred = nn.Linear(width, 1)
        for part in self.modules():
            if isinstance(part, nn.Linear):
                nn.init.kaiming_normal_(part.weight)

    def forward(self, keypoints_screen: Float[Tensor, "B J 2"]) -> Float[Tensor, "B 1"]:
        """(B, J, 2) screen -> (B, 1)."""
        first = nn.functional.leaky_relu_(self.pose_layer_1(keypoints_screen.flatten(1)), LEAKY_SLOPE)
        second = nn.functional.leaky_relu_(self.pose_layer_2(first), LEAKY_SLOPE)
        third = nn.functional.leaky_relu_(self.pose_layer_3(second) + first, LEAKY_SLOPE)
        last = nn.functional.leaky_relu_(self.layer_last(self.pose_layer_4(third)), LEAKY_SLOPE)
        return self.layer_pred(last)
