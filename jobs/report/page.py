"""Writes the report: one HTML file that loads nothing.

Every string that came from a file goes through jinja2's autoescape or `html.escape`; a content security policy allows
the page's own script (by its hash) and nothing else, so that an escape that was forgotten would still not run.
"""

import base64
import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jinja2
from markupsafe import Markup

from jobs.report import learning, results, sections
from jobs.report.formatting import bytes_text, duration_text, percent, thousands
from jobs.report.inputs import ReportInputs, RowCount

_HERE = Path(__file__).parent
_SHOWN_QUARANTINE = 200
_NAVIGATION = (
    ("results", "Results"),
    ("poses", "Poses"),
    ("spread", "Coverage"),
    ("loop", "Loop"),
    ("rows", "Rows"),
    ("run", "Run"),
)
_ABSENT = {
    "results": "an evaluation",
    "poses": "augmented poses with their sources",
    "spread": "pose datasets",
    "loop": "a closed loop",
}


def write_report(inputs: ReportInputs, path: str | Path) -> Path:
    """Write the page to a local file, whole or not at all; returns its path."""
    target = Path(path)
    target.parent.mkdir(parents=True, exist_ok=True)
    partial = target.with_name(target.name + ".partial")
    partial.write_text(render_report(inputs), encoding="utf-8")
    partial.replace(target)
    return target


def render_report(inputs: ReportInputs) -> str:
    """The page as text."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(_HERE),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    parts = {**_hero(inputs), **_coverage(inputs), **_loop(inputs), **_rows(inputs), **_run(inputs)}
    filled = {
        "results": parts["tables"],
        "poses": parts["pairs"],
        "spread": parts["has_samples"],
        "loop": parts["losses"] or parts["feedback"] or parts["steering"] or parts["others"],
    }
    empty = {anchor for anchor, content in filled.items() if not content}
    script = (_HERE / "page.js").read_text(encoding="utf-8")
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    return environment.get_template("page.html.j2").render(
        style=Markup((_HERE / "page.css").read_text(encoding="utf-8")),
        script=Markup(script),
        script_hash=f"sha256-{digest}",
        navigation=[(anchor, name) for anchor, name in _NAVIGATION if anchor not in empty],
        absent=[_ABSENT[anchor] for anchor in _ABSENT if anchor in empty],
        **parts,
    )


def _hero(inputs: ReportInputs) -> dict[str, Any]:
    return {
        "title": inputs.title,
        "subtitle": inputs.subtitle,
        "kicker": " · ".join(
            str(inputs.facts[key]) for key in ("job", "run", "finished") if key in inputs.facts
        )
        or "Report of a run",
        "notes": list(inputs.notes),
        "hero": sections.hero_picture(inputs),
        "headlines": results.headlines(inputs),
        "tables": [results.table_view(table) for table in inputs.evaluations],
        "pairs": sections.pair_cards(inputs),
    }


def _coverage(inputs: ReportInputs) -> dict[str, Any]:
    samples = {
        name: s
        for name, s in (("source", inputs.source), ("augmented", inputs.augmented))
        if s is not None and len(s)
    }
    drawn = " and ".join(f"{thousands(len(sample))} {name} poses" for name, sample in samples.items())
    if not samples:
        return {
            "has_samples": False,
            "spread_lead": "",
            "views": [],
            "sizes": [],
            "angles": [],
            "lengths": None,
        }
    return {
        "has_samples": True,
        "sampled": [(name, name.capitalize()) for name in samples],
        "spread_lead": f"How source poses and augmented poses spread, drawn from {drawn}.",
        "views": sections.view_panels(inputs),
        "sizes": sections.size_panels(inputs),
        "angles": sections.angle_panels(inputs),
        "lengths": sections.length_panel(inputs),
    }


def _loop(inputs: ReportInputs) -> dict[str, Any]:
    return {
        "losses": learning.loss_panels(inputs.metrics),
        "steering": learning.steering_panels(inputs.metrics),
        "feedback": learning.feedback_panels(inputs.metrics),
        "others": learning.other_panels(inputs.metrics),
    }


def _rows(inputs: ReportInputs) -> dict[str, Any]:
    shown = list(inputs.quarantined)[:_SHOWN_QUARANTINE]
    in_all = max(inputs.quarantined_total, len(inputs.quarantined))
    return {
        "counts": [_stack(count) for count in inputs.counts if count.kept + sum(count.rejected.values())],
        "quarantined": shown,
        "quarantined_total": thousands(in_all),
        "quarantined_more": in_all > len(shown),
    }


def _stack(count: RowCount) -> dict[str, Any]:
    total = count.kept + sum(count.rejected.values())
    ordered = sorted(count.rejected.items(), key=lambda item: -item[1])
    parts = [_count("Kept", count.kept, total, "k-kept")]
    parts += [
        _count(f"Rejected: {sections.words(reason)}", n, total, f"k-{i % 5}")
        for i, (reason, n) in enumerate(ordered)
    ]
    return {"title": count.title, "parts": parts}


def _count(name: str, rows: int, total: int, css: str) -> dict[str, Any]:
    return {
        "name": name,
        "rows": thousands(rows),
        "percent": percent(rows / total, 2),
        "part": rows / total,
        "css": css,
    }


def _run(inputs: ReportInputs) -> dict[str, Any]:
    longest = max(inputs.stage_seconds.values(), default=0.0) or 1.0
    return {
        "facts": list(inputs.facts.items()),
        "stages": [
            {"name": sections.words(name), "text": duration_text(seconds), "part": seconds / longest}
            for name, seconds in inputs.stage_seconds.items()
        ],
        "versions": list(inputs.versions.items()),
        "datasets": [_dataset(vars(dataset)) for dataset in inputs.datasets],
        "recipe": inputs.recipe_yaml,
    }


def _dataset(fact: Mapping[str, Any]) -> dict[str, str]:
    size = fact["size_bytes"]
    return {
        "role": fact["role"],
        "url": fact["url"],
        "version": fact["version"] or "–",
        "rows": thousands(fact["rows"]) if fact["rows"] is not None else "–",
        "files": thousands(fact["files"]) if fact["files"] is not None else "–",
        "size": bytes_text(size) if size is not None else "–",
    }
