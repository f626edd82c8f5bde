"""Limbs in exchange for others, of poses on their own or in motion.

A pose on its own just takes the new limb. In a window the new limb is the output frame's: the rotation that brings the
recorded limb of the output frame to it, and the change of the hinge's angle, are applied to the limb of every frame. So
the limb goes on moving as it was recorded, from another place, and output frames are spread like poses on their own.

A straight limb does not show its hinge's axis. A frame's own axis would jump about where a limb passes through
straightness, and a change of the bend would make it visible; so in windows the output frame's axis goes along with the
upper bone, the hinge's angle is signed, and what the lower bone does out of the plane is kept as it is.
"""

from dataclasses import dataclass, replace

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from augment.wide_base.body_plan import Limb
from augment.wide_base.local_pose import compose, rotate, unit
from augment.windows import WindowShape

_STRAIGHT_SINE = 0.17
"""Below this sine of the bend a limb counts as straight and its hinge axis comes from anatomy."""
_OPPOSITE = 1e-3
"""One plus the cosine of directions that are taken for opposite at the most: keeps the shortest turn finite."""


@dataclass(frozen=True)
class Exchange:
    """How limbs are exchanged.

    Attributes:
        shape: Of the windows; what is taken and given comes once per window, W rows, what is there in B = W·T rows.
        max_flexion_rad: Of a hinge.
    """

    shape: WindowShape
    max_flexion_rad: float

    def frames(self, taken: Bool[Tensor, " W"], donated: Tensor, own: Tensor) -> Float[Tensor, "B 3 3"]:
        """Rotations (of the chest against the pelvis), exchanged where `taken`."""
        shape = self.shape
        if shape.temporal:
            turn = compose(donated, shape.output_frames(own).transpose(1, 2))
            donated = compose(shape.on_frames(turn), own)
        return torch.where(shape.on_frames(taken)[:, None, None], donated, own)

    def bones(self, taken: Bool[Tensor, " W"], donated: Tensor, own: Tensor) -> Float[Tensor, "B n 3"]:
        """Directions of single bones, exchanged where `taken`."""
        shape = self.shape
        if shape.temporal:
            start = shape.on_frames(shape.output_frames(own))
            donated = unit(shortest_turn(start, shape.on_frames(donated), own))
        return torch.where(shape.on_frames(taken)[:, None, None], donated, own)

    def limb(
        self,
        directions: Float[Tensor, "B K 3"],
        limb: Limb,
        taken: Bool[Tensor, " W"],
        upper: Float[Tensor, "W 3"],
        lower: Float[Tensor, "W 3"],
    ) -> None:
        """Give both bones of a limb new directions where `taken`, in place."""
        if self.shape.temporal:
            own = directions[:, limb.upper], directions[:, limb.lower]
            upper, lower = self._in_motion(own, (upper, lower), anatomical_axis(limb))
        taken = self.shape.on_frames(taken)[:, None]
        directions[:, limb.upper] = torch.where(taken, upper, directions[:, limb.upper])
        directions[:, limb.lower] = torch.where(taken, lower, directions[:, limb.lower])

    def _in_motion(
        self, own: tuple[Tensor, Tensor], donated: tuple[Tensor, Tensor], sideways: Tensor
    ) -> tuple[Tensor, Tensor]:
        once, on_frames = self.shape.output_frames, self.shape.on_frames
        hinge = self.hinge(*own, sideways.expand_as(own[0]))
        donor = hinge_of(*donated, sideways.expand_as(donated[0]))
        frame, donor_frame = _limb_frame(once(own[0]), once(hinge.axis)), _limb_frame(donated[0], donor.axis)
        turn = on_frames(compose(donor_frame, frame.transpose(1, 2)))
        upper = unit(rotate(turn, own[0]))
        turned = replace(hinge, axis=rotate(turn, hinge.axis))
        return upper, self.bent(upper, turned, on_frames(donor.flexion_rad - once(hinge.flexion_rad)))

    def hinge(self, upper: Tensor, lower: Tensor, sideways: Tensor) -> "Hinge":
        """Where the hinges of (B) limbs stand; see `hinge_of`."""
        once, on_frames = self.shape.output_frames, self.shape.on_frames
        own = hinge_of(once(upper), once(lower), once(sideways))
        if not self.shape.temporal:
            return own
        axis = shortest_turn(on_frames(once(upper)), upper, on_frames(own.axis))
        axis = unit(axis - (axis * upper).sum(-1, keepdim=True) * upper)
        ahead = (torch.linalg.cross(axis, upper) * lower).sum(-1)
        along, aside = (upper * lower).sum(-1), (axis * lower).sum(-1)
        in_plane = (along * along + ahead * ahead).sqrt()
        flexion_rad = 2.0 * torch.atan(ahead / (in_plane + along).clamp_min(_OPPOSITE))
        return Hinge(flexion_rad, axis, aside.clamp(-1.0, 1.0))

    def bent(self, upper: Tensor, hinge: "Hinge", flexion_rad: Tensor) -> Float[Tensor, "B 3"]:
        """The lower bone after its hinge's angle has changed; hinges neither overextend nor fold past the limit."""
        angle = (hinge.flexion_rad + flexion_rad).abs().clamp(max=self.max_flexion_rad).unsqueeze(-1)
        lower = upper * torch.cos(angle) + torch.linalg.cross(hinge.axis, upper) * torch.sin(angle)
        if hinge.aside is None:
            return lower
        aside = hinge.aside.unsqueeze(-1)
        return lower * (1.0 - aside * aside).clamp_min(0.0).sqrt() + hinge.axis * aside


