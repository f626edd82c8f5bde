"""Data-parallel training by replicas: averaged gradients, and BatchNorm statistics over the whole batch.

Every replica computes the mean loss of its B / W rows; gradients are averaged over the W replicas, which is the
gradient of the mean over all B rows. That alone does not make W replicas equal to one process: BatchNorm would
normalise each replica's rows by their own mean and variance. `share_batch_norm` makes it use those of all rows, so that
W replicas with B / W rows each are one process with B rows up to float rounding (dropout draws other masks). It costs
two small sums over the replicas per layer in each direction; torch's own SyncBatchNorm works on GPUs only.

Made of `torch.distributed` alone; who starts the processes is not known here.
"""

import torch
import torch.distributed as dist
from torch import Tensor, nn

from estimators.errors import LifterInputError


class Replicas:
    """This process among those that train one lifter together; the process group must be there.

    Attributes:
        rank: Number of this process.
        count: How many there are, W.
    """

    def __init__(self) -> None:
        if not dist.is_initialized():
            raise LifterInputError(
                "data-parallel training wants a torch process group, got none; call "
                "torch.distributed.init_process_group first, or train without replicas"
            )
        self.rank, self.count = dist.get_rank(), dist.get_world_size()

    def average_gradients(self, parameters: list[nn.Parameter], loss: Tensor) -> Tensor:
        """Replace every gradient by its mean over the replicas, in one exchange; the mean of the loss beside it.

        Args:
            parameters: In the same order everywhere; those without a gradient anywhere stay without.
            loss: This replica's mean loss, a scalar.
        """
        present = [parameter for parameter in parameters if parameter.grad is not None]
        pieces = [parameter.grad.flatten() for parameter in present if parameter.grad is not None]
        flat = torch.cat([*pieces, loss.detach().reshape(1).to(pieces[0].dtype)])
        dist.all_reduce(flat)
        flat /= self.count
        offset = 0
        for parameter in present:
            parameter.grad = flat[offset : offset + parameter.numel()].view_as(parameter)
            offset += parameter.numel()
        return flat[offset]

    def same_everywhere(self, value: float) -> float:
        """The first replica's value."""
        shared = torch.tensor([value], dtype=torch.float64)
        if dist.get_backend() == "nccl":
            shared = shared.cuda()
        dist.broadcast(shared, src=0)
        return float(shared[0])


class SharedBatchNorm1d(nn.BatchNorm1d):
    """BatchNorm1d whose statistics in training mode are those of all replicas' rows."""

    def forward(self, input: Tensor) -> Tensor:
        """(N, C) or (N, C, L), normalised per channel."""
        if not self.training:
            return super().forward(input)
        values = input.float() if input.dtype in (torch.bfloat16, torch.float16) else input
        axes = [axis for axis in range(values.ndim) if axis != 1]
        shape = [1, -1] + [1] * (values.ndim - 2)
        own_count = values.new_tensor([values.numel() / values.shape[1]])
        totals = _SumOverReplicas.apply(torch.cat([values.sum(axes), own_count]))
        count = totals[-1].detach()
        mean = totals[:-1] / count
        centred = values - mean.view(shape)
        variance = _SumOverReplicas.apply(centred.square().sum(axes)) / count
        self._keep(mean.detach(), variance.detach(), count)
        normed = centred * torch.rsqrt(variance + self.eps).view(shape)
        if self.affine:
            normed = normed * self.weight.view(shape) + self.bias.view(shape)
        return normed.to(input.dtype)

    @torch.no_grad()
    def _keep(self, mean: Tensor, variance: Tensor, count: Tensor) -> None:
        """Running statistics as in nn.BatchNorm1d: the variance without bias."""
        if self.running_mean is None or self.running_var is None or self.num_batches_tracked is None:
            return
        self.num_batches_tracked += 1
        share = 1.0 / float(self.num_batches_tracked) if self.momentum is None else self.momentum
        self.running_mean.lerp_(mean, share)
        self.running_var.lerp_(variance * count / (count - 1), share)


class _SumOverReplicas(torch.autograd.Function):
    """Sum of a tensor over the replicas; the gradient of the sum of all losses comes back."""

    @staticmethod
    def forward(ctx: object, values: Tensor) -> Tensor:
        """Sum; `values` is left alone."""
        total = values.clone()
        dist.all_reduce(total)
        return total

    @staticmethod
    def backward(ctx: object, *gradients: Tensor) -> Tensor:
        """Every replica's loss depends on the sum, so their gradients are summed too."""
        total = gradients[0].contiguous().clone()
        dist.all_reduce(total)
        return total


def share_batch_norm(module: nn.Module) -> int:
    """Turn every BatchNorm1d inside the module into a shared one, in place; names, parameters and buffers stay.

    Returns:
        How many there were.
    """
    found = [part for part in module.modules() if type(part) is nn.BatchNorm1d]
    for part in found:
        part.__class__ = SharedBatchNorm1d
    return len(found)
