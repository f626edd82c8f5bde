"""An export on actors has the bytes of one in this process."""

from pathlib import Path

import pytest

from pipelines.export import run_export
from pipelines.in_process import InProcessExecutor
from pipelines.ray_pool import RayPoolExecutor, RayPoolSettings
from pipelines.ray_session import RaySettings
from storage.exporters.settings import ExportSettings
from tests.unit.storage.exporters.datasets import mixed_pairs, publish

pytestmark = [pytest.mark.ray, pytest.mark.xdist_group("export")]


def test_actors_give_the_files_of_this_process(tmp_path: Path) -> None:
    dataset = publish(tmp_path / "dataset", mixed_pairs(60), mixed_pairs(41, 3), row_group_rows=16)
    settings = ExportSettings(shard_rows=17)
    with RayPoolExecutor(RayPoolSettings(workers=2, ray=RaySettings(num_cpus=2))) as pool:
        for to in ("webdataset", "huggingface"):
            done = run_export(dataset, to, tmp_path / f"{to}-ray", settings, pool)
            run_export(dataset, to, tmp_path / f"{to}-here", settings, InProcessExecutor())
            files = [
                {path.relative_to(folder): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
                for folder in (tmp_path / f"{to}-ray", tmp_path / f"{to}-here")
            ]
            assert files[0] == files[1]
            assert done.rows == 101
