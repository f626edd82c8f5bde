"""SemGCN as the paper's code computes it, for comparison only: what posemill's form is measured against.

Written from spec 1.1, operation by operation: two products per graph convolution, each mixed by a masked (J, J) matrix
whose softmax is taken anew in every layer and call; BatchNorm over transposed features; non-local scores by a 1x1
convolution over all (joint, group) pairs of concatenated features; the whole batch at once.
"""

from collections.abc import Mapping

import torch
from torch import Tensor
from torch.nn import functional

from estimators.lifters.graphs.joint_graphs import adjacency_mask, joint_groups
from poses.skeleton import Skeleton


class PublishedSemGCN:
    """The published forward pass on a published state dict.

    Args:
        state: `SemGCNLifter.to_published_state()`.
        skeleton: Of its joints.
        training: Normalise by the batch, and keep gradients.
    """

    def __init__(self, state: Mapping[str, Tensor], skeleton: Skeleton, training: bool = False) -> None:
        self._state = {name: value.detach().clone() for name, value in state.items()}
        self._training = training
        if training:
            for name, value in self._state.items():
                value.requires_grad_(value.is_floating_point() and "running" not in name)
        self._mask = adjacency_mask(skeleton).to(state["gconv_output.bias"].device)
        self._eye = torch.eye(skeleton.n_joints, device=self._mask.device)
        grouped = [skeleton.index(joint) for group in joint_groups(skeleton) for joint in group]
        self._grouped = torch.tensor(grouped, device=self._mask.device)
        self._restored = torch.argsort(self._grouped)
        self._layers = sorted(
            {int(name.split(".")[1]) for name in self._state if name.startswith("gconv_layers.")}
        )

    def __call__(self, keypoints_screen: Tensor) -> Tensor:
        """(B, J, 2) -> (B, J, 3)."""
        features = self._graph_block("gconv_input.0", keypoints_screen)
        if "gconv_input.1.nonlocal.theta.weight" in self._state:
            features = self._non_local("gconv_input.1.nonlocal", features)
        for layer in self._layers:
            name = f"gconv_layers.{layer}"
            if f"{name}.nonlocal.theta.weight" in self._state:
                features = self._non_local(f"{name}.nonlocal", features)
            else:
                inner = self._graph_block(f"{name}.gconv1", features)
                features = features + self._graph_block(f"{name}.gconv2", inner)
        return self._graph_convolution("gconv_output", features)

    def parameters(self) -> list[Tensor]:
        """Tensors that get a gradient in training."""
        return [value for value in self._state.values() if value.requires_grad]

    def _graph_convolution(self, name: str, features: Tensor) -> Tensor:
        weight, e, bias = (self._state[f"{name}.{key}"] for key in ("W", "e", "bias"))
        own, others = torch.matmul(features, weight[0]), torch.matmul(features, weight[1])
        logits = torch.full_like(self._eye, -9e15)
        logits[self._mask] = e[0]
        adjacency = functional.softmax(logits, dim=1)
        mixed = torch.matmul(adjacency * self._eye, own)
        return mixed + torch.matmul(adjacency * (1 - self._eye), others) + bias

    def _graph_block(self, name: str, features: Tensor) -> Tensor:
        mixed = self._graph_convolution(f"{name}.gconv", features).transpose(1, 2)
        return torch.relu(self._batch_norm(f"{name}.bn", mixed).transpose(1, 2))

    def _batch_norm(self, name: str, values: Tensor) -> Tensor:
        keys = ("running_mean", "running_var", "weight", "bias")
        state = (self._state[f"{name}.{key}"] for key in keys)
        return functional.batch_norm(values, *state, training=self._training)

    def _non_local(self, name: str, features: Tensor) -> Tensor:
        x = features[:, self._grouped].transpose(1, 2)
        rows, _, joints = x.shape

        def convolution(part: str, values: Tensor) -> Tensor:
            return functional.conv1d(
                values, self._state[f"{name}.{part}.weight"], self._state[f"{name}.{part}.bias"]
            )

        g = functional.max_pool1d(convolution("g.0", x), 2)
        phi = functional.max_pool1d(convolution("phi.0", x), 2)
        theta = convolution("theta", x)
        groups = phi.shape[2]
        pairs = torch.cat(
            [
                theta.unsqueeze(3).expand(-1, -1, -1, groups),
                phi.unsqueeze(2).expand(-1, -1, joints, -1),
            ],
            dim=1,
        )
        score = functional.conv2d(pairs, self._state[f"{name}.concat_project.0.weight"])
        weights = torch.relu(score).view(rows, joints, groups) / groups
        y = torch.matmul(weights, g.transpose(1, 2)).transpose(1, 2).contiguous()
        z = self._batch_norm(f"{name}.W.1", convolution("W.0", y)) + x
        return z[:, :, self._restored].transpose(1, 2)
