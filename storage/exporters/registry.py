"""The formats that a dataset can be exported to: a name, and the function that writes it."""

from collections.abc import Callable
from dataclasses import dataclass

from storage.exporters.coco import write_coco
from storage.exporters.delta_table import write_delta
from storage.exporters.huggingface import write_huggingface
from storage.exporters.selection import PairsSelection
from storage.exporters.settings import ExportSettings
from storage.exporters.target import ExportTarget
from storage.exporters.videopose3d import write_videopose3d
from storage.exporters.webdataset import write_webdataset

Writer = Callable[[PairsSelection, ExportTarget, ExportSettings], None]


@dataclass(frozen=True)
class Format:
    """One format: how it is written, and how a reader opens it (for messages)."""

    write: Writer
    opens_with: str


FORMATS: dict[str, Format] = {
    "coco": Format(write_coco, "pycocotools.coco.COCO('annotations/NAME-00000.json')"),
    "videopose3d": Format(write_videopose3d, "numpy.load('data_2d_NAME-00000.npz'); see docs/formats.md"),
    "webdataset": Format(write_webdataset, "webdataset.WebDataset('NAME-{000000..N}.tar').decode()"),
    "huggingface": Format(write_huggingface, "datasets.load_dataset(FOLDER)"),
    "delta": Format(write_delta, "deltalake.DeltaTable(FOLDER)"),
}