def anatomical_axis(limb: Limb) -> Float[Tensor, " 3"]:
    """The axis that a straight limb's hinge bends about, in the frame of chest or pelvis."""
    return torch.tensor([-1.0 if limb.on_chest else 1.0, 0.0, 0.0])


@dataclass(frozen=True)
class Hinge:
    """Where (B) hinges stand.

    Attributes:
        flexion_rad: (B,) the angle between the bones, 0 when straight; in windows signed and in the axis' plane.
        axis: (B, 3) square to the upper bone.
        aside: (B,) how far the lower bone leaves the plane, as a share of its length; None where it does not.
    """

    flexion_rad: Float[Tensor, " B"]
    axis: Float[Tensor, "B 3"]
    aside: Float[Tensor, " B"] | None = None


def hinge_of(upper: Tensor, lower: Tensor, sideways: Tensor) -> Hinge:
    """The hinges of single poses.

    Args:
        upper, lower: (B, 3) unit bones.
        sideways: (B, 3) the anatomical axis, which counts the more the straighter the limb.
    """
    normal = torch.linalg.cross(upper, lower)
    sine = normal.norm(dim=-1, keepdim=True)
    # the angle between unit vectors; torch.atan2 would depend on the batch's size (its vector and scalar forms differ)
    flexion = 2.0 * torch.atan((lower - upper).norm(dim=-1) / (lower + upper).norm(dim=-1))
    across = sideways - (sideways * upper).sum(-1, keepdim=True) * upper
    is_bent = (sine / _STRAIGHT_SINE).clamp(max=1.0)
    axis = unit(is_bent * unit(normal) + (1.0 - is_bent) * unit(across))
    return Hinge(flexion, unit(axis - (axis * upper).sum(-1, keepdim=True) * upper))


def shortest_turn(start: Tensor, end: Tensor, vectors: Tensor) -> Tensor:
    """Vectors (..., 3) after the shortest rotation that brings one unit vector to another."""
    cross = torch.linalg.cross(start, end)
    cosine = (start * end).sum(-1, keepdim=True)
    along = (cross * vectors).sum(-1, keepdim=True) / (1.0 + cosine).clamp_min(_OPPOSITE)
    return vectors * cosine + torch.linalg.cross(cross, vectors) + cross * along


def _limb_frame(upper: Tensor, axis: Tensor) -> Tensor:
    return torch.stack([upper, axis, torch.linalg.cross(upper, axis)], -1)
