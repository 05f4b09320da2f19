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
import logging
import os
import signal
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from functools import partial
from typing import Any, NoReturn

import torch
import torch.distributed as dist
from torch import Tensor
from torch.nn import Parameter

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

    def mean(self, tensor: Tensor) -> Tensor:
        """Average over the processes, in place."""
        if self.size > 1:
            with _together():
                dist.all_reduce(_rows(tensor))
            tensor /= self.size
        return tensor

    def any(self, flags: Tensor) -> Tensor:
        """For each flag, whether any process has set it."""
        if self.size == 1:
            return flags
        found = flags.to(torch.uint8)
        with _together():
            dist.all_reduce(found, dist.ReduceOp.MAX)
        return found.bool()

    def least(self, number: Tensor) -> Tensor:
        """The smallest value of a number over the processes."""
        if self.size > 1:
            number = number.clone()
            with _together():
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
        with _together():
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
        with _together():
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
            with _together():
                dist.broadcast(rows, 0)
        return int(number)


ALONE = Processes()


class Averaging:
    """Averages the gradients of a dictionary over the processes.

    Each is on its way as soon as the backward pass has made it, while that goes on to the next. All
    processes send them in the same order, whichever is made first.

    Args:
        parameters: by name.
        processes: more than one.
    """

    def __init__(self, parameters: Iterable[tuple[str, Parameter]], processes: Processes) -> None:
        self.processes = processes
        # The decoder's gradient is made before the encoder's.
        self._order = [p for _, p in sorted(parameters, key=lambda named: named[0] != "W_dec")]
        self._ready: set[int] = set()
        self._sent: list[tuple[dist.Work, Tensor]] = []
        self._next = 0
        for i, parameter in enumerate(self._order):
            parameter.register_post_accumulate_grad_hook(partial(self._made, i))

    def _made(self, i: int, _: Tensor) -> None:
        self._ready.add(i)
        self._send(lambda j: j in self._ready)

    def _send(self, wanted: Callable[[int], bool]) -> None:
        while self._next < len(self._order) and wanted(self._next):
            gradient = self._order[self._next].grad
            self._next += 1
            if gradient is not None:
                with _together():
                    work = dist.all_reduce(_rows(gradient), async_op=True)
                self._sent.append((work, gradient))

    def finish(self) -> None:
        """Wait until every gradient is the mean over the processes."""
        self._send(lambda j: True)
        for work, gradient in self._sent:
            with _together():
                work.wait()
            gradient /= self.processes.size
        self._ready, self._sent, self._next = set(), [], 0


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
