"""The trained augmentor for mass generation: BatchNorm folded, same bytes for any batch size.

Equal to `PoseAugGenerator` in evaluation mode to float32 rounding. Rows are worked on in blocks of fixed
size, the last one filled up, so that a row's result depends on nothing but the row: not on the batch size,
nor on its neighbours. 1,024 rows are where the matrix products run best on CPUs (the activations of two
layers, 2 MB, stay in the cache). The geometry has the rows as innermost axis, (K, 3, rows), so that its small
operations are wide and skeleton gathers copy whole rows. One instance serves one thread.
"""

from dataclasses import dataclass
from math import pi

import torch
from jaxtyping import Float
from torch import Tensor

from augment.errors import AugmentError
from augment.poseaug.generator import LEAKY_SLOPE, Head, PoseAugGenerator
from augment.poseaug.geometry import TINY, skeleton_tensors
from augment.windows import POSE, WindowShape

BLOCK = 1024


@dataclass(frozen=True)
class FrozenAugmented:
    """What the frozen augmentor makes of B source poses.

    Args:
        joints_camera_m: (B, J, 3) augmented pose before the camera.
        bone_angle_change: (B, K) 1 - cos between old and new bone direction.
        bone_length_ratio: (B, G) relative change of each length group.
        axis_angle_rad: (B, 3).
        translation_m: (B, 3) position of the root.
    """

    joints_camera_m: Float[Tensor, "B J 3"]
    bone_angle_change: Float[Tensor, "B K"]
    bone_length_ratio: Float[Tensor, "B G"]
    axis_angle_rad: Float[Tensor, "B 3"]
    translation_m: Float[Tensor, "B 3"]


@dataclass(frozen=True)
class _FoldedHead:
    """Weights (inputs, outputs) and biases of one head, BatchNorm folded in; the last stays transposed."""

    weights: tuple[Tensor, ...]
    biases: tuple[Tensor, ...]
    output_weight: Tensor
    output_bias: Tensor


