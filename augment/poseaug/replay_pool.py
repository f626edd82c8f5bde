"""A pool of earlier fakes, so that a discriminator does not forget what the augmentor used to make."""

from collections.abc import Mapping
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from augment.errors import AugmentError


class ReplayPool:
    """Keeps `size` samples; exchanges half of what it is asked for against earlier ones.

    Until it is full it stores what it is given and gives it back. After that each sample is, with
    probability one half, given back, or stored in a random slot whose old content is returned. Samples are
    handled in order, so a slot drawn twice in one call hands on the first newcomer, exactly as a loop over
    samples would.

    Args:
        size: Number of samples kept; 0 turns the pool off.
        sample_shape: Shape of one sample.
        seed: Of its own random numbers.
        device: Where the samples stay.
    """

    def __init__(self, size: int, sample_shape: tuple[int, ...], seed: int, device: str = "cpu") -> None:
        self.size = size
        self.count = 0
        self._samples = torch.zeros(size, *sample_shape, device=device)
        self._generator = torch.Generator().manual_seed(seed)

    def exchange(self, fakes: Float[Tensor, "B ..."]) -> Float[Tensor, "B ..."]:
        """Samples to show to the discriminator in place of `fakes` (no gradient passes)."""
        fakes = fakes.detach()
        stored = min(self.size - self.count, len(fakes))
        if stored:
            self._samples[self.count : self.count + stored] = fakes[:stored]
            self.count += stored
        rest = len(fakes) - stored
        if rest == 0 or self.size == 0:
            return fakes.clone()
        draws = torch.rand(rest, generator=self._generator)
        slots = torch.randint(self.size, (rest,), generator=self._generator)
        rows = torch.nonzero(draws < 0.5)[:, 0]
        result = fakes.clone()
        result[rows + stored] = self._swap(fakes[rows + stored], slots[rows])
        return result

    def _swap(self, newcomers: Tensor, slots: Tensor) -> Tensor:
        """What each newcomer finds in its slot, in order; afterwards each slot holds its last newcomer."""
        by_slot = torch.argsort(slots, stable=True)
        ordered = slots[by_slot]
        follows = torch.zeros(len(slots), dtype=torch.bool)
        follows[1:] = ordered[1:] == ordered[:-1]
        found = self._samples[slots]
        found[by_slot[1:][follows[1:]]] = newcomers[by_slot[:-1][follows[1:]]]
        last = torch.ones(len(slots), dtype=torch.bool)
        last[:-1] = ~follows[1:]
        self._samples[ordered[last]] = newcomers[by_slot[last]]
        return found

    def state(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """Stored samples and random state; the count as JSON."""
        tensors = {"samples": self._samples[: self.count].clone(), "random": self._generator.get_state()}
        return tensors, {"count": self.count}

    def load_state(self, tensors: Mapping[str, Tensor], scalars: Mapping[str, Any]) -> None:
        """Continue from `state`'s values.

        Raises:
            AugmentError: if the samples do not fit this pool.
        """
        samples, count = tensors["samples"], int(scalars["count"])
        if samples.shape[1:] != self._samples.shape[1:] or count > self.size or len(samples) != count:
            raise AugmentError(
                f"replay pool wants at most {self.size} samples of shape {list(self._samples.shape[1:])}, "
                f"got a state "
                f"of {count} with shape {list(samples.shape)}; resume with the settings of the checkpoint"
            )
        self._samples[:count] = samples.to(self._samples.device)
        self.count = count
        self._generator.set_state(tensors["random"].cpu())
