"""VideoPose3D's trajectory model: the same temporal convolutions, with the root's place in camera axes as output.

Semi-supervised training needs it, because only a pose with a place can be projected into the image.
"""

from math import prod

from torch import Tensor

from estimators.lifters.contract import check_keypoints
from estimators.lifters.temporal.convolutions import TemporalConvolutions
from estimators.lifters.temporal.videopose import VideoPoseSettings
from poses.skeleton import Skeleton, load_skeleton


class RootTrajectory(TemporalConvolutions):
    """Keypoints to the root's place, in metres, in camera axes (x right, y down, z forward).

    Args:
        settings: Shape, as of the lifter beside it; `predict_root` says nothing here.
        skeleton: Joints of the poses, and of the keypoints unless the settings name others.
    """

    def __init__(self, settings: VideoPoseSettings, skeleton: Skeleton) -> None:
        super().__init__()
        self.settings = settings
        self.skeleton = skeleton
        named = settings.keypoint_skeleton
        self.keypoint_skeleton = skeleton if named is None else load_skeleton(named)
        self.receptive_field = prod(settings.kernel_widths)
        self.build(
            2 * self.keypoint_skeleton.n_joints,
            3,
            settings.channels,
            settings.kernel_widths,
            settings.causal,
            settings.dropout,
        )

    def forward(self, keypoints_screen: Tensor) -> Tensor:
        """(B, T, J, 2) -> (B, T - receptive field + 1, 3): the root in every frame that has its whole window.

        Raises:
            LifterInputError: as of a lifter.
        """
        check_keypoints(keypoints_screen, self.keypoint_skeleton, self.receptive_field)
        if keypoints_screen.ndim == 3:
            keypoints_screen = keypoints_screen.unsqueeze(1)
        return self.network(keypoints_screen).squeeze(-2)
