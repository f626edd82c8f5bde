"""The job `evaluate`: a lifter or image network on parts of datasets, under named protocols; evaluation.json."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import torch
from pydantic import BaseModel, ConfigDict, Field, field_validator

from estimators.checkpoints import Checkpoint
from estimators.lifters.contract import Lifter
from estimators.lifters.temporal.trajectory import RootTrajectory
from estimators.lifters.training.trainer import LifterTrainer, LifterTrainerSettings
from pipelines.chosen_on import TEST, selection_of
from pipelines.context import RunContext
from pipelines.errors import SettingsError
from pipelines.evaluate_trajectory import check_trajectory, evaluate_in_camera
from pipelines.executor import BadRowPolicy
from pipelines.images.settings import IMAGE_NETWORK, ImagePairsSource
from pipelines.keypoints import check_keypoints_fit
from pipelines.knobs import knob
from pipelines.pose_table import PairsSource, PoseTable, Windows, load_table
from pipelines.trained_lifter import TrainedLifter, lifter_of, read_checkpoint
from poses.protocols import ProtocolResult, find_protocol
from poses.protocols import evaluate as evaluate_poses
from storage.object_store import open_store

_CHUNK_FRAMES = 65_536
"""Input frames in memory at once."""
DEFAULT_PROTOCOLS = ("frame_mean_with_root",)
SHEET_FILE = "crops.png"
"""Of image networks: some crops with the joints that were found in them."""


class EvaluateSettings(BaseModel):
    """What is evaluated, on what, and how."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    checkpoint: str
    """A lifter that `train` saved (`lifter.safetensors`), or a network of `train_images` (`graph_pose.safetensors`)."""
    data: tuple[ImagePairsSource, ...] = Field(min_length=1)
    """Image networks also need their `images`; lifters read no images."""
    protocols: tuple[str, ...] = Field(default=DEFAULT_PROTOCOLS, min_length=1)
    flip: bool = False
    """Average with the mirrored prediction of the mirrored input."""
    bad_rows: BadRowPolicy = BadRowPolicy()
    """Of image networks: rows without a usable image are left out, told and counted, or end the job."""
    trajectory: str | None = None
    """A trajectory model (`trajectory.safetensors` of a semi-supervised training, or an imported one): the root's error
    and that of joints in camera coordinates come beside the others, under the protocol `camera_frame_mean`."""
    device: str = knob("cpu")

    @field_validator("data", mode="before")
    @classmethod
    def _plain_sources(cls, value: Any) -> Any:
        """Sources of lifters need not be told that they may have images."""
        if not isinstance(value, list | tuple):
            return value
        return [one.model_dump() if type(one) is PairsSource else one for one in value]


@dataclass(frozen=True)
class EvaluationRow:
    """One part under one rig and one protocol.

    Attributes:
        part: Of the dataset.
        rig: Of the cameras.
        result: The numbers, with their protocol.
        selected_on: What the checkpoint was chosen on: `validation`, `test`, or `unknown` where its file does not say.
    """

    part: str
    rig: str
    result: ProtocolResult
    selected_on: str

    def to_dict(self) -> dict[str, Any]:
        """JSON values; metrics that are not numbers are null."""
        return {
            "part": self.part,
            "rig": self.rig,
            "protocol": self.result.protocol,
            "selected_on": self.selected_on,
            "n_poses": self.result.n_poses,
            "metrics": _finite(self.result.metrics),
            "by_action": {action: _finite(metrics) for action, metrics in self.result.by_action.items()},
        }


def run_evaluate(settings: EvaluateSettings, context: RunContext) -> list[EvaluationRow]:
    """Evaluate a lifter or an image network; writes `evaluation.json` below `context.out_url`, and `crops.png` of image
    networks.

    Raises:
        CheckpointError: if the checkpoint is none, or its skeleton is not the data's.
        SettingsError: if the selection is empty, images are given to a lifter or missing for an image network, or a
            protocol needs more than estimates in metres.
        BadRowError, TooManyBadRowsError: as the bad-row policy says of images.
    """
    _check_protocols(settings.protocols)
    checkpoint = read_checkpoint(settings.checkpoint)
    document = {
        "checkpoint": settings.checkpoint,
        "checkpoint_step": checkpoint.metadata.get("step"),
        "selected_on": selection_of(checkpoint.metadata),
        "flip": settings.flip,
        **({} if settings.trajectory is None else {"trajectory": settings.trajectory}),
    }
    if checkpoint.metadata.get("kind") == IMAGE_NETWORK:
        _refuse_trajectory(settings)
        rows, document["left_out"] = _evaluated_images(settings, checkpoint, context)
    else:
        rows = _evaluated_lifter(settings, checkpoint, context)
    document["rows"] = [row.to_dict() for row in rows]
    text = json.dumps(document, indent=1, sort_keys=True, allow_nan=False)
    open_store(context.out_url).write_bytes("evaluation.json", text.encode())
    return rows


def _evaluated_lifter(
    settings: EvaluateSettings, checkpoint: Checkpoint, context: RunContext
) -> list[EvaluationRow]:
    with_images = [source.url for source in settings.data if source.images is not None]
    if with_images:
        raise SettingsError(
            f"data: {with_images[0]} comes with images, but {settings.checkpoint} is a lifter, which reads keypoints; "
            "leave `images` out, or give the graph_pose.safetensors of a train_images job"
        )
    lifter = lifter_of(checkpoint, settings.checkpoint, settings.device)
    trajectory = _trajectory(settings, lifter.module)
    table = load_table(settings.data, with_cameras=trajectory is not None, other_keypoints=True)
    lifter.check_skeleton(table.skeleton)
    check_keypoints_fit(lifter.module, table.keypoints_of, ", ".join(source.url for source in settings.data))
    return evaluate_table(lifter, table, settings.protocols, settings.flip, context, trajectory)


