"""Checks a dataset from the outside: digests, sizes, rows, schema, and whether the poses can be true.

Digests find what was damaged; geometry finds what was wrong when it was written: a 3D pose that does not project onto its
2D pose, bones that no human has, numbers that are none, ids that stand twice.
"""

from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np

from pipelines.progress import Progress
from poses.batch import PoseBatch
from poses.cameras import camera_field, project_px
from poses.errors import PosemillError
from poses.skeleton import Skeleton
from storage.commit import FileEntry
from storage.digests import stored_digest, stored_tree
from storage.object_store import ObjectStore
from storage.reader import Dataset

BONE_RANGE_M = (0.005, 0.95)
"""Shorter than the smallest child's, or longer than the longest adult's bone of any skeleton in use."""
TOLERANCE_PX_PER_1000 = 1.0
"""A keypoint may lie off its joint's projection by this much, per 1,000 px of image width."""
_MAX_EXAMPLES = 5


@dataclass(frozen=True)
class Finding:
    """One thing that is wrong: which check, in which file, in words, and how many rows it concerns."""

    check: str
    where: str
    problem: str
    rows: int = 0


@dataclass
class Verification:
    """What was checked and what was found."""

    dataset: str
    version: int
    files: int = 0
    rows: int = 0
    largest_projection_error_px: float = 0.0
    findings: list[Finding] = field(default_factory=list)

    @property
    def ok(self) -> bool:
        """Whether nothing is wrong."""
        return not self.findings

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        return {**asdict(self), "ok": self.ok}

    def lines(self) -> list[str]:
        """For a reader: one line if all is well, else one per finding."""
        head = f"{self.dataset} v{self.version:06d}: {self.files:,} files, {self.rows:,} pairs"
        if self.ok:
            return [f"{head}: all well (largest projection error {self.largest_projection_error_px:.3f} px)"]
        faults = [
            f"  {f.check}: {f.where}: {f.problem}" + (f" ({f.rows:,} rows)" if f.rows else "")
            for f in self.findings
        ]
        return [f"{head}: {len(self.findings)} findings", *faults]


def verify_dataset(
    dataset: Dataset,
    progress: Progress,
    digests: bool = True,
    tolerance_px_per_1000: float = TOLERANCE_PX_PER_1000,
) -> Verification:
    """Check every file of one version.

    Args:
        digests: Also recompute every sha256 (reads each file once more).
        tolerance_px_per_1000: Allowed distance between a keypoint and its joint's projection, per 1,000 px of width;
            raise it for datasets whose 2D carries detector noise.
    """
    result = Verification(dataset.store.url, dataset.manifest.version)
    task = f"verify {dataset.store.url}"
    progress.start(task, len(dataset.manifest.files), "files")
    ids: list[np.ndarray] = []
    for entry in dataset.manifest.files:
        result.files += 1
        damage = _damage(dataset.store, entry, digests)
        if damage:
            result.findings.append(Finding("digest", entry.path, damage, entry.rows))
        elif entry.kind == "pairs":
            result.findings.extend(_check_pairs(dataset, entry, tolerance_px_per_1000, result, ids))
        progress.advance(task)
    progress.finish(task)
    _check_ids(ids, result)
    _check_counts(dataset, result)
    return result


def _damage(store: ObjectStore, entry: FileEntry, digests: bool) -> str:
    """How a stored file differs from its entry in the manifest; empty when it does not."""
    try:
        if entry.kind == "sequences":
            digest, size = stored_tree(store, entry.path) if digests else (entry.sha256, entry.bytes)
        else:
            size = store.size_bytes(entry.path)
            digest = stored_digest(store, entry.path) if digests and size == entry.bytes else entry.sha256
    except (PosemillError, OSError) as error:
        return f"cannot be read: {error}"
    if size != entry.bytes:
        return f"{entry.bytes:,} bytes in the manifest, {size:,} in the store; the file is damaged or missing"
    if digest != entry.sha256:
        return (
            f"sha256 {entry.sha256[:12]}… in the manifest, {digest[:12]}… in the store; the file was changed"
        )
    return ""


