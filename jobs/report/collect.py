"""Gathers what a report shows from the folder that a run wrote. Reads a few thousand rows, whatever the dataset's size.

Missing parts are left out; what is there but cannot be read becomes a note on the page, not a failure.
"""

import json
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from jobs.locate import datasets_of_run, joined
from jobs.redaction import redacted_text
from jobs.report.evaluation import evaluation_tables
from jobs.report.inputs import DatasetFact, PosePair, PoseSample, QuarantinedFact, ReportInputs
from poses.batch import PoseBatch
from poses.cameras import CAMERA_FIELDS
from poses.errors import PosemillError
from poses.skeleton import Skeleton
from storage.object_store import ObjectStore, open_store
from storage.reader import Dataset

SAMPLE_ROWS = 4_000
SHOWN_PAIRS = 6
SHOWN_QUARANTINE = 200
_MAX_GROUPS = 8
_MAX_GROUPS_SEARCHED = 64
_SIZE_COLUMNS = [CAMERA_FIELDS.index("width"), CAMERA_FIELDS.index("height")]
_SEED = 20_261_121


def report_inputs_from_run(out_url: str) -> ReportInputs:
    """Everything that a run's folder, or a single dataset, has to show.

    Raises:
        DatasetError: if a dataset's manifest cannot be read.
        ReportError: if an evaluation table has the wrong shape.
    """
    store = open_store(out_url)
    urls = datasets_of_run(out_url, store)
    notes: list[str] = []
    opened = {name: Dataset.open(url) for name, url in urls.items()}
    source = opened.get("source") or opened.get("dataset")
    augmented = opened.get("augmented")
    samples = {
        name: _sampled(dataset, notes)
        for name, dataset in (("source", source), ("augmented", augmented))
        if dataset
    }
    made = samples.get("augmented")
    if source is not None and augmented is None and made is None:
        samples, made = _split_single(samples)
    facts = _facts(store)
    skeleton = next((dataset.skeleton for dataset in opened.values()), None) or _default_skeleton()
    return ReportInputs(
        title=facts.pop("title", "") or "What the run made",
        subtitle=_subtitle(source, augmented),
        skeleton=skeleton,
        source=_pose_sample(samples.get("source")),
        augmented=_pose_sample(made),
        pairs=tuple(_pairs(made, augmented or source, source, notes))
        if made is not None and source is not None
        else (),
        metrics=_metrics(store, notes),
        kept=augmented.manifest.rows if augmented else None,
        rejected=dict(augmented.manifest.rejected) if augmented else {},
        evaluations=_evaluations(store, notes),
        facts=facts,
        stage_seconds=_run_file(store).get("stage_seconds", {}),
        versions=_run_file(store).get("versions", {}),
        datasets=[_dataset_fact(name, dataset) for name, dataset in opened.items()],
        recipe_yaml=_text(store, "recipe.yaml"),
        quarantined=_quarantined(opened, notes),
        quarantined_total=sum(dataset.manifest.quarantined for dataset in opened.values()),
        notes=notes,
    )


