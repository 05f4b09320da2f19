"""Training by several processes, among which the latents of a dictionary are divided.

All processes take the same steps on the same batches. Each reads its share of a batch and gets the
rest from the others. See `saev.sae.divided` for how they compute a loss. Only the first process
reads and writes states and results.
"""

import atexit
import logging
import os
import signal
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import NoReturn

import torch
import torch.distributed as dist
from torch import Tensor

from saev.core import frame, logs, stop
from saev.core.errors import UserError
from saev.core.system_errors import explained

PATIENCE = timedelta(minutes=15)
"""How long a process waits for the others in a step, in which one may write a state or evaluate.
If one hangs, all end after this time."""
GLANCE_SECONDS = 0.05
"""How often a process looks for the others before the first step."""
LAST_WORD_SECONDS = 30
"""How long a process that lost another leaves it to say why, and to end. What started both then
asks this one to end."""
LOST = 3
"""Exit status of a process that lost another and wasn't asked to end: the other hangs."""


class Processes:
    """The processes of a training; there may be only one.

    Args:
        rank: the number of this process, from 0.
        size: how many there are.
        store: where they look for each other before the first step.
    """

    def __init__(self, rank: int = 0, size: int = 1, store: dist.Store | None = None) -> None:
        self.rank, self.size = rank, size
        self._store = store

    @property
    def first(self) -> bool:
        """Whether this process is the one that writes."""
        return self.rank == 0

    def share(self, batch_size: int) -> tuple[int, int]:
        """First and last row (exclusive) of every batch that this process takes."""
        each = batch_size // self.size
        return self.rank * each, (self.rank + 1) * each

    def tell(self, flag: bool) -> bool:
        """Tell all others a flag, from the first process; return it."""
        if self._store:
            self._store.set("flag", str(int(flag)))
        return flag

    def told(self) -> bool:
        """The flag that the first process tells, once it does: it may wait for a lock."""
        assert self._store
        self._come(["flag"])
        return self._store.get("flag") == b"1"

    def meet(self) -> None:
        """Wait until all processes are here, as long as it takes them to read large files."""
        if self._store:
            self._store.set(f"here-{self.rank}", "1")
            self._come([f"here-{rank}" for rank in range(self.size)])

    def _come(self, keys: list[str]) -> None:
        # Not with the store's own wait, during which Python couldn't obey a signal. What started
        # the processes notices if one is lost.
        assert self._store
        while not self._store.check(keys):
            time.sleep(GLANCE_SECONDS)

    def sum(self, tensor: Tensor) -> Tensor:
        """Sum over the processes, in place."""
        if self.size > 1:
            with _together():
                dist.all_reduce(_rows(tensor))
        return tensor

    def least(self, number: Tensor) -> Tensor:
        """The smallest value of a number over the processes."""
        if self.size > 1:
            number = number.clone()
            with _together():
                dist.all_reduce(number, dist.ReduceOp.MIN)
        return number

    def agree(self, flag: bool, device: torch.device) -> bool:
        """Whether ``flag`` is true in any process. This waits for the device."""
        return flag if self.size == 1 else bool(self.sum(torch.tensor(int(flag), device=device)))

    def batch(self, share: Tensor) -> Tensor:
        """The batch of which each process has an equal share of rows (b / size, d)."""
        if self.size == 1:
            return share
        whole = share.new_empty(self.size * len(share), *share.shape[1:])
        with _together():
            dist.all_gather_into_tensor(
                whole.view(torch.uint8), share.contiguous().view(torch.uint8)
            )
        return whole

    def whole(self, part: Tensor, axis: int) -> Tensor:
        """Put together what `divided.part_of` gave each process: in the first; empty elsewhere."""
        if self.size == 1:
            return part
        rows = _bytes(part.detach().movedim(axis, 0).contiguous())
        parts = [torch.empty_like(rows) for _ in range(self.size)] if self.first else None
        with _together():
            dist.gather(rows, parts, 0)
        if parts is None:
            return part.new_empty(0)
        every = torch.stack([found.view(part.dtype).cpu() for found in parts], dim=1)
        return every.flatten(0, 1).movedim(0, axis)

    def indices(self, flags: Tensor) -> Tensor:
        """Which latents have a flag, of the whole dictionary; ``flags`` are those of own ones."""
        if self.size == 1:
            return flags.nonzero().flatten()
        counts = flags.new_zeros(len(flags), self.size, dtype=torch.int32)
        counts[:, self.rank] = flags
        return self.sum(counts).flatten().nonzero().flatten()

    def own(self, latents: Tensor, rows: Tensor) -> tuple[Tensor, Tensor]:
        """Those of ``latents`` (m,) that this process has, numbered as here; their ``rows`` (m,
        d)."""
        here = latents % self.size == self.rank
        return latents[here] // self.size, rows[here]

    def spread(self, tensor: Tensor) -> Tensor:
        """Copy the first process' tensor to all others, in place."""
        if self.size > 1:
            with _together():
                dist.broadcast(_bytes(_rows(tensor)), 0)
        return tensor


