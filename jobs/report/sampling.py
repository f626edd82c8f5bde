"""Takes a few thousand rows out of datasets of any size: for distributions, and pairs to show side by side."""

from collections.abc import Iterator, Mapping

import numpy as np

from jobs.report.inputs import PosePair, PoseSample
from poses.batch import PoseBatch
from poses.cameras import CAMERA_FIELDS
from poses.errors import PosemillError
from storage.reader import Dataset, with_same_extra

SAMPLE_ROWS = 4_000
SHOWN_PAIRS = 6
MAX_GROUPS = 8
"""Row groups that are read of one dataset."""
MAX_GROUPS_SEARCHED = 64
"""Row groups of a source that are searched for the rows that augmented ones were made from."""
_SIZE_COLUMNS = [CAMERA_FIELDS.index("width"), CAMERA_FIELDS.index("height")]
_SEED = 20_261_121


def sample_rows(dataset: Dataset, notes: list[str], rows: int = SAMPLE_ROWS) -> PoseBatch | None:
    """Random rows of a few row groups that lie evenly over the files; training parts only, where there are parts."""
    files = dataset.pair_files
    if not files:
        return None
    random = np.random.default_rng(_SEED)
    spread = np.linspace(0, len(files) - 1, min(MAX_GROUPS, len(files))).astype(int)
    groups: list[PoseBatch] = []
    for entry in (files[i] for i in np.unique(spread)):
        try:
            n_groups = dataset.open_pairs(entry.path).n_groups
            few = len(files) == 1 and n_groups <= MAX_GROUPS
            chosen = range(n_groups) if few else random.integers(n_groups, size=1).tolist()
            groups += [_group(dataset, entry.path, group) for group in chosen]
        except PosemillError as error:
            notes.append(f"Not all of the data could be sampled: {error}")
    groups = _training_rows(groups)
    if not groups:
        return None
    share = -(-rows // len(groups))
    parts = [g.take(np.sort(random.choice(len(g), min(len(g), share), replace=False))) for g in groups]
    return PoseBatch.concat(with_same_extra(parts))


def _training_rows(groups: list[PoseBatch]) -> list[PoseBatch]:
    """The rows that a loop learns from: those whose part is called `*train*`; all, where there are none."""
    kept: list[PoseBatch] = []
    for group in groups:
        parts = group.extra.get("part")
        if parts is not None:
            kept.append(group.take(np.char.find(parts.astype(str), "train") >= 0))
    return [group for group in kept if len(group)] or [group for group in groups if len(group)]


def _group(dataset: Dataset, path: str, group: int) -> PoseBatch:
    """One row group as a batch."""
    return dataset.batch_of(dataset.open_pairs(path).read_group(group))


def split_single(
    samples: Mapping[str, PoseBatch | None],
) -> tuple[dict[str, PoseBatch | None], PoseBatch | None]:
    """A single dataset that holds originals and copies: the copies are what was augmented."""
    batch = samples.get("source")
    if batch is None:
        return dict(samples), None
    is_copy = batch.source_id != batch.sample_id
    copies, originals = np.flatnonzero(is_copy), np.flatnonzero(~is_copy)
    if not len(copies):
        return {"source": batch}, None
    return {"source": batch.take(originals) if len(originals) else None}, batch.take(copies)


def pose_sample(batch: PoseBatch | None) -> PoseSample | None:
    """What the distributions need of a sample, without rows that hold NaN; None where nothing is left."""
    if batch is None or not len(batch):
        return None
    finite = np.isfinite(batch.joints_camera_m).all((1, 2)) & np.isfinite(batch.keypoints_px).all((1, 2))
    kept = batch.take(np.flatnonzero(finite))
    return (
        PoseSample(kept.joints_camera_m, kept.keypoints_px, kept.camera_px[:, _SIZE_COLUMNS])
        if len(kept)
        else None
    )


def pose_pairs(made: PoseBatch, source: Dataset, notes: list[str]) -> Iterator[PosePair]:
    """Augmented rows of different clips beside the rows that they were made from."""
    copies = made.take(np.flatnonzero(made.source_id != made.sample_id))
    if not len(copies):
        return
    order = np.random.default_rng(_SEED).permutation(len(copies))[:512]
    copies = copies.take(order)
    try:
        originals = _rows_by_id(source, set(copies.source_id.tolist()), SHOWN_PAIRS * 8)
    except PosemillError as error:
        notes.append(f"The sources of augmented poses could not be read: {error}")
        return
    shown: set[str] = set()
    spare: list[PosePair] = []
    for i in range(len(copies)):
        original = originals.get(int(copies.source_id[i]))
        if original is None:
            continue
        pair = _pair(original, copies.take(np.array([i])))
        if len(shown) < SHOWN_PAIRS and str(copies.clip[i]) not in shown:
            shown.add(str(copies.clip[i]))
            yield pair
        else:
            spare.append(pair)
    yield from spare[: SHOWN_PAIRS - len(shown)]


def _rows_by_id(dataset: Dataset, wanted: set[int], enough: int) -> dict[int, PoseBatch]:
    """Rows of the dataset by sample id, read group by group until there are enough."""
    found: dict[int, PoseBatch] = {}
    ids = np.fromiter(wanted, dtype=np.int64)
    searched = 0
    for entry in dataset.pair_files:
        reader = dataset.open_pairs(entry.path)
        for group in range(reader.n_groups):
            searched += 1
            here = np.flatnonzero(np.isin(reader.read_group(group, ["sample_id"])["sample_id"], ids))
            if len(here):
                batch = _group(dataset, entry.path, group)
                found.update({int(batch.sample_id[i]): batch.take(np.array([i])) for i in here})
            if len(found) >= enough or searched >= MAX_GROUPS_SEARCHED:
                return found
    return found


def _pair(original: PoseBatch, copy: PoseBatch) -> PosePair:
    clip, action, camera = (
        str(column[0]) for column in (original.clip, original.action, original.camera_name)
    )
    words = [clip, "" if action in clip else action, f"frame {int(original.frame[0])}", camera]
    return PosePair(
        " · ".join(word for word in words if word),
        original.joints_camera_m[0],
        original.keypoints_px[0],
        original.camera_px[0, _SIZE_COLUMNS],
        copy.joints_camera_m[0],
        copy.keypoints_px[0],
        copy.camera_px[0, _SIZE_COLUMNS],
        _up(original),
        _up(copy),
    )


def _up(row: PoseBatch) -> np.ndarray | None:
    """The world's up in camera axes, where the dataset has it."""
    up = row.extra.get("up_camera")
    return None if up is None else np.asarray(up[0], dtype=np.float64)