def _sampled(dataset: Dataset, notes: list[str], rows: int = SAMPLE_ROWS) -> PoseBatch | None:
    """Random rows of a few row groups that lie evenly over the files."""
    files = dataset.pair_files
    if not files:
        return None
    random = np.random.default_rng(_SEED)
    chosen = [
        files[i] for i in np.unique(np.linspace(0, len(files) - 1, min(_MAX_GROUPS, len(files))).astype(int))
    ]
    parts: list[PoseBatch] = []
    for entry in chosen:
        try:
            reader = dataset.open_pairs(entry.path)
            group = int(random.integers(reader.n_groups)) if reader.n_groups else 0
            groups = (
                range(reader.n_groups) if len(chosen) == 1 and reader.n_groups <= _MAX_GROUPS else [group]
            )
            for at in groups:
                batch = _group(dataset, entry.path, at)
                wanted = min(len(batch), -(-rows // (len(chosen) * max(1, len(groups)))))
                parts.append(batch.take(np.sort(random.choice(len(batch), wanted, replace=False))))
        except PosemillError as error:
            notes.append(f"Not all of the data could be sampled: {error}")
    return PoseBatch.concat([_plain(part) for part in parts]) if parts else None


def _group(dataset: Dataset, path: str, group: int) -> PoseBatch:
    """One row group as a batch."""
    from storage.schema import to_batch

    return to_batch(dataset.open_pairs(path).read_group(group), dataset.skeleton)


def _plain(batch: PoseBatch) -> PoseBatch:
    """Without extra columns, which may differ from file to file."""
    from dataclasses import replace

    return replace(batch, extra={})


def _split_single(
    samples: Mapping[str, PoseBatch | None],
) -> tuple[dict[str, PoseBatch | None], PoseBatch | None]:
    """A single dataset that holds originals and copies: the copies are what was augmented."""
    batch = samples.get("source")
    if batch is None:
        return dict(samples), None
    made = batch.source_id != batch.sample_id
    if not made.any():
        return {"source": batch}, None
    return {"source": batch.take(~made) if (~made).any() else None}, batch.take(made)


def _pose_sample(batch: PoseBatch | None) -> PoseSample | None:
    if batch is None or not len(batch):
        return None
    finite = np.isfinite(batch.joints_camera_m).all((1, 2)) & np.isfinite(batch.keypoints_px).all((1, 2))
    kept = batch.take(finite)
    return (
        PoseSample(kept.joints_camera_m, kept.keypoints_px, kept.camera_px[:, _SIZE_COLUMNS])
        if len(kept)
        else None
    )


def _pairs(
    made: PoseBatch, augmented: Dataset | None, source: Dataset, notes: list[str]
) -> Iterator[PosePair]:
    """Augmented rows of different clips beside the rows that they were made from."""
    del augmented
    copies = made.take(made.source_id != made.sample_id)
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
        pair = _pair(original, copies.take([i]))
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
                found.update({int(batch.sample_id[i]): batch.take([i]) for i in here})
            if len(found) >= enough or searched >= _MAX_GROUPS_SEARCHED:
                return found
    return found


def _pair(original: PoseBatch, copy: PoseBatch) -> PosePair:
    words = [
        str(original.clip[0]),
        str(original.action[0]),
        f"frame {int(original.frame[0])}",
        str(original.camera_name[0]),
    ]
    return PosePair(
        " · ".join(word for word in words if word),
        original.joints_camera_m[0],
        original.keypoints_px[0],
        original.camera_px[0, _SIZE_COLUMNS],
        copy.joints_camera_m[0],
        copy.keypoints_px[0],
        copy.camera_px[0, _SIZE_COLUMNS],
    )


def _metrics(store: ObjectStore, notes: list[str]) -> list[dict[str, Any]]:
    lines: list[dict[str, Any]] = []
    broken = 0
    for line in _text(store, "loop/metrics.jsonl").splitlines():
        try:
            value = json.loads(line)
        except json.JSONDecodeError:
            broken += 1
            continue
        if isinstance(value, dict):
            lines.append(value)
    if broken:
        notes.append(f"loop/metrics.jsonl: {broken} lines could not be read and are left out.")
    return lines


def _evaluations(store: ObjectStore, notes: list[str]) -> list[Any]:
    text = _text(store, "evaluation.json")
    if not text:
        return []
    try:
        return evaluation_tables(json.loads(text))
    except (json.JSONDecodeError, KeyError, TypeError, ValueError) as error:
        notes.append(f"evaluation.json could not be read: {error}")
        return []


def _facts(store: ObjectStore) -> dict[str, str]:
    run = _run_file(store)
    facts = {"title": str(run.get("name") or ""), **{str(k): str(v) for k, v in run.get("facts", {}).items()}}
    return {key: redacted_text(value) for key, value in facts.items() if value}


def _run_file(store: ObjectStore) -> dict[str, Any]:
    try:
        value = json.loads(_text(store, "run.json") or "{}")
    except json.JSONDecodeError:
        return {}
    return value if isinstance(value, dict) else {}


def _text(store: ObjectStore, path: str) -> str:
    return store.read_bytes(path).decode("utf-8", errors="replace") if store.exists(path) else ""


def _quarantined(opened: Mapping[str, Dataset], notes: list[str]) -> list[QuarantinedFact]:
    found: list[QuarantinedFact] = []
    for dataset in opened.values():
        try:
            for row in dataset.quarantined_rows():
                if len(found) >= SHOWN_QUARANTINE:
                    return found
                at = "whole file" if row.row is None else str(row.row)
                found.append(QuarantinedFact(redacted_text(row.source), at, row.stage, row.reason))
        except PosemillError as error:
            notes.append(f"The quarantine could not be read: {error}")
    return found


def _dataset_fact(name: str, dataset: Dataset) -> DatasetFact:
    manifest = dataset.manifest
    return DatasetFact(
        role="source" if name == "dataset" else name,
        url=redacted_text(joined(dataset.store.url, "")),
        version=f"v{manifest.version:06d}",
        rows=manifest.rows,
        files=len(manifest.files),
        size_bytes=sum(file.bytes for file in manifest.files),
    )


def _subtitle(source: Dataset | None, augmented: Dataset | None) -> str:
    if source is None:
        return ""
    counts = source.manifest.statistics.counts
    people, actions = len(counts.get("subject", {})), len(counts.get("action", {}))
    who = f"{people} {'person' if people == 1 else 'people'}" if people else "people"
    what = f" in {actions} kinds of action" if actions > 1 else ""
    tail = ", and the new 2D-3D pairs that were made of it" if augmented is not None else ""
    return f"Recorded motion of {who}{what}{tail}."


def _default_skeleton() -> Skeleton:
    from poses.skeleton import load_skeleton

    return load_skeleton("h36m_16")
