import re
import xml.etree.ElementTree as ET
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest

from jobs.errors import ReportError
from jobs.report.inputs import EvaluationTable, PosePair, QuarantinedFact, ReportInputs, RowCount
from jobs.report.page import render_report, write_report
from poses.skeleton import load_skeleton
from tests.unit.jobs.report_samples import make_evaluation, make_inputs

NASTY = "<script>alert('x')</script>\"'&<img src=x onerror=alert(1)>"


@pytest.fixture(scope="module")
def inputs() -> ReportInputs:
    return make_inputs(n=300, pairs=2)


@pytest.fixture(scope="module")
def page(inputs: ReportInputs) -> str:
    return render_report(inputs)


class Links(HTMLParser):
    """Collects what a page would load, where it links, and its ids."""

    def __init__(self) -> None:
        super().__init__()
        self.loads: list[str] = []
        self.links: list[str] = []
        self.ids: list[str] = []
        self.handlers: list[str] = []
        self.tags: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        for name, value in attrs:
            if name == "id":
                self.ids.append(value or "")
            if name == "href" and tag == "a":
                self.links.append(value or "")
            elif name in ("src", "href", "srcset", "data", "action", "poster", "xlink:href"):
                self.loads.append(f"{tag} {value}")
            if name.startswith("on"):
                self.handlers.append(name)


def parsed(text: str) -> Links:
    links = Links()
    links.feed(text)
    return links


def test_the_page_is_one_file_that_loads_nothing(page: str) -> None:
    links = parsed(page)
    assert links.loads == []
    assert links.tags.count("script") == 1
    assert not re.search(r"url\(|@import|http-equiv=.refresh", page)
    assert "default-src 'none'" in page


def test_every_link_of_the_navigation_leads_somewhere(page: str) -> None:
    links = parsed(page)
    assert links.links == ["#results", "#poses", "#spread", "#loop", "#rows", "#run"]
    assert {link[1:] for link in links.links} <= set(links.ids)


def test_everything_that_a_report_must_show_is_there(page: str) -> None:
    for text in (
        "Generator loss",
        "Discriminator of body parts",
        "Discriminator of projections",
        "Loss of the lifter",
        "Hardness",
        "Kept poses",
        "What the estimator asked for",
        "outside image",
        "behind camera",
        "MPJPE, frame mean",
        "target hard",
        "wide random",
        "± 1.",
        "cmu_bvh/16/16_21.bvh",
        "r-5f0c2a91d7",
        "s3://motion/out/datasets/augmented",
        "left forearm",
        "Distance to the camera",
        "Size in the image",
        "Viewpoints",
        "Seen from",
        "source: s3://motion/mocap",
    ):
        assert text in page, text


def test_pictures_are_well_formed_described_and_without_nan(page: str) -> None:
    pictures = re.findall(r'<svg class="(?:chart|pose).*?</svg>', page, re.DOTALL)
    assert len(pictures) > 40
    for picture in pictures:
        root = ET.fromstring(picture)
        assert root.get("aria-label")
        assert not re.search(r'="[^"]*\bnan\b', picture)


def test_strings_from_files_cannot_become_markup(inputs: ReportInputs) -> None:
    table = make_evaluation()
    evil = replace(
        inputs,
        title=NASTY,
        subtitle=NASTY,
        notes=[NASTY],
        recipe_yaml=NASTY,
        facts={NASTY: NASTY, "run": NASTY},
        versions={NASTY: NASTY},
        stage_seconds={NASTY: 1.0},
        counts=[RowCount(NASTY, 5, {NASTY: 3})],
        pairs=[replace(pair, label=NASTY) for pair in inputs.pairs],
        datasets=[replace(dataset, url=NASTY, role=NASTY) for dataset in inputs.datasets],
        quarantined=[QuarantinedFact(NASTY, NASTY, NASTY, NASTY)],
        evaluations=[
            replace(table, protocol=NASTY, rows=(NASTY, *table.rows[1:]), columns=(NASTY, *table.columns[1:]))
        ],
        metrics=[{NASTY: 1.0, "iteration": i} for i in range(3)],
    )
    text = render_report(evil)
    links = parsed(text)
    assert links.tags.count("script") == 1
    assert "img" not in links.tags
    assert links.handlers == []
    assert text.count("&lt;script&gt;") > 12


def test_a_run_without_anything_still_has_a_page() -> None:
    text = render_report(ReportInputs(title="empty", skeleton=load_skeleton("h36m_16")))
    assert parsed(text).links == ["#rows", "#run"]
    assert (
        "Not in this run: an evaluation, augmented poses with their sources, pose datasets, a closed loop."
        in text
    )


def test_poses_that_are_broken_do_not_break_the_page(inputs: ReportInputs) -> None:
    joints = np.full((17, 3), np.nan, np.float32)
    size = np.zeros(2, np.float32)
    pair = PosePair(
        "broken", joints, joints[:, :2], size, np.zeros_like(joints), np.zeros((17, 2), np.float32), size
    )
    text = render_report(replace(inputs, pairs=[pair]))
    assert not re.search(r'(x1|cx|cy|points)="[^"]*nan', text)


def test_metrics_may_miss_keys_and_hold_other_things(inputs: ReportInputs) -> None:
    lines = [
        {"epoch": 0, "rejected": {"a": 1}},
        {"loss_lifter": 1.0},
        {"loss_lifter": None, "hardness_ba": True},
    ]
    text = render_report(replace(inputs, metrics=lines))  # pyright: ignore[reportArgumentType]
    assert "Loss of the lifter" in text
    assert "Hardness" not in text


def test_skeletons_without_a_trunk_leave_out_what_needs_one(inputs: ReportInputs) -> None:
    coco = load_skeleton("coco_17")
    text = render_report(replace(inputs, skeleton=coco))
    assert "Distance to the camera" in text


def test_a_single_sample_is_drawn_alone(inputs: ReportInputs) -> None:
    text = render_report(replace(inputs, augmented=None, pairs=()))
    assert '<span class="key augmented">' not in text
    assert "drawn from 300 source poses." in text


def test_the_file_is_written_whole(inputs: ReportInputs, tmp_path: Path) -> None:
    path = write_report(inputs, tmp_path / "deep" / "report.html")
    assert path.read_text(encoding="utf-8").endswith("</html>")
    assert [p.name for p in path.parent.iterdir()] == ["report.html"]


def test_equal_inputs_give_equal_bytes(inputs: ReportInputs, page: str) -> None:
    assert render_report(inputs) == page


def test_a_table_of_the_wrong_shape_is_refused() -> None:
    with pytest.raises(ReportError, match=r"must be \(1, 2\)"):
        EvaluationTable("p", ("a",), ("x", "y"), np.zeros((2, 2)))
