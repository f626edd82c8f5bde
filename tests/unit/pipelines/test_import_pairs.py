"""An export becomes a dataset again, unit by unit."""

from pathlib import Path

import pytest

from pipelines.context import RunContext
from pipelines.errors import PoolError
from pipelines.import_pairs import ImportPairsSettings, plan_import_pairs, run_import_pairs
from pipelines.in_process import InProcessExecutor
from storage.errors import ImporterError
from storage.exporters.export import export_dataset
from storage.exporters.registry import FORMATS
from storage.exporters.settings import ExportSettings
from storage.reader import Dataset
from tests.unit.storage.exporters.datasets import by_id, mixed_pairs, publish
from tests.unit.storage.samples import assert_same_pairs


@pytest.mark.parametrize("to", sorted(FORMATS))
def test_an_export_becomes_the_dataset_that_it_came_from(to: str, tmp_path: Path) -> None:
    pairs = mixed_pairs(80)
    export_dataset(publish(tmp_path / "dataset", pairs), to, tmp_path / "x", ExportSettings(shard_rows=30))
    settings = ImportPairsSettings(source=str(tmp_path / "x"))
    result = run_import_pairs(settings, RunContext(str(tmp_path / "back"), InProcessExecutor()))
    assert len(result.commits) >= 2
    assert result.n_pairs == 80
    assert_same_pairs(by_id(Dataset.open(tmp_path / "back").read_pairs()), by_id(pairs))
    again = run_import_pairs(settings, RunContext(str(tmp_path / "back"), InProcessExecutor()))
    assert (again.run_id, again.manifest.version) == (result.run_id, 1)


def test_a_damaged_file_is_named_and_nothing_is_published(tmp_path: Path) -> None:
    export_dataset(publish(tmp_path / "dataset", mixed_pairs(20)), "coco", tmp_path / "x")
    victim = tmp_path / "x/annotations/posemill-00000.json"
    victim.write_bytes(victim.read_bytes().replace(b"clip0", b"clip1"))
    settings = ImportPairsSettings(source=str(tmp_path / "x"))
    with pytest.raises(PoolError, match=r"posemill-00000\.json: wanted sha256"):
        run_import_pairs(settings, RunContext(str(tmp_path / "back"), InProcessExecutor()))
    assert not (tmp_path / "back/manifests").exists()
    with pytest.raises(ImporterError, match=r"found no posemill-export\.json"):
        plan_import_pairs(ImportPairsSettings(source=str(tmp_path)), 0)
