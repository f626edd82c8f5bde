"""RepNet's critic: how far a pose is from real ones, by its coordinates and by its kinematic chain. Low means real."""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor, nn

from estimators.lifters.repnet.chain import chain_gram, chain_matrix
from estimators.lifters.repnet.dense_path import DensePath, LayerShape, Learn
from estimators.lifters.repnet.settings import CriticSettings
from poses.skeleton import Skeleton


@dataclass(frozen=True)
class CriticNodes:
    """What a pass by hand keeps for the way back.

    Args:
        bones: B = X C.
        pose, chain, joined: Nodes of the three paths.
    """

    bones: Float[Tensor, "B 3 K"]
    pose: list[Tensor]
    chain: list[Tensor]
    joined: list[Tensor]


class KinematicChainCritic(nn.Module):
    """Wasserstein critic on poses in the body's frame; 2,373,401 parameters as published.

    One path sees the 3 J coordinates, one the K x K Gram matrix psi of the chain's bone vectors; a last one
    joins them.
    """

    matrix: Tensor

    def __init__(self, settings: CriticSettings, skeleton: Skeleton) -> None:
        super().__init__()
        self.settings = settings
        self.skeleton = skeleton
        matrix = chain_matrix(skeleton, settings.chain)
        pose, chain, slope = settings.pose_width, settings.chain_width, settings.leaky_slope
        self.pose = DensePath(
            [
                LayerShape(3 * skeleton.n_joints, pose),
                LayerShape(pose, pose),
                LayerShape(pose, pose, skip=1),
                LayerShape(pose, pose, is_activated=False),
            ],
            slope,
        )
        self.chain = DensePath(
            [
                LayerShape(matrix.shape[1] ** 2, chain),
                LayerShape(chain, chain),
                LayerShape(chain, chain, is_activated=False, skip=1),
            ],
            slope,
        )
        joined = settings.joined_width
        self.joined = DensePath(
            [LayerShape(pose + chain, joined), LayerShape(joined, 1, is_activated=False)], slope
        )
        self.register_buffer("matrix", matrix.clone(), persistent=False)

    def forward(self, poses_flat: Float[Tensor, "B P"]) -> Float[Tensor, "B 1"]:
        """(B, 3 J) coordinate by coordinate -> (B, 1); low for real poses."""
        return self.nodes(poses_flat).joined[-1]

    def psi(self, poses_flat: Float[Tensor, "B P"]) -> Float[Tensor, "B K K"]:
        """Gram matrix of the chain's bone vectors."""
        return chain_gram(self.bones(poses_flat))

    def bones(self, poses_flat: Float[Tensor, "B P"]) -> Float[Tensor, "B 3 K"]:
        """B = X C."""
        return poses_flat.unflatten(1, (3, -1)) @ self.matrix

    def nodes(self, poses_flat: Float[Tensor, "B P"]) -> CriticNodes:
        """All layers' outputs."""
        bones = self.bones(poses_flat)
        pose = self.pose.nodes(poses_flat)
        chain = self.chain.nodes(chain_gram(bones).flatten(1))
        joined = self.joined.nodes(torch.cat([pose[-1], chain[-1]], dim=1))
        return CriticNodes(bones, pose, chain, joined)

    def pull_back(self, nodes: CriticNodes, gradient: Float[Tensor, "B 1"], learn: Learn) -> Tensor:
        """Gradient of the poses from that of the scores; psi = B^T B gives 2 B dpsi, symmetrised."""
        at_joined = self.joined.pull_back(nodes.joined, gradient, learn)
        split = nodes.pose[-1].shape[1]
        at_pose = self.pose.pull_back(nodes.pose, at_joined[:, :split], learn)
        at_chain = self.chain.pull_back(nodes.chain, at_joined[:, split:], learn)
        at_psi = at_chain.view(len(at_chain), self.matrix.shape[1], -1)
        at_bones = nodes.bones @ (at_psi + at_psi.transpose(1, 2))
        return at_pose + (at_bones @ self.matrix.t()).flatten(1)

    def push_tangents(self, nodes: CriticNodes, first_row: int, tangent: Float[Tensor, "B P"]) -> None:
        """Outputs at the rows from `first_row` on become their changes when the poses change by `tangent`."""
        bones, change = nodes.bones[first_row:], self.bones(tangent)
        product = bones.transpose(1, 2) @ change
        at_psi = (product + product.transpose(1, 2)).flatten(1)
        pose = self.pose.push_tangents(nodes.pose, first_row, tangent)
        chain = self.chain.push_tangents(nodes.chain, first_row, at_psi)
        self.joined.push_tangents(nodes.joined, first_row, torch.cat([pose, chain], dim=1))
