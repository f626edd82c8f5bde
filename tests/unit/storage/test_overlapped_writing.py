"""Row groups are written on a thread: the same bytes, bounded memory, errors that come back, nothing left behind."""

import threading
from pathlib import Path

import pytest

from storage.errors import DatasetError, StoreFullError
from storage.local_store import LocalStore
from storage.pairs_file import MAX_BLOCKS, PairsFile, RowGroupBuffer
from storage.schema import Columns, batch_columns
from storage.write_thread import WriteThread
from storage.writer import UnitWriter
from tests.unit.storage.samples import SKELETON, make_pairs

PATIENCE_S = 30.0


def write_blocks(folder: Path, count: int) -> None:
    """So many row groups of eight rows, and the commit."""
    with UnitWriter(LocalStore(folder), "run", "unit", SKELETON, row_group_rows=8) as writer:
        for seed in range(count):
            writer.add_pairs(make_pairs(8, seed=seed))
        writer.commit()


def interrupt_while(folder: Path, writing: threading.Event) -> None:
    """The stage ends while the thread writes."""
    with UnitWriter(LocalStore(folder), "run", "unit", SKELETON, row_group_rows=8) as writer:
        writer.add_pairs(make_pairs(8))
        assert writing.wait(PATIENCE_S)
        raise KeyboardInterrupt


def alive() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == "posemill-writer"]


def test_rows_are_taken_while_a_row_group_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    may_write, writing = threading.Event(), threading.Event()
    write = PairsFile.write_row_group

    def slow(self: PairsFile, columns: Columns) -> None:
        writing.set()
        assert may_write.wait(PATIENCE_S)
        write(self, columns)

    monkeypatch.setattr(PairsFile, "write_row_group", slow)
    with UnitWriter(LocalStore(tmp_path), "run", "unit", SKELETON, row_group_rows=8) as writer:
        writer.add_pairs(make_pairs(8))
        assert writing.wait(PATIENCE_S)
        writer.add_pairs(make_pairs(8, seed=1))  # the second block; a third would wait
        may_write.set()
        writer.add_pairs(make_pairs(13, seed=2))
        commit = writer.commit()
    assert commit.rows == 29
    assert not alive()


def test_no_more_than_two_blocks_are_ever_held() -> None:
    buffer = RowGroupBuffer(4)
    blocks = buffer.add(batch_columns(make_pairs(16)))
    first, second = next(blocks), next(blocks)
    buffer.give_back(first)
    assert next(blocks) is first
    buffer.give_back(second)
    assert next(blocks) is second
    assert MAX_BLOCKS == 2


def test_columns_must_stay_the_same_when_a_block_begins() -> None:
    buffer = RowGroupBuffer(4)
    list(buffer.add(batch_columns(make_pairs(4))))
    with pytest.raises(DatasetError, match="column 'more'"):
        list(buffer.add(batch_columns(make_pairs(4, more=make_pairs(4).frame))))


def test_an_error_of_the_thread_comes_back_and_nothing_is_left(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(self: PairsFile, columns: Columns) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(PairsFile, "write_row_group", full)
    with pytest.raises(StoreFullError, match="unit 'unit'"):
        write_blocks(tmp_path, 100)  # waits for nobody: blocks come back although nothing is written
    assert not alive()
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]


def test_an_error_in_the_last_row_group_stops_the_commit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(LocalStore, "adopt_file", lambda *_: (_ for _ in ()).throw(StoreFullError("full")))
    with pytest.raises(StoreFullError, match="full"):
        write_blocks(tmp_path, 1)


def test_a_stage_that_fails_waits_for_the_thread(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    writing = threading.Event()
    write, written = PairsFile.write_row_group, []

    def slow(self: PairsFile, columns: Columns) -> None:
        writing.set()
        write(self, columns)
        written.append(True)

    monkeypatch.setattr(PairsFile, "write_row_group", slow)
    with pytest.raises(KeyboardInterrupt):
        interrupt_while(tmp_path, writing)
    assert written
    assert not alive()
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]


def test_calls_come_in_order_and_the_first_error_wins() -> None:
    thread, done, after = WriteThread(), [], []

    def fail() -> None:
        raise ValueError("first")

    gate = threading.Event()
    thread.do(lambda: done.append(gate.wait(PATIENCE_S)), lambda: after.append(0))
    thread.do(fail, lambda: after.append(1))
    thread.do(lambda: done.append(False), lambda: after.append(2))
    gate.set()
    with pytest.raises(ValueError, match="first"):
        thread.finish()
    assert done == [True]
    assert after == [0, 1, 2]
