"""A GPU whose memory runs out: the stage computes half as many rows at once from then on."""

import sys

from pipelines.executor import MicroBatched


def is_gpu_memory_error(error: BaseException) -> bool:
    """Whether torch could not get memory on the GPU. A process that never imported torch had no such error."""
    torch = sys.modules.get("torch")
    return torch is not None and isinstance(error, torch.OutOfMemoryError)


def micro_batch_rows_of(stage: object) -> int | None:
    """Rows that the stage computes at once; None if it does not say."""
    return stage.micro_batch_rows if isinstance(stage, MicroBatched) else None


def limit_micro_batch(stage: object, rows: int | None) -> None:
    """Let the stage compute no more rows at once than others of its pool could."""
    if rows is not None and isinstance(stage, MicroBatched):
        stage.micro_batch_rows = min(stage.micro_batch_rows, rows)


def halve_micro_batch(stage: object) -> bool:
    """Halve the stage's rows and give back what torch keeps; False if there is nothing to halve.

    Call it outside of the `except` block: until then the traceback holds the tensors.
    """
    if not isinstance(stage, MicroBatched) or stage.micro_batch_rows <= 1:
        return False
    stage.micro_batch_rows //= 2
    sys.modules["torch"].cuda.empty_cache()
    return True
