"""The ObjectStore contract on S3 conditional writes, against moto's server on loopback."""

import os
import uuid
from collections.abc import Iterator

import pytest

from storage.manifest import publish_manifest
from storage.object_store import ObjectStore, open_store
from storage.reader import Dataset
from storage.retries import StoreRetries
from storage.verify import verify_dataset
from storage.writer import UnitWriter
from tests.contracts.object_store_contract import ObjectStoreContract
from tests.faults.faulty_s3 import faulty_s3
from tests.unit.storage.samples import SKELETON, make_clip, make_pairs

pytest.importorskip("s3fs", reason="pip install 's3fs==2026.9.0' 'moto[server]==5.2.5' to test on S3")
pytest.importorskip("moto", reason="pip install 's3fs==2026.9.0' 'moto[server]==5.2.5' to test on S3")


@pytest.fixture(scope="module")
def bucket_url() -> Iterator[str]:
    """A bucket on a server of our own."""
    with faulty_s3() as endpoint:
        yield endpoint.url


class TestS3Store(ObjectStoreContract):
    @pytest.fixture
    def store(self, bucket_url: str) -> ObjectStore:
        return open_store(f"{bucket_url}/{uuid.uuid4().hex}/dataset")


@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_store_is_usable_after_a_fork(bucket_url: str) -> None:
    """Data loaders fork; the parent's connections must not be used in the child.

    The server lives in the parent, and its answer to the forked child may hang once; hence the short timeout.
    """
    store = open_store(f"{bucket_url}/{uuid.uuid4().hex}", StoreRetries(request_timeout_s=1))
    store.write_bytes("a", b"parent's")
    child = os.fork()
    if child == 0:
        try:
            os._exit(0 if store.put_if_absent("b", store.read_bytes("a")) else 1)
        finally:
            os._exit(2)
    assert os.waitpid(child, 0)[1] == 0
    assert store.read_bytes("b") == b"parent's"


def test_a_dataset_on_s3(bucket_url: str) -> None:
    store = open_store(f"{bucket_url}/{uuid.uuid4().hex}")
    with UnitWriter(store, "run", "07.bvh/0-100", SKELETON) as writer:
        writer.add_pairs(make_pairs(100))
        writer.add_clips([make_clip(30)])
        publish_manifest(store, "run", [writer.commit()], SKELETON)
    dataset = Dataset.open(store.url)
    assert len(dataset.read_pairs()) == dataset.to_arrow().count_rows() == 100
    assert len(next(dataset.clips())) == 30
    assert verify_dataset(dataset).findings == ()
