"""Whose joints the 2D keypoints of pairs are, and who can take them: refused by skeleton, not by luck.

A dataset's keypoints are usually of the same joints as its poses. Where they are not (detections in COCO order beside
poses in H36M order), its manifest says so, and whatever compares or makes 2D by the poses' joints refuses it.
"""

from estimators.errors import LifterInputError
from estimators.lifters.contract import Lifter
from estimators.lifters.temporal.trajectory import RootTrajectory
from pipelines.errors import SettingsError
from poses.skeleton import Skeleton
from storage.reader import Dataset


def require_own_keypoints(dataset: Dataset, who: str) -> None:
    """Raise SettingsError if a dataset's keypoints are of other joints than its poses.

    Args:
        dataset: The version to read.
        who: What wants to read it, such as "the job augment", for the message.
    """
    other = dataset.keypoint_skeleton
    if other is not None:
        raise SettingsError(
            f"{dataset.store.url}: its 2D keypoints are of skeleton {other.name!r}, its poses of "
            f"{dataset.skeleton.name!r}; {who} wants both of the same joints; map the keypoints "
            f"(poses.skeleton.joint_map({other.name!r}, {dataset.skeleton.name!r})) and write the dataset again"
        )


def check_keypoints_fit(network: Lifter | RootTrajectory, keypoints: Skeleton, where: str) -> None:
    """Raise LifterInputError unless keypoints are of the joints that a network sees, in its order.

    Args:
        network: A lifter or a trajectory model.
        keypoints: What the data's keypoints are.
        where: The data, for the message.
    """
    own = network.keypoint_skeleton
    if own.joints == keypoints.joints:
        return
    first = next(
        (pair for pair in zip(own.joints, keypoints.joints, strict=False) if pair[0] != pair[1]), None
    )
    count = "" if own.n_joints == keypoints.n_joints else f", {own.n_joints} and {keypoints.n_joints} of them"
    differ = f" (the first that differ: {first[0]} and {first[1]}{count})" if first else count
    raise LifterInputError(
        f"{where}: 2D keypoints of skeleton {keypoints.name!r}, the network sees those of {own.name!r}{differ}; map "
        f"them (poses.skeleton.joint_map({keypoints.name!r}, {own.name!r})), or train a network of them "
        f"(lifter.keypoint_skeleton: {keypoints.name} of a videopose or simple_baseline lifter)"
    )
