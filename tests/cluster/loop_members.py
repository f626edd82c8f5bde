"""Members of a crew that misbehave, where Ray's workers can import them."""

from typing import Any

from augment.errors import AugmentError
from pipelines.closed_loop.checkpoint import MemberState
from pipelines.errors import SettingsError

UNBUILDABLE = "no pose of the parts left; set loop.train_parts"
BROKEN = "poses of another skeleton; map them first"


class BrokenAugmentor:
    """Fails in the middle of a round."""

    def produce(self, round_index: int, first_batch: int, n_batches: int, weights: Any) -> Any:
        raise AugmentError(BROKEN)

    def complaints(self) -> tuple[str, ...]:
        return ()

    def state(self) -> MemberState:
        return MemberState()

    def load_state(self, state: MemberState) -> None: ...


class PatientTrainer:
    """Takes whatever it is given."""

    def consume(self, round_index: int, chunks: list[Any], share: float) -> tuple[Any, Any]:
        return len(chunks), "weights"

    def weights(self) -> Any:
        return "weights"


def broken_augmentor() -> Any:
    return BrokenAugmentor()


def patient_trainer() -> Any:
    return PatientTrainer()


def unbuildable() -> Any:
    raise SettingsError(UNBUILDABLE)
