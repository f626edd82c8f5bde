"""The job draw_images: pictures of pairs as files, which train like pictures drawn on the fly."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from estimators.images.crops import crops_around
from estimators.images.drawn_people import DrawingSettings, draw_people
from pipelines.errors import SettingsError
from pipelines.images.crop_rows import CropRows
from pipelines.images.draw_images import DrawImagesSettings, run_draw_images
from pipelines.images.image_table import load_image_table
from pipelines.images.settings import ImagePairsSource
from pipelines.train_images import run_train_images
from poses.batch import PoseBatch
from storage.images import decode_image
from storage.reader import Dataset
from storage.verify import VerifySettings, verify_dataset
from tests.unit.pipelines.cases import context, make_source
from tests.unit.pipelines.images.picture_cases import few_pairs, train_settings, write_dataset


@pytest.fixture(scope="module")
def pairs(tmp_path_factory: pytest.TempPathFactory) -> PoseBatch:
    source = tmp_path_factory.mktemp("source")
    make_source(source)
    return PoseBatch.concat([few_pairs(source, "source_train", 10), few_pairs(source, "source_valid", 4)])


def draw(url: Path, out: Path, **changes: object) -> Dataset:
    settings = {"url": str(url), "scale": 1.0, "format": "png", "rows_per_unit": 6, **changes}
    run_draw_images(DrawImagesSettings.model_validate(settings), context(out))
    return Dataset.open(str(out))


def test_every_pair_gets_its_picture(pairs: PoseBatch, tmp_path: Path) -> None:
    drawn = draw(write_dataset(tmp_path / "pairs", [pairs]), tmp_path / "out")
    found = drawn.read_pairs()
    np.testing.assert_array_equal(np.sort(found.sample_id), np.sort(pairs.sample_id))
    assert verify_dataset(drawn, VerifySettings()).is_sound
    path = found.extra["image"][0]
    image = decode_image((tmp_path / "out" / path).read_bytes(), path)
    width, height = found.camera_px[0, 9:11]
    assert image.shape == (round(height), round(width), 3)
    assert (
        run_train_images(
            train_settings(tmp_path / "out", images=None, steps=1), context(tmp_path / "trained")
        ).bad_rows
        == 0
    )


def test_a_crop_of_a_file_shows_what_a_drawn_crop_shows(pairs: PoseBatch, tmp_path: Path) -> None:
    """Apart from the background and the last of sharpness: people are in the same place, in the same clothes."""
    plain = DrawingSettings(clutter=False, grain=0.0)
    url = write_dataset(tmp_path / "pairs", [pairs])
    draw(url, tmp_path / "out", drawing={"clutter": False, "grain": 0.0}, every=1)
    source = ImagePairsSource(url=str(tmp_path / "out"))
    table = load_image_table(source)
    from estimators.images.crops import CropSettings

    rows = CropRows(table, source, CropSettings(size=32))
    files = rows.as_they_are(np.arange(len(table)))
    crops = crops_around(table.keypoints_px, 0.15)
    drawn = draw_people(
        table.joints_camera_m, table.camera_px, crops, table.sample_id, table.skeleton, plain, 32
    )
    difference = np.abs(files.images.permute(0, 2, 3, 1).numpy() - drawn / 255.0)
    person = np.abs(drawn / 255.0 - 0.5).max(-1) > 0.1
    assert person.mean() > 0.05
    assert difference.mean() < 0.03
    assert not files.faults


def test_rows_without_numbers_are_quarantined(pairs: PoseBatch, tmp_path: Path) -> None:
    joints = pairs.joints_camera_m.copy()
    joints[3, 2] = np.nan
    url = write_dataset(tmp_path / "pairs", [replace(pairs, joints_camera_m=joints)])
    drawn = draw(url, tmp_path / "out")
    assert drawn.n_pairs == len(pairs) - 1
    (row,) = drawn.quarantined_rows()
    assert (row.row, row.stage) == (3, "draw_images")
    assert "nothing can be drawn" in row.reason


def test_an_empty_part_is_told(pairs: PoseBatch, tmp_path: Path) -> None:
    url = write_dataset(tmp_path / "pairs", [pairs])
    with pytest.raises(SettingsError, match="no pairs in parts nobody"):
        draw(url, tmp_path / "out", parts=["nobody"])
