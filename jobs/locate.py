"""Finds the datasets of a run: `OUT` itself, or the ones below `OUT/datasets`."""

import re

from storage.errors import DatasetError
from storage.manifest import manifest_versions
from storage.object_store import ObjectStore, open_store

_MANIFEST = re.compile(r"^datasets/([^/]+)/manifests/v\d{6,}\.json$")
_ORDER = {"source": 0, "augmented": 1}


def joined(url: str, path: str) -> str:
    """A path below a folder or URL."""
    return f"{url.rstrip('/')}/{path}" if path else url


def datasets_of_run(out_url: str, store: ObjectStore | None = None) -> dict[str, str]:
    """Name -> URL of every published dataset of a run, source first; a dataset's own root is named `dataset`."""
    store = store or open_store(out_url)
    found: dict[str, str] = {"dataset": out_url} if manifest_versions(store) else {}
    names = {match.group(1) for match in map(_MANIFEST.match, store.list("datasets")) if match}
    for name in sorted(names, key=lambda name: (_ORDER.get(name, 2), name)):
        found[name] = joined(out_url, f"datasets/{name}")
    return found


def dataset_urls(url: str) -> list[str]:
    """The dataset at a URL, or all datasets of the run there.

    Raises:
        DatasetError: if there is neither.
    """
    found = datasets_of_run(url)
    if not found:
        raise DatasetError(
            f"{url}: there is no dataset (no manifests/v000001.json here or below datasets/); give the folder "
            "that a run wrote, or one of its datasets"
        )
    return list(found.values())
