"""What every Lifter must do. A lifter's test class inherits this and gives `settings` and `skeleton_name`."""

import pytest
import torch

from estimators.errors import LifterInputError
from estimators.lifters.contract import Lifter
from estimators.lifters.settings import build_lifter
from poses.skeleton import Skeleton, load_skeleton


class LifterContract:
    """The laws of a lifter; needs fixtures or attributes `settings` and `skeleton_name`."""

    skeleton_name = "h36m_16"

    @pytest.fixture
    def skeleton(self) -> Skeleton:
        return load_skeleton(self.skeleton_name)

    @pytest.fixture
    def lifter(self, settings, skeleton: Skeleton) -> Lifter:
        return build_lifter(settings, skeleton, seed=3).eval()

    def keypoints(self, lifter: Lifter, rows: int, extra_frames: int = 0, seed: int = 0) -> torch.Tensor:
        generator = torch.Generator().manual_seed(seed)
        frames = lifter.receptive_field + extra_frames
        return torch.rand(rows, frames, lifter.skeleton.n_joints, 2, generator=generator) * 2 - 1

    @pytest.mark.parametrize("extra_frames", [0, 3])
    def test_one_output_frame_per_full_window(self, lifter: Lifter, extra_frames: int) -> None:
        joints_root_m = lifter(self.keypoints(lifter, 5, extra_frames))
        assert joints_root_m.shape == (5, extra_frames + 1, lifter.skeleton.n_joints, 3)

    def test_single_frame_lifters_take_poses_without_time(self, lifter: Lifter) -> None:
        keypoints = self.keypoints(lifter, 5)[:, 0]
        if lifter.receptive_field == 1:
            torch.testing.assert_close(lifter(keypoints), lifter(keypoints[:, None])[:, 0])
        else:
            with pytest.raises(LifterInputError, match=f"receptive field of {lifter.receptive_field}"):
                lifter(keypoints)

    def test_the_root_is_exactly_zero(self, lifter: Lifter) -> None:
        joints_root_m = lifter(self.keypoints(lifter, 4))
        root = lifter.skeleton.root_index
        assert bool((joints_root_m[..., root, :] == 0).all())
        assert float(joints_root_m.detach().abs().sum()) > 0

    def test_batch_of_one(self, lifter: Lifter) -> None:
        keypoints = self.keypoints(lifter, 3)
        torch.testing.assert_close(lifter(keypoints[:1]), lifter(keypoints)[:1], atol=1e-5, rtol=1e-4)

    def test_evaluation_is_deterministic_and_training_has_dropout(self, lifter: Lifter) -> None:
        keypoints = self.keypoints(lifter, 6)
        assert torch.equal(lifter(keypoints), lifter(keypoints))
        lifter.train()
        assert not torch.equal(lifter(keypoints), lifter(keypoints))

    def test_building_leaves_the_global_random_state_alone(self, settings, skeleton: Skeleton) -> None:
        before = torch.get_rng_state()
        first, second = build_lifter(settings, skeleton, seed=5), build_lifter(settings, skeleton, seed=5)
        assert torch.equal(before, torch.get_rng_state())
        for one, other in zip(first.parameters(), second.parameters(), strict=True):
            assert torch.equal(one, other)

    def test_wrong_joint_count_says_what_was_expected(self, lifter: Lifter) -> None:
        n_joints = lifter.skeleton.n_joints
        keypoints = self.keypoints(lifter, 2)[:, :, :-1]
        with pytest.raises(LifterInputError, match=rf"\(B, T, {n_joints}, 2\).*pelvis.*got shape \[2, "):
            lifter(keypoints)

    def test_confidence_as_third_coordinate_is_refused(self, lifter: Lifter) -> None:
        keypoints = self.keypoints(lifter, 2)
        with pytest.raises(LifterInputError, match=r"got shape"):
            lifter(torch.cat([keypoints, keypoints[..., :1]], dim=-1))

    def test_pixels_are_detected(self, lifter: Lifter) -> None:
        with pytest.raises(LifterInputError, match=r"look like pixels.*to_screen"):
            lifter((self.keypoints(lifter, 2) + 1) * 500)

    def test_missing_keypoints_are_detected(self, lifter: Lifter) -> None:
        keypoints = self.keypoints(lifter, 2)
        keypoints[1, 0, 2] = float("nan")
        with pytest.raises(LifterInputError, match=r"2 coordinates that are NaN"):
            lifter(keypoints)

    def test_fewer_frames_than_the_receptive_field_are_refused(self, lifter: Lifter) -> None:
        keypoints = self.keypoints(lifter, 2)[:, 1:]
        with pytest.raises(LifterInputError, match=f"T >= {lifter.receptive_field}, got shape.*pad the clip"):
            lifter(keypoints)

    def test_an_empty_batch_gives_an_empty_batch(self, lifter: Lifter) -> None:
        joints_root_m = lifter(self.keypoints(lifter, 0, extra_frames=1))
        assert joints_root_m.shape == (0, 2, lifter.skeleton.n_joints, 3)

    def test_a_sequence_has_a_pose_for_every_frame(self, lifter: Lifter) -> None:
        frames = lifter.receptive_field
        keypoints = self.keypoints(lifter, 2)
        whole = lifter(keypoints, "sequence")
        assert whole.shape == (2, frames, lifter.skeleton.n_joints, 3)
        chosen = frames - 1 if lifter.causal else frames // 2
        torch.testing.assert_close(whole[:, chosen : chosen + 1], lifter(keypoints), atol=1e-5, rtol=1e-4)
        assert lifter(keypoints[:, :1], "sequence").shape == (2, 1, lifter.skeleton.n_joints, 3)

    def test_a_pose_does_not_see_beyond_its_window(self, lifter: Lifter) -> None:
        keypoints = self.keypoints(lifter, 2, extra_frames=2)
        changed = keypoints.clone()
        changed[:, -1] += 0.1
        assert torch.equal(lifter(keypoints)[:, 0], lifter(changed)[:, 0])
        assert not torch.equal(lifter(keypoints)[:, -1], lifter(changed)[:, -1])

    def test_published_state_round_trip(self, lifter: Lifter, settings, skeleton: Skeleton) -> None:
        other = build_lifter(settings, skeleton, seed=99).eval()
        keypoints = self.keypoints(lifter, 2)
        assert not torch.equal(other(keypoints), lifter(keypoints))
        other.from_published_state(lifter.to_published_state())
        assert torch.equal(other(keypoints), lifter(keypoints))
