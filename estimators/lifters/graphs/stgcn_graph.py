"""Graphs of the single-frame ST-GCN: links between joints and between body parts, in partitions (spec 1.2).

Facts of the published graph (Cai et al. 2019, as PoseAug ships it): joints are linked by bones and to their mirror
image; the adjacency with the diagonal is divided by its column sums and split into four: the joint itself, links that
lead away from the centre (the spine), links that lead towards it, links between mirror images. Joints pool into both
arms, both legs and the middle; parts are linked to the middle and to their mirror image and split in the same way. All
of it is derived from the skeleton here and equals the published tables on h36m_17; the order of parts changes nothing.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from poses.skeleton import Skeleton, load_skeleton

CENTRE = "spine"
"""Distances are counted from this joint, or from the root of skeletons without it."""
PARTITIONS = 4
Links = set[tuple[int, int]]


@dataclass(frozen=True)
class BodyGraph:
    """What the network must know of a skeleton.

    Attributes:
        joints: (4, J, J) partitions of the joint graph; [k, i, j] is what joint i gives to joint j.
        parts: (4, P, P) partitions of the graph of parts.
        members: Joint indices of each part.
    """

    joints: Float[Tensor, "4 J J"]
    parts: Float[Tensor, "4 P P"]
    members: tuple[tuple[int, ...], ...]


def body_graph(skeleton: Skeleton) -> BodyGraph:
    """The graphs of a skeleton."""
    bones = _both_ways(
        zip(skeleton.bone_child_index.tolist(), skeleton.bone_parent_index.tolist(), strict=True)
    )
    mirrored: Links = {(i, j) for i, j in enumerate(skeleton.mirror_index.tolist()) if i != j}
    centre = skeleton.index(CENTRE) if CENTRE in skeleton.joints else skeleton.root_index
    joints = partitions(skeleton.n_joints, bones, mirrored, centre)
    members = _parts(skeleton)
    part_of = {joint: part for part, inside in enumerate(members) for joint in inside}
    between = {(part_of[i], part_of[j]) for i, j in bones if part_of[i] != part_of[j]}
    twins = {(part_of[i], part_of[j]) for i, j in mirrored if part_of[i] != part_of[j]}
    parts = partitions(len(members), between - twins, twins, part_of[centre])
    return BodyGraph(joints, parts, members)


def partitions(nodes: int, links: Links, mirrored: Links, centre: int) -> Float[Tensor, "4 N N"]:
    """Column-normalised adjacency split into self, away from the centre, towards it, mirror image.

    Args:
        nodes: How many there are.
        links: (i, j), both ways.
        mirrored: Links between mirror images, both ways; they win over `links`.
        centre: Node that distances along `links` are counted from.
    """
    distance = _distances(nodes, links, centre)
    split = torch.zeros(PARTITIONS, nodes, nodes, dtype=torch.float64)
    split[0].fill_diagonal_(1.0)
    for i, j in links - mirrored:
        if distance[i] != distance[j]:
            split[1 if distance[i] > distance[j] else 2, i, j] = 1.0
    for i, j in mirrored:
        split[3, i, j] = 1.0
    linked = torch.eye(nodes, dtype=torch.float64)
    for i, j in links | mirrored:
        linked[i, j] = 1.0
    return (split / linked.sum(0)).float()


def inner_skeleton(skeleton: Skeleton) -> tuple[Skeleton, Float[Tensor, "V J"], Float[Tensor, "J V"]]:
    """The skeleton that the network works on, the map of its joints from the outer ones, and the way back.

    PoseAug gives its 16 joints to a network of the 17 of Human3.6M: the missing neck_nose goes halfway between thorax
    and head, and is dropped from the output. Other skeletons are worked on as they are.
    """
    published = load_skeleton("h36m_17")
    if set(published.joints) - set(skeleton.joints) != {"neck_nose"} or skeleton.n_joints != 16:
        same = torch.eye(skeleton.n_joints)
        return skeleton, same, same
    inward = torch.zeros(published.n_joints, skeleton.n_joints)
    for row, joint in enumerate(published.joints):
        sources = ("thorax", "head") if joint == "neck_nose" else (joint,)
        for source in sources:
            inward[row, skeleton.index(source)] = 1.0 / len(sources)
    outward = torch.zeros(skeleton.n_joints, published.n_joints)
    for row, joint in enumerate(skeleton.joints):
        outward[row, published.index(joint)] = 1.0
    return published, inward, outward


def _parts(skeleton: Skeleton) -> tuple[tuple[int, ...], ...]:
    """Limbs (joints of one side that hang together), then the middle, if it has joints."""
    lefts = {skeleton.index(left) for left, _ in skeleton.mirror_pairs}
    rights = {skeleton.index(right) for _, right in skeleton.mirror_pairs}
    limbs: dict[int, list[int]] = {}
    top: dict[int, int] = {}
    for joint in _outwards(skeleton.parents):
        for side in (lefts, rights):
            if joint in side:
                parent = skeleton.parents[joint]
                top[joint] = top[parent] if parent in side else joint
                limbs.setdefault(top[joint], []).append(joint)
    middle = [joint for joint in range(skeleton.n_joints) if joint not in lefts | rights]
    parts = [tuple(sorted(limb)) for limb in limbs.values()]
    return (*parts, tuple(middle)) if middle else tuple(parts)


def _outwards(parents: Sequence[int]) -> list[int]:
    """Joint indices, every parent before its children."""
    order = [joint for joint, parent in enumerate(parents) if parent < 0]
    for joint in order:
        order.extend(child for child, parent in enumerate(parents) if parent == joint)
    return order


def _both_ways(links: Iterable[tuple[int, int]]) -> Links:
    return {pair for i, j in links for pair in ((i, j), (j, i))}


def _distances(nodes: int, links: Links, centre: int) -> list[int]:
    """Number of links from the centre; `nodes` where there is no way."""
    distance = [nodes] * nodes
    distance[centre] = 0
    reached = [centre]
    for node in reached:
        for other in sorted(j for i, j in links if i == node):
            if distance[other] == nodes:
                distance[other] = distance[node] + 1
                reached.append(other)
    return distance
