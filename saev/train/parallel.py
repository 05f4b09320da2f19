"""Training by several processes, each on its share of every batch (data parallel).

Each process holds the whole dictionary and takes the same steps: they average their gradients, and
agree on what depends on the whole batch. Only the first process reads and writes states and
results.

If a dictionary is too large for one device, processes could also share its latents. Each process
would hold the rows of its own latents, select among the largest of all (`Processes.bound`), and sum
reconstructions where they now sum gradients. An architecture would use `Sae.across` for this. None
does yet.
"""

import atexit
import os
import sys
from datetime import timedelta
from typing import Any, NoReturn

import torch
import torch.distributed as dist
from torch import Tensor

from saev.core.errors import UserError

PATIENCE = timedelta(days=30)


class Processes:
    """The processes of a training; there may be only one.

    Args:
        rank: the number of this process, from 0.
        size: how many there are.
    """

    def __init__(self, rank: int = 0, size: int = 1) -> None:
        self.rank, self.size = rank, size

    @property
    def first(self) -> bool:
        """Whether this process is the one that writes."""
        return self.rank == 0

    def share(self, batch_size: int) -> tuple[int, int]:
        """First and last row (exclusive) of every batch that this process takes."""
        each = batch_size // self.size
        return self.rank * each, (self.rank + 1) * each

    def mean(self, tensor: Tensor) -> Tensor:
        """Average over the processes, in place."""
        if self.size > 1:
            dist.all_reduce(_rows(tensor))
            tensor /= self.size
        return tensor

    def any(self, flags: Tensor) -> Tensor:
        """For each flag, whether any process has set it."""
        if self.size == 1:
            return flags
        found = flags.to(torch.uint8)
        dist.all_reduce(found, dist.ReduceOp.MAX)
        return found.bool()

    def least(self, number: Tensor) -> Tensor:
        """The smallest value of a number over the processes."""
        if self.size > 1:
            number = number.clone()
            dist.all_reduce(number, dist.ReduceOp.MIN)
        return number

    def agree(self, flag: bool, device: torch.device) -> bool:
        """Whether ``flag`` is true in any process. This waits for the device."""
        return flag if self.size == 1 else bool(self.any(torch.tensor([flag], device=device))[0])

    def total(self, sums: Any) -> Any:
        """Sum a tuple of additive figures over the processes."""
        if self.size == 1:
            return sums
        every: list[Any] = [None] * self.size
        dist.all_gather_object(every, tuple(sums))
        total = type(sums)(*every[0])
        for other in every[1:]:
            total += type(sums)(*other)
        return total

    def bound(self, values: Tensor, m: int) -> Tensor:
        """The m-th largest of the positive numbers over all processes; 0 if there are fewer.

        Args:
            values: (v,) positive; at least the m largest of this process, or all if it has fewer.
        """
        padded = values.new_zeros(m)
        padded[: len(values)] = values[:m]
        every = [torch.empty_like(padded) for _ in range(self.size)]
        dist.all_gather(every, padded)
        return torch.cat(every).topk(m).values[-1]

    def spread_state(self, tensors: dict[str, Tensor], step: int) -> int:
        """Copy the first process' tensors to all others, in place; return its step."""
        if self.size == 1:
            return step
        number = torch.tensor(step)
        if dist.get_backend() == "nccl":
            number = number.cuda()
        for tensor in (number, *tensors.values()):
            rows = _rows(tensor)
            if rows.dtype == torch.bool:
                rows = rows.view(torch.uint8)
            dist.broadcast(rows, 0)
        return int(number)


ALONE = Processes()


def _rows(tensor: Tensor) -> Tensor:
    """A view that is contiguous in memory, row by row."""
    if tensor.is_contiguous():
        return tensor
    assert tensor.T.is_contiguous(), tensor.stride()
    return tensor.T


def join(size: int, device: torch.device) -> Processes:
    """Join the ``size`` processes that `launch` or torchrun started; alone if it is 1."""
    if size == 1:
        return ALONE
    rank = int(os.environ["RANK"])
    if device.type == "cuda":
        torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))
    # The others may wait long while the first one waits for a lock or verifies large files. A
    # process that is lost is noticed anyway.
    dist.init_process_group("nccl" if device.type == "cuda" else "gloo", timeout=PATIENCE)
    # If its threads still run when the interpreter shuts down, they sometimes abort the process.
    atexit.register(dist.destroy_process_group)
    if dist.get_world_size() != size:
        raise UserError(
            f"processes is {size}, but {dist.get_world_size()} were started: run the stage without "
            f"torchrun, or with --nproc-per-node {size}"
        )
    return Processes(rank, size)


def started() -> bool:
    """Whether this process is one of several already."""
    return "RANK" in os.environ and "WORLD_SIZE" in os.environ


def launch(size: int, module: str, arguments: list[str], device: torch.device) -> NoReturn:
    """Run ``python -m module arguments`` in ``size`` processes here, and exit with their status.

    Raises:
        UserError: there are too few GPUs.
    """
    if device.type == "cuda" and torch.cuda.device_count() < size:
        raise UserError(
            f"processes: {size} need {size} GPUs, but PyTorch sees {torch.cuda.device_count()} "
            f"here: lower it, or ask the scheduler for more"
        )
    from torch.distributed.elastic.multiprocessing.api import SignalException
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
    from torch.distributed.launcher.api import LaunchConfig, elastic_launch

    os.environ.setdefault("OMP_NUM_THREADS", "1")
    config = LaunchConfig(
        min_nodes=1,
        max_nodes=1,
        nproc_per_node=size,
        run_id=f"saev-{os.getpid()}",
        rdzv_backend="c10d",
        rdzv_endpoint="127.0.0.1:0",
        local_addr="127.0.0.1",
        max_restarts=0,
        monitor_interval=0.2,
    )
    try:
        elastic_launch(config, sys.executable)("-m", module, *arguments)
    except SignalException as error:
        raise SystemExit(128 + error.sigval) from None
    except ChildFailedError as error:
        # Each process has said what was wrong; the first to fail is the cause.
        _, failure = error.get_first_failure()
        raise SystemExit(failure.exitcode if failure.exitcode > 0 else 1) from None
    raise SystemExit(0)
