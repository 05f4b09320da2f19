"""Trains dictionaries together: those in the plan that see the same batches, in one pass over them.

Each still has its own job. The job that starts first takes the group's lock and trains all that
aren't finished. It leaves the results of the others in their states. The jobs of the others wait
for the lock, then find their results and put them in place. The plan says which dictionaries belong
together, not the parameters of a job. So if you add one, only its own job is planned.
"""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import NamedTuple

import torch

from saev.core import logs
from saev.core.errors import UserError
from saev.core.locks import Lock
from saev.core.machine import kind
from saev.core.once import Once
from saev.core.spec import parsed
from saev.core.state import STATE, state
from saev.settings import from_plan
from saev.settings.component import identity
from saev.settings.sae import AnySaeSettings
from saev.settings.sae_base import SaeResolved
from saev.train import finished
from saev.train.fit import Learner
from saev.train.task import Task
from saev.train.training_state import State


class Group(NamedTuple):
    """The dictionaries that are trained in one pass with another."""

    key: str
    """Digest of what the members have in common; empty if there is only one."""
    partners: dict[str, AnySaeSettings]
    """Settings of the other members, by the names of their directories."""


def group_of(out: Path) -> Group:
    """The group of the dictionary in ``out``, according to the plan of this run."""
    here = "/".join(out.resolve().parts[-3:-1])
    for group in from_plan.together().get(here, []):
        if out.name in group["members"]:
            partners = {
                name: parsed(AnySaeSettings, {**from_plan.loose("sae", name), **given})
                for name, given in group["members"].items()
                if name != out.name
            }
            return Group(group["key"], partners)
    return Group("", {})


@contextmanager
def turn(out: Path, group: Group) -> Iterator[None]:
    """Hold the group's lock. This waits until no job of another member runs."""
    if not group.partners:
        yield
        return
    base = out.parent / STATE
    lock = Lock(base / f"together-{group.key}.lock", f"what is trained together with {out.name}")
    lock.acquire(wait=True, on_wait=logs.say)
    try:
        yield
    finally:
        lock.release()
        with suppress(OSError):  # the lock of another group may still be there
            base.rmdir()


@contextmanager
def partners(
    out: Path,
    done: Path | None,
    group: Group,
    task: Task,
    resolved: SaeResolved,
    code: str,
    inputs: dict[str, str],
    device: torch.device,
    threads: int,
) -> Iterator[list[Learner]]:
    """Yield the partners that still need training, each with its state locked.

    Args:
        out: directory of the dictionary whose job this is; done: the stamp of its job.
        group: the dictionaries trained with it.
        task: its data, which all share; resolved: what the plan found for it, the same for all.
        code: digest of the stage's code; inputs: digests of the training data.
        device, threads: see `Learner`.
    """
    with ExitStack() as held:
        learners = []
        for name, settings in group.partners.items():
            folder = out.with_name(name)
            key = (identity(settings, resolved), code, inputs)
            if Once(done and folder / done.name, folder, *key).there():
                continue
            kept = held.enter_context(state(folder, *key))
            if finished.there(kept.folder):
                continue
            try:
                own = task._replace(settings=settings)
                learners.append(Learner(own, State(kept, kind(device)), device, threads, name))
            except UserError as error:
                logs.say(f"leaving {name} out of this pass: {error}")
        yield learners