class FrozenGenerator:
    """Folded copy of a trained generator; later training of the original does not change it.

    Args:
        generator: The trained augmentor; its BatchNorm running statistics are folded into the weights.
        dtype: Of the matrix products, float32 or bfloat16; geometry is float32 always.
    """

    def __init__(self, generator: PoseAugGenerator, dtype: torch.dtype = torch.float32) -> None:
        if dtype not in (torch.float32, torch.bfloat16):
            raise AugmentError(f"frozen augmentor computes in float32 or bfloat16, got {dtype}")
        self.skeleton = generator.skeleton
        self.settings = generator.settings
        self.dtype = dtype
        self.device = next(generator.parameters()).device
        motion = generator.rigid_motion
        heads = (
            generator.bone_angle.head,
            generator.bone_length.head,
            motion.rotation_head,
            motion.translation_head,
        )
        self._pose = 3 * self.skeleton.n_joints
        self._noise = self.settings.noise_size
        self._heads = tuple(self._fold(head) for head in heads)
        self._frozen_bones = torch.nonzero(generator.bone_angle.frozen[:, 0])[:, 0].tolist()
        self._ratio_limit = generator.bone_length.limit
        self._movable = generator.bone_length.movable.unsqueeze(1)
        self._index = skeleton_tensors(self.skeleton, str(self.device))
        self._make_buffers()

    def __call__(
        self, joints_m: Float[Tensor, "B J 3"], noise: Float[Tensor, "W 4 N"], shape: WindowShape = POSE
    ) -> FrozenAugmented:
        """Augment poses, or windows as `PoseAugGenerator` does.

        Args:
            joints_m: Source poses in metres, any root position.
            noise: Standard normal numbers for each head, in the order of `generator.HEADS`, of each pose or window.
            shape: Of the windows.

        Raises:
            AugmentError: if a window has more frames than fit into a block.
        """
        if shape.frames > BLOCK:
            raise AugmentError(f"frozen augmentor takes windows of up to {BLOCK} frames, got {shape.frames}")
        rows, skeleton = len(joints_m), self.skeleton
        result = FrozenAugmented(
            joints_camera_m=joints_m.new_empty(rows, skeleton.n_joints, 3),
            bone_angle_change=joints_m.new_empty(rows, skeleton.n_bones),
            bone_length_ratio=joints_m.new_empty(rows, skeleton.n_bone_groups),
            axis_angle_rad=joints_m.new_empty(rows, 3),
            translation_m=joints_m.new_empty(rows, 3),
        )
        with torch.no_grad():
            at_once = BLOCK // shape.frames
            for first in range(0, rows // shape.frames, at_once):
                start, stop = first * shape.frames, (first + at_once) * shape.frames
                spread = shape.on_frames(noise[first : first + at_once])
                self._block(joints_m[start:stop], spread, result, start, shape)
        return result

    def _fold(self, head: Head) -> _FoldedHead:
        weights, biases = [], []
        for position, (layer, norm) in enumerate(head.pairs()):
            if norm.running_mean is None or norm.running_var is None:
                raise AugmentError("frozen augmentor wants running statistics, got BatchNorm layers without")
            scale = norm.weight.double() / (norm.running_var.double() + norm.eps).sqrt()
            weight = (layer.weight.double() * scale.unsqueeze(1)).t()
            if position == 0:
                weight = self._noise_before_lengths(weight)
            bias = (layer.bias.double() - norm.running_mean.double()) * scale + norm.bias.double()
            weights.append(weight.detach().to(self.dtype).contiguous())
            biases.append(bias.detach().to(self.dtype))
        return _FoldedHead(
            weights=tuple(weights),
            biases=tuple(biases),
            output_weight=head.output.weight.detach().to(self.dtype).clone(),
            output_bias=head.output.bias.detach().to(self.dtype).unsqueeze(1).clone(),
        )

    def _noise_before_lengths(self, weight: Tensor) -> Tensor:
        """Input order pose, noise, (bone lengths) for every head, so that they share one feature buffer."""
        pose, lengths = self._pose, weight.shape[0] - self._pose - self._noise
        return torch.cat([weight[:pose], weight[pose + lengths :], weight[pose : pose + lengths]])

    def _make_buffers(self) -> None:
        skeleton, device = self.skeleton, self.device
        heads, bones = len(self._heads), skeleton.n_bones
        inputs = -(-(self._pose + self._noise + bones) // 16) * 16
        width = self.settings.width
        self._features = torch.zeros(heads, BLOCK, inputs, dtype=self.dtype, device=device)
        self._hidden = [torch.zeros(BLOCK, width, dtype=self.dtype, device=device) for _ in range(2)]
        sizes = [len(head.output_bias) for head in self._heads]
        self._raw = [torch.zeros(size, BLOCK, dtype=self.dtype, device=device) for size in sizes]
        self._joints = torch.zeros(skeleton.n_joints, 3, BLOCK, device=device)
        self._placed = torch.zeros(skeleton.n_joints, 3, BLOCK, device=device)
        self._bones, self._near, self._turned = (
            torch.zeros(bones, 3, BLOCK, device=device) for _ in range(3)
        )
        self._lengths, self._scratch, self._change = (
            torch.zeros(bones, BLOCK, device=device) for _ in range(3)
        )
        self._rotation = torch.zeros(3, 3, BLOCK, device=device)
        entry = self._rotation
        self._skew = ((entry[1, 2], entry[2, 0], entry[0, 1]), (entry[2, 1], entry[0, 2], entry[1, 0]))

    def _block(
        self, joints_m: Tensor, noise: Tensor, result: FrozenAugmented, start: int, shape: WindowShape
    ) -> None:
        rows = len(joints_m)
        stop = start + rows
        self._load(joints_m, noise)
        self._run_heads()
        if shape.temporal:
            self._hold_output_frames(rows, shape)
        axis_angle, translation = self._rigid_motion()
        self._turn_bones()
        ratio = self._stretch_bones()
        if shape.temporal:
            self._move_on(joints_m, ratio, shape)
        self._place(translation)
        result.joints_camera_m[start:stop].view(rows, -1).copy_(self._placed.flatten(0, 1)[:, :rows].t())
        result.bone_angle_change[start:stop] = self._change[:, :rows].t()
        result.bone_length_ratio[start:stop] = ratio[:, :rows].t()
        result.axis_angle_rad[start:stop] = axis_angle[:, :rows].t()
        result.translation_m[start:stop] = translation[:, :rows].t()

    def _load(self, joints_m: Tensor, noise: Tensor) -> None:
        """Root-relative joints, bones and lengths with rows innermost; the heads' input features.

        Rows that the last block lacks keep what an earlier block left there; nobody reads their results.
        """
        rows = len(joints_m)
        joints = self._joints.flatten(0, 1)[:, :rows]
        joints.copy_(joints_m.reshape(rows, -1).t())
        self._joints.sub_(self._joints[self.skeleton.root_index].clone())
        torch.index_select(self._joints, 0, self._index.child, out=self._bones)
        torch.index_select(self._joints, 0, self._index.parent, out=self._near)
        self._bones.sub_(self._near)
        lengths = self._norm(self._bones, self._lengths)
        pose_end, features = self._pose, self._features[:, :rows]
        noise_end = pose_end + self._noise
        features[:, :, :pose_end] = joints.t().contiguous()
        features[:, :, pose_end:noise_end] = noise.transpose(0, 1)
        features[1, :, noise_end : noise_end + self.skeleton.n_bones] = lengths[:, :rows].t()

    def _run_heads(self) -> None:
        """All four networks; raw outputs with rows innermost."""
        first, second = self._hidden
        for features, head, raw in zip(self._features, self._heads, self._raw, strict=True):
            inputs = head.weights[0].shape[0]
            hidden, spare = first, second
            torch.addmm(head.biases[0], features[:, :inputs], head.weights[0], out=hidden)
            torch.nn.functional.leaky_relu_(hidden, LEAKY_SLOPE)
            for weight, bias in zip(head.weights[1:], head.biases[1:], strict=True):
                torch.addmm(bias, hidden, weight, out=spare)
                torch.nn.functional.leaky_relu_(spare, LEAKY_SLOPE)
                hidden, spare = spare, hidden
            torch.addmm(head.output_bias, head.output_weight, hidden.t(), out=raw)

    def _hold_output_frames(self, rows: int, shape: WindowShape) -> None:
        """Body, rotation and place are those of the output frame in all frames of a window."""
        anchor = shape.anchors(rows).to(self.device)
        for raw in self._raw[1:]:
            raw[:, :rows] = raw.index_select(1, anchor)

    def _move_on(self, joints_m: Tensor, ratio: Tensor, shape: WindowShape) -> None:
        """The person goes where the source goes, with steps that grow with the body."""
        rows, anchor = len(joints_m), shape.anchors(len(joints_m)).to(self.device)
        root_m = joints_m[:, self.skeleton.root_index]
        path_m = (root_m - root_m.index_select(0, anchor)).t()
        before = self._lengths[:, :rows].index_select(1, anchor)
        growth = ratio[:, :rows].index_select(0, self._index.group).add_(1.0).mul_(before)
        steps = _added_up(growth) / _added_up(before)
        self._joints[:, :, :rows] += path_m * steps

    def _turn_bones(self) -> None:
        """Bones become unit directions, then turned ones; the change of each is kept."""
        directions, turned = self._bones, self._turned
        directions.div_(self._lengths.unsqueeze(1))
        torch.add(directions, self._raw[0].view(directions.shape), out=turned)
        turned.div_(self._norm(turned, self._scratch).unsqueeze(1))
        product = torch.mul(turned, directions, out=self._near)
        torch.sum(product, dim=1, out=self._change)
        torch.sub(1.0, self._change, out=self._change)
        for bone in self._frozen_bones:
            turned[bone].copy_(directions[bone])
            self._change[bone].zero_()

    def _stretch_bones(self) -> Tensor:
        """Turned bones get their new lengths; root-relative joints follow. Returns the ratios (G, rows)."""
        ratio = torch.tanh(self._raw[1].float() * self._movable).mul_(self._ratio_limit)
        new_lengths = ratio.index_select(0, self._index.group).add_(1.0).mul_(self._lengths)
        self._turned.mul_(new_lengths.unsqueeze(1))
        torch.mm(self._index.path, self._turned.flatten(1), out=self._joints.flatten(1))
        return ratio

    def _rigid_motion(self) -> tuple[Tensor, Tensor]:
        """Axis-angle and translation (3, rows); fills the rotation matrices (3, 3, rows)."""
        axis_angle = self._raw[2].float().tanh().mul_(pi)
        translation = self._raw[3].float()
        translation[2].square_()
        squared = axis_angle.square().sum(0).clamp_min_(1e-12)
        angle = squared.sqrt()
        sine_ratio, cosine_ratio = angle.sin().div_(angle), angle.cos().sub_(1.0).div_(-squared)
        rotation = torch.mul(axis_angle.unsqueeze(1), axis_angle.unsqueeze(0), out=self._rotation)
        rotation.mul_(cosine_ratio)
        rotation.flatten(0, 1)[::4].add_(angle.cos_())
        cross = torch.mul(axis_angle, sine_ratio)
        for minus, plus, entry in zip(*self._skew, cross, strict=True):
            minus.sub_(entry)
            plus.add_(entry)
        return axis_angle, translation

    def _place(self, translation: Tensor) -> None:
        """Rotate about the root and move it before the camera."""
        joints, rotation = self._joints, self._rotation
        placed = torch.mul(joints[:, 0:1], rotation[:, 0], out=self._placed)
        placed.addcmul_(joints[:, 1:2], rotation[:, 1]).addcmul_(joints[:, 2:3], rotation[:, 2])
        placed.add_(translation)

    def _norm(self, vectors: Tensor, out: Tensor) -> Tensor:
        """Euclidean norms (K, rows) of vectors (K, 3, rows), never zero."""
        squares = torch.mul(vectors, vectors, out=self._near)
        torch.sum(squares, dim=1, out=out)
        return out.clamp_min_(TINY).sqrt_()


def _added_up(lengths: Float[Tensor, "K n"]) -> Float[Tensor, " n"]:
    """Sum over the bones, one after the other: torch's own order depends on how many columns there are."""
    total = lengths[0].clone()
    for row in lengths[1:]:
        total += row
    return total


def bfloat16_is_fast(device: torch.device | str = "cpu") -> bool:
    """Whether bfloat16 products have hardware of their own here (AVX-512 BF16, AMX, or a GPU with it)."""
    if torch.device(device).type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    supported = (
        getattr(torch.cpu, name, None) for name in ("_is_avx512_bf16_supported", "_is_amx_tile_supported")
    )
    return any(check is not None and check() for check in supported)
