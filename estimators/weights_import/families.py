"""The published architectures: what their state dicts look like, and how their shapes tell the hyper-parameters.

Keys and shapes: golden/keys/*.json and specs/lifters.md, section 2.
"""

import re
from collections.abc import Mapping
from fnmatch import fnmatchcase

from estimators.errors import CheckpointError
from estimators.lifters.graphs.stgcn_graph import PARTITIONS
from estimators.weights_import.plan import Family, ImportOptions, NetworkPlan, ShapeReader, Shapes
from estimators.weights_import.repnet_layers import plan_repnet

_COCO_JOINTS, _ONE_PLACE = 17, 3
_BEST_ON_TEST = (
    "the scripts of SemGCN and PoseAug keep the epoch that is best on the test split; the file says so"
)
_SHAPE_ONLY = "dropout is no part of a weight file: training goes on with the lifter's default"


def _simple_baseline(read: ShapeReader, _: ImportOptions) -> NetworkPlan:
    """SemGCN's and PoseAug's `mlp`: 2 J inputs, 3 (J - 1) outputs, any number of stages."""
    width, inputs = read.of("w1.weight", 2)
    outputs = read.of("w2.weight", 2)[0]
    if inputs % 2 or outputs != 3 * (inputs // 2 - 1):
        raise read.fault(
            f"it takes {inputs} and gives {outputs} numbers, wanted 2 J and 3 (J - 1), all joints but the root"
        )
    stages = read.count("linear_stages.", ".w1.weight")
    settings = {"kind": "simple_baseline", "width": width, "stages": stages}
    numbers = width * (inputs + outputs + 2 * stages * width)
    notes = (_SHAPE_ONLY, _BEST_ON_TEST)
    return NetworkPlan(settings, inputs // 2, numbers, read.same_names(), notes=notes, selected_on="test")


def _videopose(read: ShapeReader, options: ImportOptions) -> NetworkPlan:
    """VideoPose3D's networks (all joints), its trajectory model (one), and PoseAug's `videopose` (all but the root)."""
    channels, inputs, first = read.of("expand_conv.weight", 3)
    outputs = read.of("shrink.weight", 3)[0]
    keypoints = inputs // 2
    if inputs % 2:
        raise read.fault(
            f"it takes {inputs} numbers per frame, wanted x and y of every joint; with a confidence as third number "
            "it is no network of VideoPose3D's authors"
        )
    blocks = read.count("layers_conv.", ".weight")
    wide = [read.of(f"layers_conv.{index}.weight", 3)[2] for index in range(0, blocks, 2)]
    numbers = channels * (inputs * first + outputs + channels * sum(width + 1 for width in wide))
    settings = {
        "kind": "videopose",
        "channels": channels,
        "kernel_widths": [first, *wide],
        "causal": options.causal,
    }
    notes = [_SHAPE_ONLY, "causal or not cannot be seen in the weights; --causal says it is"]
    if options.keypoints is not None:
        settings["keypoint_skeleton"] = options.keypoints
    elif keypoints == _COCO_JOINTS:
        notes.append(
            "the order of the 2D joints cannot be seen in the weights: Human3.6M's is taken; checkpoints on detections "
            "in COCO order (names with cpn, detectron or coco) need --keypoints coco_17"
        )
    if outputs == _ONE_PLACE:
        joints = options.skeleton.n_joints if options.skeleton is not None else keypoints
        return NetworkPlan(
            settings, joints, numbers, read.same_names(), notes=tuple(notes), is_trajectory=True
        )
    joints = outputs // 3 if options.keypoints is not None else keypoints
    if outputs not in (3 * joints, 3 * (joints - 1)):
        raise read.fault(
            f"it takes {keypoints} joints and gives {outputs} numbers, wanted 3 J, 3 (J - 1), or 3 for a trajectory; "
            "where the 2D joints are another skeleton's, name it with --keypoints"
        )
    settings["predict_root"] = outputs == 3 * joints
    selected_on = "unknown"
    if not settings["predict_root"]:  # PoseAug's
        selected_on = "test"
        notes.append(_BEST_ON_TEST)
    return NetworkPlan(
        settings, joints, numbers, read.same_names(), notes=tuple(notes), selected_on=selected_on
    )


_NON_LOCAL = re.compile(r"\.(nonlocal_?|non_local|graph_nonlocal|graph_non_local)\.")


def _semgcn(read: ShapeReader, _: ImportOptions) -> NetworkPlan:
    """SemGCN, local or with non-local blocks, and PoseAug's `gcn`. Released keys say `nonlocal`; forks call it else."""
    channels = read.of("gconv_input.0.gconv.W", 3)[2]
    learned, links = read.of("gconv_input.0.gconv.e", 2)
    joints, rest = divmod(links + 2, 3)
    if rest or learned not in (1, channels):
        raise read.fault(
            f"its adjacency has shape {[learned, links]}, wanted (1 or {channels}, 3 J - 2) for a skeleton of J joints"
        )
    names = {key: _NON_LOCAL.sub(".nonlocal.", key) for key in read.shapes}
    blocks = sum(key.endswith(".gconv1.gconv.W") for key in read.shapes)
    settings = {
        "kind": "semgcn",
        "channels": channels,
        "blocks": blocks,
        "graph": "shared" if learned == 1 else "channel_wise",
        "non_local": any(".nonlocal." in name for name in names.values()),
    }
    numbers = 4 * blocks * channels**2
    return NetworkPlan(settings, joints, numbers, names, notes=(_BEST_ON_TEST,), selected_on="test")


def _stgcn(read: ShapeReader, _: ImportOptions) -> NetworkPlan:
    """PoseAug's single-frame ST-GCN: 16 joints outside, 17 in its graph; the graph itself is not in the file."""
    inside = read.of("stgcn.data_bn.weight", 1)[0] // 2
    channels = [
        read.of(f"stgcn.st_gcn_networks.{layer}.gcn.conv.weight", 4)[0] // PARTITIONS for layer in range(3)
    ]
    wide = read.of("stgcn.st_gcn_pool.0.gcn.conv.weight", 4)[0] // PARTITIONS
    settings = {"kind": "stgcn", "channels": channels, "part_channels": wide}
    numbers = PARTITIONS * (
        channels[0] * channels[1] + channels[1] * channels[2] + wide * (channels[2] + wide)
    )
    notes = (_BEST_ON_TEST,)
    return NetworkPlan(settings, inside - 1, numbers, read.same_names(), notes=notes, selected_on="test")


def _dual_stream(read: ShapeReader, _: ImportOptions) -> NetworkPlan:
    """MotionBERT and MotionBERT-Lite."""
    frames, features = read.of("temp_embed", 4)[1::2]
    joints = read.of("pos_embed", 3)[1]
    layers = read.count("blocks_st.", ".norm1_s.weight")
    representation = read.of("pre_logits.fc.weight", 2)[0]
    ratio = read.of("blocks_st.0.mlp_s.fc1.weight", 2)[0] // features
    numbers = features * (frames + joints + representation + layers * features * (16 + 8 * ratio))
    settings = {
        "kind": "dual_stream",
        "window": frames if frames % 2 else frames - 1,
        "max_frames": frames,
        "features": features,
        "representation": representation,
        "layers": layers,
        "hidden_ratio": ratio,
    }
    notes = (
        "8 attention heads, as published; their number is not in the weights",
        "these weights give poses in 2.5D image units, not metres: their published evaluation scales every frame by "
        "the ground truth. Train further before comparing in millimetres",
    )
    return NetworkPlan(settings, joints, numbers, read.same_names(), notes=notes)


FAMILIES: tuple[Family, ...] = (
    Family("SemGCN", "semgcn", ("gconv_input.0.gconv.W", "gconv_layers.0.gconv1.gconv.W"), _semgcn),
    Family("ST-GCN of PoseAug", "stgcn", ("stgcn.data_bn.weight", "stgcn.st_gcn_networks.*"), _stgcn),
    Family("SimpleBaseline", "simple_baseline", ("w1.weight", "linear_stages.0.w1.weight"), _simple_baseline),
    Family("VideoPose3D", "videopose", ("expand_conv.weight", "shrink.weight"), _videopose),
    Family("MotionBERT", "dual_stream", ("temp_embed", "blocks_st.0.attn_s.qkv.weight"), _dual_stream),
    Family("RepNet", "repnet", ("dense*/kernel",), plan_repnet),
)
KINDS = tuple(family.kind for family in FAMILIES)
"""What `--as` takes."""
UNKNOWN_NETWORKS: Mapping[str, tuple[str, ...]] = {
    "TCPFormer": ("center_pose", "layers.0.att_spatial.mixer.qkv.weight"),
    "MotionAGFormer": ("layers.0.att_spatial.mixer.qkv.weight", "rep_logit.fc.weight"),
    "PoseFormerV2": ("Joint_embedding.weight", "Freq_embedding.weight"),
    "MixSTE": ("STEblocks.*", "TTEblocks.*"),
    "the image variant or another relative of SemGCN": ("gconv_input.0.gconv.*",),
    "FastPose (a 2D detector)": ("preact.*", "duc1.*"),
    "SPIN (a body model)": ("decpose.weight", "layer4.*"),
}
"""Known from their papers' code; there is no such lifter here."""


def recognise(shapes: Shapes, where: str, options: ImportOptions) -> tuple[Family, NetworkPlan]:
    """Which network these weights are of.

    Args:
        shapes: Of the state dict.
        where: For error messages.
        options: What the user says: `kind` is one of `KINDS`.

    Raises:
        CheckpointError: if no family or a network that posemill lacks is recognised, or a tensor of it is missing.
    """
    kind = options.kind
    if kind is not None and kind not in KINDS:
        raise CheckpointError(
            f"{where}: there is no kind {kind!r:.40}; --as takes one of {', '.join(sorted(KINDS))}"
        )
    for family in FAMILIES:
        if family.kind == kind or (kind is None and _has_marks(shapes, family.marks)):
            _check_options(family, options, where)
            return family, family.plan(ShapeReader(shapes, where, family.title), options)
    for title, marks in UNKNOWN_NETWORKS.items():
        if _has_marks(shapes, marks):
            raise CheckpointError(
                f"{where}: weights of {title}, which posemill has no network for; wanted {_known()}"
            )
    raise CheckpointError(
        f"{where}: {len(shapes)} tensors of no known network ({', '.join(list(shapes)[:4])}, ...); wanted {_known()}. "
        "Say the kind with --as to see what does not fit"
    )


def _check_options(family: Family, options: ImportOptions, where: str) -> None:
    """Raise CheckpointError if the user says something that has no meaning for this network."""
    wrong = [
        flag
        for flag, is_said, kind in (
            ("--causal", options.causal, "videopose"),
            ("--keypoints", options.keypoints is not None, "videopose"),
            ("--without-camera", options.without_camera, "repnet"),
        )
        if is_said and family.kind != kind
    ]
    if wrong:
        raise CheckpointError(
            f"{where}: recognised as {family.title}, for which {', '.join(wrong)} has no meaning; leave it out"
        )


def _has_marks(shapes: Shapes, marks: tuple[str, ...]) -> bool:
    return all(mark in shapes or any(fnmatchcase(key, mark) for key in shapes) for mark in marks)


def _known() -> str:
    return ", ".join(f"{family.title} ({family.kind})" for family in FAMILIES)