def _check_pairs(
    dataset: Dataset, entry: FileEntry, tolerance: float, result: Verification, ids: list[np.ndarray]
) -> list[Finding]:
    """Schema and geometry of one pairs file; one finding per kind of fault."""
    faults: dict[str, tuple[int, str]] = {}
    rows = 0
    try:
        for batch in dataset.iter_batches(files=[entry.path]):
            ids.append(batch.sample_id.copy())
            rows += len(batch)
            for check, wrong, problem in _faults(batch, dataset.skeleton, tolerance, result):
                count, _ = faults.get(check, (0, ""))
                first = (
                    faults[check][1]
                    if count
                    else f"{problem} (sample {int(batch.sample_id[np.argmax(wrong)])})"
                )
                faults[check] = (count + int(wrong.sum()), first)
    except PosemillError as error:
        return [Finding("schema", entry.path, str(error), entry.rows)]
    result.rows += rows
    found = [Finding(check, entry.path, problem, count) for check, (count, problem) in faults.items()]
    if rows != entry.rows:
        found.append(
            Finding(
                "rows", entry.path, f"{entry.rows:,} rows in the manifest, {rows:,} in the file", entry.rows
            )
        )
    return found


def _faults(
    batch: PoseBatch, skeleton: Skeleton, tolerance: float, result: Verification
) -> Iterator[tuple[str, np.ndarray, str]]:
    """(check, which rows are wrong, what is wrong with the first) for every check that fails."""
    joints, seen = batch.joints_camera_m, batch.keypoint_confidence > 0
    finite = np.isfinite(joints).all((1, 2)) & np.isfinite(
        np.where(seen[..., None], batch.keypoints_px, 0)
    ).all((1, 2))
    finite &= np.isfinite(batch.camera_px).all(1)
    if not finite.all():
        yield "finite", ~finite, "NaN or infinite numbers in joints, keypoints or camera"
    usable = np.where(finite[:, None, None], joints, 1.0)
    lengths = np.linalg.norm(
        usable[:, skeleton.bone_child_index] - usable[:, skeleton.bone_parent_index], axis=-1
    )
    human = (lengths >= BONE_RANGE_M[0]) & (lengths <= BONE_RANGE_M[1])
    odd = finite & ~human.all(1)
    if odd.any():
        row = int(np.argmax(odd))
        k = int(np.argmin(human[row]))
        low, high = BONE_RANGE_M
        yield (
            "bones",
            odd,
            f"bone {skeleton.bones[k]} is {lengths[row, k]:.3f} m long, human bones are {low} to {high} m",
        )
    behind = finite & (usable[..., 2] <= 0).any(1)
    if behind.any():
        yield "camera", behind, "a joint is behind the camera"
    yield from _projection_fault(batch, finite & ~behind, seen, tolerance, result)


def _projection_fault(
    batch: PoseBatch, usable: np.ndarray, seen: np.ndarray, tolerance: float, result: Verification
) -> Iterator[tuple[str, np.ndarray, str]]:
    if not usable.any():
        return
    rows = np.flatnonzero(usable)
    camera = batch.camera_px[rows].astype(np.float64)
    projected = project_px(batch.joints_camera_m[rows].astype(np.float64), camera)
    error_px = np.linalg.norm(projected - batch.keypoints_px[rows], axis=-1)
    error_px = np.where(seen[rows], error_px, 0.0).max(axis=1, initial=0.0)
    result.largest_projection_error_px = max(
        result.largest_projection_error_px, float(error_px.max(initial=0.0))
    )
    allowed_px = tolerance * camera_field(camera, "width") / 1000
    off = error_px > allowed_px
    if off.any():
        wrong = np.zeros(len(usable), dtype=bool)
        wrong[rows[off]] = True
        first = int(np.argmax(off))
        yield (
            "projection", wrong,
            f"the 3D pose projects {error_px[first]:.2f} px beside its 2D pose, {allowed_px[first]:.2f} px are allowed",
        )  # fmt: skip


def _check_ids(ids: list[np.ndarray], result: Verification) -> None:
    if not ids:
        return
    values, counts = np.unique(np.concatenate(ids), return_counts=True)
    twice = counts > 1
    if twice.any():
        examples = ", ".join(str(int(v)) for v in values[twice][:_MAX_EXAMPLES])
        problem = f"{int(twice.sum()):,} sample ids stand more than once, for instance {examples}"
        result.findings.append(Finding("ids", "pairs", problem, int((counts[twice] - 1).sum())))
    if values[0] < 0:
        result.findings.append(Finding("ids", "pairs", "a sample id is negative", int((values < 0).sum())))


def _check_counts(dataset: Dataset, result: Verification) -> None:
    unread = {finding.where for finding in result.findings if finding.check in ("digest", "schema", "rows")}
    if not unread and result.rows != dataset.manifest.rows:
        problem = f"{dataset.manifest.rows:,} rows in the manifest, {result.rows:,} in its files"
        result.findings.append(Finding("rows", "manifest", problem))