def _evaluated_images(
    settings: EvaluateSettings, checkpoint: Checkpoint, context: RunContext
) -> tuple[list[EvaluationRow], list[dict[str, Any]]]:
    """The rows of an image network, and the pairs that it could not be measured on."""
    from pipelines.images.bad_pictures import BadPictures
    from pipelines.images.contact_sheet import contact_sheet
    from pipelines.images.evaluate_images import evaluate_network, rows_of
    from pipelines.images.trained_graph_pose import graph_pose_of

    trained = graph_pose_of(checkpoint, settings.checkpoint, settings.device)
    selected_on = _told_selection(trained.metadata, context)
    bad = BadPictures(settings.bad_rows, context.progress.log)
    sources = [rows_of(trained, source, bad) for source in settings.data]
    with_velocity = all(source.at_most is None for source in settings.data)
    found = evaluate_network(
        trained, sources, settings.protocols, settings.flip, with_velocity, bad, context.progress
    )
    sheet = contact_sheet(trained.network, sources[0])
    if sheet is not None:
        open_store(context.out_url).write_bytes(SHEET_FILE, sheet)
    return [EvaluationRow(part, rig, result, selected_on) for part, rig, result in found], bad.listed()


def _told_selection(metadata: Mapping[str, Any], context: RunContext) -> str:
    """What the checkpoint was chosen on; a test split is told."""
    selected_on = selection_of(metadata)
    if selected_on == TEST:
        context.progress.log(
            "this checkpoint was chosen on a test split: its numbers there are too good, and every row says so "
            "(selected_on: test)"
        )
    return selected_on


def _refuse_trajectory(settings: EvaluateSettings) -> None:
    if settings.trajectory is not None:
        raise SettingsError(
            f"trajectory: {settings.trajectory} places a lifter's poses, {settings.checkpoint} is an image network; "
            "leave `trajectory` out, or give a lifter"
        )


def _trajectory(settings: EvaluateSettings, lifter: Lifter) -> RootTrajectory | None:
    if settings.trajectory is None:
        return None
    from pipelines.train_semi import load_trained_trajectory

    trajectory = load_trained_trajectory(settings.trajectory, settings.device)
    check_trajectory(trajectory, lifter, settings.trajectory)
    return trajectory


def evaluate_table(
    lifter: TrainedLifter,
    table: PoseTable,
    protocols: Sequence[str],
    flip: bool,
    context: RunContext,
    trajectory: RootTrajectory | None = None,
) -> list[EvaluationRow]:
    """Every part under every rig, in name order; with a trajectory model (and a table with cameras) also the errors in
    camera coordinates."""
    _check_protocols(protocols)
    selected_on = _told_selection(lifter.metadata, context)
    table = table.in_time_order()
    groups = sorted(set(zip(table.part.tolist(), table.rig.tolist(), strict=True)))
    context.progress.start("evaluate", len(groups), "parts")
    rows: list[EvaluationRow] = []
    for part, rig in groups:
        chosen = table.take((table.part == part) & (table.rig == rig))
        predicted = predict(lifter, chosen, flip)
        target = torch.from_numpy(chosen.joints_root_m)
        for protocol in protocols:
            result = evaluate_poses(
                protocol, predicted, target, table.skeleton, action=chosen.action, sequence=chosen.sequence
            )
            rows.append(EvaluationRow(part, rig, result, selected_on))
        if trajectory is not None:
            in_camera = evaluate_in_camera(trajectory, chosen, predicted, flip)
            rows.append(EvaluationRow(part, rig, in_camera, selected_on))
        context.progress.advance("evaluate")
    context.progress.finish("evaluate")
    return rows


def predict(
    lifter: TrainedLifter, table: PoseTable, flip: bool = False, wanted: np.ndarray | None = None
) -> torch.Tensor:
    """(N, J, 3) root-relative metres for every row of a table, or for some of them, on the CPU."""
    trainer = LifterTrainer(LifterTrainerSettings(), lifter.module)
    return predict_with(trainer, table, lifter.causal, flip, wanted)


class Predictor(Protocol):
    """What predicts with a lifter."""

    lifter: Lifter

    def predict(self, keypoints_screen: torch.Tensor, flip: bool = False) -> torch.Tensor:
        """Poses in evaluation mode."""
        ...


def predict_with(
    trainer: Predictor, table: PoseTable, causal: bool, flip: bool = False, wanted: np.ndarray | None = None
) -> torch.Tensor:
    """As `predict`, with a trainer's (averaged, if it has them) weights; of some rows only, if they are given."""
    windows = Windows(table, trainer.lifter.receptive_field, causal)
    device = next(trainer.lifter.parameters()).device
    pieces: list[torch.Tensor] = []
    chunk_rows = max(1, _CHUNK_FRAMES // trainer.lifter.receptive_field)
    every = np.arange(len(table)) if wanted is None else wanted
    for start in range(0, len(every), chunk_rows):
        rows = every[start : start + chunk_rows]
        joints = trainer.predict(windows.inputs(rows).to(device), flip=flip)
        pieces.append(joints.reshape(len(rows), table.skeleton.n_joints, 3).cpu())
    return torch.cat(pieces)


def _check_protocols(names: Sequence[str]) -> None:
    for name in names:
        if find_protocol(name).true_scale:
            raise SettingsError(
                f"protocols: {name!r} multiplies every estimate by the ground truth's scale, which a lifter that gives "
                "metres does not need; its numbers would stand beside no other; choose action_mean_with_root, say"
            )


def _finite(metrics: Any) -> dict[str, float | None]:
    return {name: value if np.isfinite(value) else None for name, value in metrics.items()}
