"""Gathers what a report shows from the folder that a run wrote. Reads a few thousand rows, whatever the dataset's size.

Missing parts are left out; what is there but cannot be read becomes a note on the page, not a failure.
"""

import json
from collections.abc import Mapping
from typing import Any

from jobs.locate import datasets_of_run, joined
from jobs.redaction import redacted_text
from jobs.report.evaluation import evaluation_tables
from jobs.report.inputs import DatasetFact, QuarantinedFact, ReportInputs, RowCount
from jobs.report.sampling import pose_pairs, pose_sample, sample_rows, split_single
from poses.errors import PosemillError
from poses.skeleton import Skeleton
from storage.object_store import ObjectStore, open_store
from storage.reader import Dataset

SHOWN_QUARANTINE = 200
_METRICS_FILES = ("loop/metrics.jsonl", "metrics.jsonl")
"""Of the loop inside a run, and of a loop that is a run by itself."""


def report_inputs_from_run(out_url: str, version: int | None = None) -> ReportInputs:
    """Everything that a run's folder, or a single dataset, has to show.

    Args:
        out_url: The run, or the dataset.
        version: Of the data; the latest of every dataset without.

    Raises:
        DatasetError: if a dataset's manifest cannot be read, or a dataset has no such version.
        ReportError: if an evaluation table has the wrong shape.
    """
    store = open_store(out_url)
    urls = datasets_of_run(out_url, store)
    notes: list[str] = []
    opened = {name: Dataset.open(url, version) for name, url in urls.items()}
    source = opened.get("source") or opened.get("dataset")
    augmented = opened.get("augmented")
    samples = {
        name: sample_rows(dataset, notes)
        for name, dataset in (("source", source), ("augmented", augmented))
        if dataset
    }
    made = samples.get("augmented")
    if source is not None and augmented is None and made is None:
        samples, made = split_single(samples)
    facts = _facts(store)
    skeleton = next((dataset.skeleton for dataset in opened.values()), None) or _default_skeleton()
    return ReportInputs(
        title=facts.pop("title", "") or "What the run made",
        subtitle=_subtitle(source, augmented),
        skeleton=skeleton,
        source=pose_sample(samples.get("source")),
        augmented=pose_sample(made),
        pairs=tuple(pose_pairs(made, source, notes)) if made is not None and source is not None else (),
        metrics=_metrics(store, notes),
        counts=_counts(opened),
        evaluations=_evaluations(store, notes),
        facts=facts,
        seconds=_run_file(store).get("seconds"),
        stage_seconds=_run_file(store).get("stage_seconds", {}),
        versions=_run_file(store).get("versions", {}),
        datasets=[_dataset_fact(name, dataset) for name, dataset in opened.items()],
        recipe_yaml=redacted_text(_text(store, "recipe.yaml")),
        quarantined=_quarantined(opened, notes),
        quarantined_total=sum(dataset.manifest.quarantined for dataset in opened.values()),
        notes=notes,
    )


def _metrics(store: ObjectStore, notes: list[str]) -> list[dict[str, Any]]:
    lines: list[dict[str, Any]] = []
    broken = 0
    path = next((path for path in _METRICS_FILES if store.exists(path)), _METRICS_FILES[0])
    for line in _text(store, path).splitlines():
        try:
            value = json.loads(line)
        except json.JSONDecodeError:
            broken += 1
            continue
        if isinstance(value, dict):
            lines.append(value)
    if broken:
        notes.append(f"{path}: {broken} lines could not be read and are left out.")
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


def _counts(opened: Mapping[str, Dataset]) -> list[RowCount]:
    """Rejected and kept poses of every dataset that rejected some, and of the augmented one in any case."""
    titles = {
        "dataset": "Pairs",
        "source": "Source poses under the cameras",
        "augmented": "Augmented poses",
    }
    return [
        RowCount(titles.get(name, name), dataset.manifest.rows, dataset.manifest.rejected)
        for name, dataset in reversed(list(opened.items()))
        if dataset.manifest.rejected or name == "augmented"
    ]


def _dataset_fact(name: str, dataset: Dataset) -> DatasetFact:
    manifest = dataset.manifest
    return DatasetFact(
        role=name,
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
