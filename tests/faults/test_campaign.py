"""A handful of every kind of the fault campaign; `make faults` is the whole (docs/reliability.md)."""

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from poses.batch import PoseBatch
from storage.manifest import publish_manifest
from storage.object_store import ObjectStore, open_store
from tests.faults.campaign.cases import Verdict
from tests.faults.campaign.judge import same_rows
from tests.faults.campaign.ledger import BEGIN, END, GroupResult, Ledger, write_table
from tests.unit.storage.samples import SKELETON, commit_pairs, make_pairs

REPOSITORY = Path(__file__).resolve().parents[2]
KINDS = (
    "driver killed: at a write",
    "driver killed: inside a write",
    "driver killed: twice",
    "two drivers, one plan",
    "two drivers, two plans",
    "truncated input shard",
    "row that raises",
)


@pytest.mark.timeout(900)
def test_a_handful_of_faults_of_every_kind_is_survived() -> None:
    """In a process of its own: it forks, which a process with threads must not."""
    command = [sys.executable, "-m", "tests.faults.campaign", "--short", "--jobs", "1"]
    done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=False, timeout=800)
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-3000:]
    for kind in KINDS:
        injected, fired, survived = counts(done.stdout, kind)
        assert injected == fired == survived > 0, kind


def counts(output: str, kind: str) -> list[int]:
    """Injected, fired and survived of a kind, from the campaign's table."""
    row = next(line for line in output.splitlines() if line.startswith(f"| {kind} |"))
    return [int(cell) for cell in row.split("|")[2:5]]


def test_a_fault_that_did_not_fire_and_one_that_was_not_survived_are_bad(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path / "results.json")
    group = GroupResult("some", wall_s=60.0)
    group.take(Verdict("kind", "well", 2, 2, seconds=1.0))
    assert group.bad == []
    group.take(Verdict("kind", "did not fire", 2, 1, seconds=1.0))
    group.take(Verdict("kind", "lost rows", 1, 1, problem="rows: 3 lost", seconds=1.0))
    ledger.close_group(group)
    again = Ledger(tmp_path / "results.json")
    assert again.bad == ledger.bad
    assert len(again.bad) == 2
    page = tmp_path / "page.md"
    page.write_text(f"before\n{BEGIN}\nold\n{END}\nafter\n")
    for _ in range(2):
        write_table(page, again, 2)
    assert page.read_text().startswith("before\n")
    assert page.read_text().endswith("after\n")
    assert page.read_text().count("| kind | 5 | 4 | 3 | 3 |") == 1


def test_the_comparison_sees_what_is_lost_doubled_and_changed(tmp_path: Path) -> None:
    """A campaign that cannot fail proves nothing."""
    whole, other = open_store(tmp_path / "whole"), open_store(tmp_path / "other")
    batches = [make_pairs(10, seed=seed) for seed in range(2)]
    publish(whole, batches)
    publish(other, batches)
    assert same_rows(other.url, tmp_path / "whole") == []
    lost, changed = open_store(tmp_path / "lost"), open_store(tmp_path / "changed")
    publish(lost, batches[:1])
    assert same_rows(lost.url, tmp_path / "whole") == ["rows: 10 lost, 0 too many, 0 twice, of 20"]
    twice = open_store(tmp_path / "twice")
    publish(twice, [*batches, replace(batches[0], copy=batches[0].copy + 1)])
    problems = same_rows(twice.url, tmp_path / "whole")
    assert "rows: 0 lost, 0 too many, 10 twice, of 20" in problems
    assert any("verify" in problem and "duplicate" in problem for problem in problems)
    publish(changed, [batches[0], replace(batches[1], frame=batches[1].frame + 1)])
    assert same_rows(changed.url, tmp_path / "whole") == ["column frame differs"]
    assert same_rows(lost.url, tmp_path / "whole", quarantine=[("a.bvh", None)])[-1].startswith(
        "in quarantine: []"
    )


def publish(store: ObjectStore, batches: list[PoseBatch]) -> None:
    commits = [commit_pairs(store, batch, f"u{number}") for number, batch in enumerate(batches)]
    publish_manifest(store, "run", commits, SKELETON)


def test_every_write_is_a_point_before_and_after(tmp_path: Path) -> None:
    script = (
        "import sys\n"
        "from storage.object_store import open_store\n"
        "from tests.faults.campaign.strikes import recorded\n"
        "store = open_store(sys.argv[1] + '/OUT')\n"
        "for fine in (False, True):\n"
        "    print(*recorded(lambda: store.write_bytes('README.md', b'x'), fine), sep='|')\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, str(tmp_path)],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        check=True,
    )
    coarse, fine = done.stdout.splitlines()
    assert coarse == "before write_bytes README.md|after write_bytes README.md"
    assert "before os.replace README.md|after os.replace README.md" in fine
    assert fine.index("os.fsync .README.md.*.tmp") < fine.index("os.replace")