ALONE = Processes()


@contextmanager
def _together() -> Iterator[None]:
    """Say in words that another process hangs or has ended."""
    try:
        yield
    except RuntimeError as error:  # gloo's; a GPU's processes are ended by NCCL's own watchdog
        if explained(error):
            raise
        if frame.ONE_OF_SEVERAL in os.environ:
            until = time.monotonic() + LAST_WORD_SECONDS
            while time.monotonic() < until and not stop.asked():
                time.sleep(GLANCE_SECONDS)
            raise SystemExit(LOST) from None
        logs.note(str(error))
        raise _lost() from error


def _lost() -> UserError:
    return UserError(
        f"another process of this training ended, or did nothing for "
        f"{PATIENCE.total_seconds() / 60:.0f} minutes. If no other line says why, look at the "
        f"machine (memory, disk, GPUs) and start the workflow again: it resumes from the last "
        f"saved state",
        may_pass=True,
    )


def _rows(tensor: Tensor) -> Tensor:
    """A view that is contiguous in memory, row by row."""
    if tensor.is_contiguous():
        return tensor
    assert tensor.T.is_contiguous(), tensor.stride()
    return tensor.T


def _bytes(tensor: Tensor) -> Tensor:
    """The same memory as numbers, as not every backend exchanges bools."""
    return tensor.view(torch.uint8) if tensor.dtype == torch.bool else tensor


def join(size: int, device: torch.device) -> Processes:
    """Join the ``size`` processes that `launch` or torchrun started; alone if it is 1."""
    if size == 1:
        return ALONE
    rank = int(os.environ["RANK"])
    if device.type == "cuda":
        torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))
    store, _, _ = next(dist.rendezvous("env://"))
    dist.init_process_group(
        "nccl" if device.type == "cuda" else "gloo",
        store=dist.PrefixStore("group", store),
        rank=rank,
        world_size=int(os.environ["WORLD_SIZE"]),
        timeout=PATIENCE,
    )
    # If its threads still run when the interpreter shuts down, they sometimes abort the process.
    atexit.register(dist.destroy_process_group)
    if dist.get_world_size() != size:
        raise UserError(
            f"processes is {size}, but {dist.get_world_size()} were started: run the stage without "
            f"torchrun, or with --nproc-per-node {size}"
        )
    return Processes(rank, size, dist.PrefixStore("saev", store))


def started() -> bool:
    """Whether this process is one of several already."""
    return "RANK" in os.environ and "WORLD_SIZE" in os.environ


def launch(size: int, module: str, arguments: list[str], device: torch.device) -> NoReturn:
    """Run ``python -m module arguments`` in ``size`` processes here, and exit with their status.

    Raises:
        UserError: there are too few GPUs, or a process was killed.
        Stopped: this process was asked to end, and the others have ended.
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
    os.environ[frame.ONE_OF_SEVERAL] = "1"
    # Its own lines say nothing that saev doesn't.
    logging.getLogger("torch.distributed.elastic.multiprocessing.api").setLevel(logging.CRITICAL)
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
        raise stop.Stopped(128 + error.sigval) from None
    except ChildFailedError as error:
        # The first to fail is the cause. It has said what was wrong, unless it was killed.
        rank, failure = error.get_first_failure()
        if failure.exitcode == LOST:
            raise _lost() from None
        if failure.exitcode > 0:
            raise SystemExit(failure.exitcode) from None
        killed = signal.Signals(-failure.exitcode).name
        raise UserError(
            f"process {rank + 1} of the {size} of this training was ended by {killed}. SIGKILL is "
            f"most often for want of memory; PyTorch sends SIGABRT where a GPU's process waits "
            f"for one that hangs. The same command resumes from the last saved state",
            may_pass=True,
        ) from None
    raise SystemExit(0)
