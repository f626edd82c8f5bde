"""Small motion files, written by the tests that read them."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

# joint, parent, OFFSET in file units (1/0.45 inch), the lost thorax bone included
CMU_MOTIONBUILDER = (
    ("Hips", None, (0, 0, 0)),
    ("LHipJoint", "Hips", (0, 0, 0)),
    ("LeftUpLeg", "LHipJoint", (1.7, -1.8, 0.6)),
    ("LeftLeg", "LeftUpLeg", (2.6, -7.1, 0)),
    ("LeftFoot", "LeftLeg", (2.5, -6.8, 0)),
    ("RHipJoint", "Hips", (0, 0, 0)),
    ("RightUpLeg", "RHipJoint", (-1.6, -1.8, 0.6)),
    ("RightLeg", "RightUpLeg", (-2.6, -7.1, 0)),
    ("RightFoot", "RightLeg", (-2.5, -6.8, 0)),
    ("LowerBack", "Hips", (0, 0, 0)),
    ("Spine", "LowerBack", (0.02, 2.05, -0.14)),
    ("Spine1", "Spine", (0.01, 2.06, -0.06)),
    ("Neck", "Spine1", (0, 0, 0)),
    ("Neck1", "Neck", (0, 1.57, 0.15)),
    ("Head", "Neck1", (0.03, 1.56, -0.1)),
    ("LeftShoulder", "Spine1", (0, 0, 0)),
    ("LeftArm", "LeftShoulder", (3.5, 0.9, -0.17)),
    ("LeftForeArm", "LeftArm", (4.9, 0, 0)),
    ("LeftHand", "LeftForeArm", (3.4, 0, 0)),
    ("RightShoulder", "Spine1", (0, 0, 0)),
    ("RightArm", "RightShoulder", (-3.5, 0.8, -0.3)),
    ("RightForeArm", "RightArm", (-5.0, 0, 0)),
    ("RightHand", "RightForeArm", (-3.4, 0, 0)),
)
END_SITE = (0.01, 1.63, -0.05)
CHANNELS_PER_FRAME = 3 + 3 * len(CMU_MOTIONBUILDER)


def hierarchy_text(joints: Sequence[tuple] = CMU_MOTIONBUILDER, order: str = "ZYX") -> str:
    """The HIERARCHY part of a BVH: positions on the root, rotations in one order, an End Site on every leaf."""
    children: dict[str | None, list[tuple]] = {}
    for joint in joints:
        children.setdefault(joint[1], []).append(joint)
    rotations = " ".join(f"{axis}rotation" for axis in order)

    def block(joint: tuple, depth: int) -> list[str]:
        name, parent, offset = joint
        pad = "\t" * depth
        positions = "6 Xposition Yposition Zposition" if parent is None else "3"
        lines = [f"{pad}{'JOINT' if parent else 'ROOT'} {name}", pad + "{"]
        lines.append(f"{pad}\tOFFSET {offset[0]} {offset[1]} {offset[2]}")
        lines.append(f"{pad}\tCHANNELS {positions} {rotations}")
        for child in children.get(name, []):
            lines += block(child, depth + 1)
        if name not in children:
            end = " ".join(map(str, END_SITE))
            lines += [f"{pad}\tEnd Site", pad + "\t{", f"{pad}\t\tOFFSET {end}", pad + "\t}"]
        return [*lines, pad + "}"]

    return "\n".join(["HIERARCHY", *block(children[None][0], 0)]) + "\n"


def bvh_text(
    values: np.ndarray, frame_time_s: str = "0.0083333", joints: Sequence[tuple] = CMU_MOTIONBUILDER
) -> str:
    """A whole BVH; values are (T, CHANNELS_PER_FRAME), root position first, angles in degrees."""
    rows = "\n".join(" ".join(f"{value:.6f}" for value in row) for row in values)
    return f"{hierarchy_text(joints)}MOTION\nFrames: {len(values)}\nFrame Time: {frame_time_s}\n{rows}\n"


def smooth_values(n_frames: int, seed: int = 0, n_channels: int = CHANNELS_PER_FRAME) -> np.ndarray:
    """Slow random joint angles (degrees) around zero and a root that walks along z, 120 Hz."""
    random = np.random.default_rng(seed)
    time = np.arange(n_frames)[:, None] / 120.0
    values = 15.0 * np.sin(
        2 * np.pi * (time * random.uniform(0.2, 1.0, n_channels) + random.uniform(0, 1, n_channels))
    )
    values[:, 0:3] = np.concatenate([0 * time, 17 + 0 * time, 20 * time], axis=1)
    values[:, 3:6] *= 0.2
    return values


def write_walk(path: Path, n_frames: int = 240, t_pose: bool = True, seed: int = 0) -> np.ndarray:
    """A MotionBuilder-style BVH with an inserted T-pose; gives back its values."""
    values = smooth_values(n_frames, seed)
    if t_pose:
        pose = np.zeros((1, CHANNELS_PER_FRAME))
        pose[0, 1] = 17.0
        pose[0, 6] = -21.0
        values = np.concatenate([pose, values])
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(bvh_text(values))
    return values


ASF_BONES = (
    # name, direction, length, axis, dof; the bones that joint_maps/asf_cmu.yaml wants
    ("lhipjoint", (0.66, -0.71, 0.25), 2.5, (0, 0, 0), ""),
    ("lfemur", (0.342, -0.94, 0), 7.6, (0, 0, 20), "rx ry rz"),
    ("ltibia", (0.342, -0.94, 0), 7.3, (0, 0, 20), "rx"),
    ("rhipjoint", (-0.65, -0.72, 0.25), 2.5, (0, 0, 0), ""),
    ("rfemur", (-0.342, -0.94, 0), 7.6, (0, 0, -20), "rx ry rz"),
    ("rtibia", (-0.342, -0.94, 0), 7.2, (0, 0, -20), "rx"),
    ("lowerback", (0.01, 1.0, -0.07), 2.06, (0, 0, 0), "rx ry rz"),
    ("upperback", (0, 1.0, -0.03), 2.06, (0, 0, 0), "rx ry rz"),
    ("thorax", (0, 1.0, 0), 2.07, (0, 0, 0), "rx ry rz"),
    ("lowerneck", (0, 1.0, 0.1), 1.6, (0, 0, 0), "rx ry rz"),
    ("upperneck", (0, 1.0, 0), 1.56, (0, 0, 0), "rx ry rz"),
    ("head", (0, 1.0, 0), 1.63, (0, 0, 0), "rx ry rz"),
    ("lclavicle", (0.97, 0.25, 0), 3.6, (0, 0, 0), "ry rz"),
    ("lhumerus", (1, 0, 0), 4.9, (180, 30, 90), "rx ry rz"),
    ("lradius", (1, 0, 0), 3.4, (180, 30, 90), "rx"),
    ("rclavicle", (-0.97, 0.25, 0), 3.6, (0, 0, 0), "ry rz"),
    ("rhumerus", (-1, 0, 0), 5.0, (180, 30, -90), "rx ry rz"),
    ("rradius", (-1, 0, 0), 3.4, (180, 30, -90), "rx"),
)
ASF_CHAINS = (
    "root lhipjoint rhipjoint lowerback",
    "lhipjoint lfemur",
    "lfemur ltibia",
    "rhipjoint rfemur",
    "rfemur rtibia",
    "lowerback upperback",
    "upperback thorax",
    "thorax lowerneck lclavicle rclavicle",
    "lowerneck upperneck",
    "upperneck head",
    "lclavicle lhumerus",
    "lhumerus lradius",
    "rclavicle rhumerus",
    "rhumerus rradius",
)
ASF_COUNTS = {"root": 6} | {name: len(dof.split()) for name, *_, dof in ASF_BONES if dof}


def asf_text() -> str:
    """A skeleton in the layout of CMU's ASF files."""
    lines = ["# made by a test", ":version 1.10", ":name VICON", ":units", "  mass 1.0", "  length 0.45"]
    lines += [
        "  angle deg",
        ":documentation",
        "   none",
        ":root",
        "   order TX TY TZ RX RY RZ",
        "   axis XYZ",
    ]
    lines += ["   position 0 0 0", "   orientation 0 0 0", ":bonedata"]
    for number, (name, direction, length, axis, dof) in enumerate(ASF_BONES, start=1):
        lines += ["  begin", f"     id {number}", f"     name {name}"]
        lines += [f"     direction {direction[0]} {direction[1]} {direction[2]}", f"     length {length}"]
        lines += [f"     axis {axis[0]} {axis[1]} {axis[2]}  XYZ"]
        if dof:
            lines += [f"    dof {dof}"] + [
                f"    {'limits' * (i == 0)} (-90 90)" for i in range(len(dof.split()))
            ]
        lines.append("  end")
    lines += [":hierarchy", "  begin", *(f"    {chain}" for chain in ASF_CHAINS), "  end"]
    return "\n".join(lines) + "\n"


def amc_text(values: np.ndarray, flag: str = ":DEGREES") -> str:
    """An AMC; values are (T, sum of ASF_COUNTS) in the order of ASF_COUNTS."""
    lines = ["#!OML:ASF X:\\f\udcfcr\\nobody.ASF", ":FULLY-SPECIFIED", flag]
    for frame, row in enumerate(values, start=1):
        lines.append(str(frame))
        at = 0
        for name, count in ASF_COUNTS.items():
            lines.append(f"{name} " + " ".join(f"{value:.6g}" for value in row[at : at + count]))
            at += count
    return "\n".join(lines) + "\n"


def write_amc_pair(folder: Path, n_frames: int = 60, seed: int = 1) -> tuple[Path, np.ndarray]:
    """02.asf and 02_01.amc in a folder, Latin-1 bytes in the comment as in HDM05; gives the AMC and its values."""
    folder.mkdir(parents=True, exist_ok=True)
    values = smooth_values(n_frames, seed, sum(ASF_COUNTS.values()))
    (folder / "02.asf").write_text(asf_text())
    amc = folder / "02_01.amc"
    amc.write_bytes(amc_text(values).encode("latin-1", errors="surrogateescape"))
    return amc, values
