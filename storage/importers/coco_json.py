"""COCO keypoints JSON as posemill writes it: 2D in COCO's keys, 3D, camera and identity in further ones.

COCO files of other makers have no 3D and cannot become pairs; the message says so.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import TypeAdapter, ValidationError

from poses.batch import PoseBatch
from poses.errors import SkeletonError
from poses.skeleton import Skeleton
from storage.errors import ImporterError
from storage.exporters.coco import INFO_KEY, KEYPOINTS_KEY
from storage.exporters.columns import ColumnSpec, batch_of, core_specs
from storage.importers.exported import ExportFolder
from storage.importers.json_rows import json_column, json_objects, parse_json
from storage.schema import CORE_COLUMNS

MAX_FILE_BYTES = 2 << 30
"""A JSON file is parsed as a whole, at about ten times its size in memory."""


def read_coco(folder: ExportFolder) -> Iterator[PoseBatch]:
    """The pairs of every file of an export."""
    for entry in folder.index.files:
        where = folder.where(entry)
        _check_size(entry.bytes, where)
        with folder.open_file(entry) as source:
            document = parse_json(source.read(), where)
        yield _pairs(document, folder.index.columns, folder.skeleton, where)


def read_coco_file(path: str | Path) -> PoseBatch:
    """The pairs of one file by itself; skeleton and columns are those that its `info` names.

    Raises:
        ImporterError: if it is no such file.
    """
    path = Path(path)
    try:
        _check_size(path.stat().st_size, str(path))
        document = parse_json(path.read_bytes(), str(path))
    except OSError as error:
        raise ImporterError(f"{path}: cannot be read: {error.strerror or error}") from error
    info = document.get("info") if isinstance(document, dict) else None
    own = info.get(INFO_KEY) if isinstance(info, dict) else None
    if not isinstance(own, dict):
        raise ImporterError(
            f"{path}: wanted COCO keypoints with 3D joints and cameras as posemill writes them, got none of its"
            " keys; plain COCO files have 2D only and cannot become 2D-3D pairs"
        )
    try:
        skeleton = Skeleton.from_dict(own.get("skeleton", {}))
        columns = TypeAdapter(tuple[ColumnSpec, ...]).validate_python(own.get("columns"))
    except (ValidationError, SkeletonError) as error:
        raise ImporterError(f"{path}: its info cannot be read: {error}") from error
    if columns[: len(CORE_COLUMNS)] != core_specs(skeleton):
        raise ImporterError(f"{path}: its columns are not those of pairs with skeleton {skeleton.name!r}")
    return _pairs(document, columns, skeleton, str(path))


def _check_size(size_bytes: int, where: str) -> None:
    if size_bytes > MAX_FILE_BYTES:
        raise ImporterError(
            f"{where}: {size_bytes:,} bytes, more than the {MAX_FILE_BYTES:,} that are parsed as one JSON file;"
            " export with a smaller --shard-rows"
        )


def _pairs(document: Any, columns: Sequence[ColumnSpec], skeleton: Skeleton, where: str) -> PoseBatch:
    if not isinstance(document, dict):
        raise ImporterError(f"{where}: wanted a COCO file (a JSON object), got {type(document).__name__}")
    annotations = json_objects(document.get("annotations"), f"{where}: annotations")
    extras = [annotation.get("extra", {}) for annotation in annotations]
    found: dict[str, np.ndarray] = {}
    for spec in columns:
        if spec.name == "keypoints_px":
            continue
        if spec.name in CORE_COLUMNS:
            found[spec.name] = json_column(annotations, spec.name, spec, where)
        else:
            rows = json_objects(extras, f"{where}: extra")
            found[spec.name] = json_column(rows, spec.name, spec, f"{where}: extra")
    found["keypoints_px"] = _keypoints_px(annotations, skeleton.n_joints, where)
    return batch_of(found, skeleton)


def _keypoints_px(annotations: Sequence[dict[str, Any]], joints: int, where: str) -> np.ndarray:
    """(B, J, 2) from COCO's x, y, visibility; missing keypoints from our own key where it is there."""
    triples = ColumnSpec(name="keypoints", dtype="float32", shape=(joints, 3))
    pixels = np.ascontiguousarray(json_column(annotations, "keypoints", triples, where)[..., :2])
    own = [number for number, one in enumerate(annotations) if one.get(KEYPOINTS_KEY) is not None]
    if own:
        spec = ColumnSpec(name=KEYPOINTS_KEY, dtype="float32", shape=(joints, 2))
        pixels[own] = json_column([annotations[number] for number in own], KEYPOINTS_KEY, spec, where)
    return pixels
