"""Dictionaries trained together: those of the plan that see the same batches, in one pass over them.

Each is still a job of its own. The first to start takes the lock of the group, trains all that aren't
valid, and leaves the results of the others in their states; the jobs of these wait for the lock, find
what is theirs and hand it in. Which dictionaries belong together stands in the plan and not in the
parameters of a job, so that one added plans nothing but itself.
"""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any, NamedTuple

import torch

from saev import logs, stage
from saev.artifacts.meta import RUN, altered_files, read_meta
from saev.artifacts.sae import STAGE
from saev.errors import UserError
from saev.files import read_json
from saev.locks import Lock
from saev.training import finished
from saev.training.fit import Point
from saev.training.job import Job, read_settings
from saev.training.state import State


class Group(NamedTuple):
    """Who is trained in one pass with a dictionary."""

    key: str
    """Digest of what the members agree in; empty for one that is alone."""
    partners: dict[str, dict[str, Any]]
    """Settings of the other members, by the name of their directory."""


def group_of(out: Path) -> Group:
    """The group of the dictionary in ``out``, as the plan of this run says."""
    here = "/".join(out.resolve().parts[-3:-1])
    for group in stage.compute().get("together", {}).get(here, []):
        if out.name in group["members"]:
            partners = {n: given for n, given in group["members"].items() if n != out.name}
            return Group(group["key"], partners)
    return Group("", {})


@contextmanager
def turn(out: Path, group: Group) -> Iterator[None]:
    """Hold the lock of the group; this waits until no other member's job runs."""
    if not group.partners:
        yield
        return
    base = out.parent / stage.STATE
    lock = Lock(base / f"together-{group.key}.lock", f"what is trained together with {out.name}")
    lock.acquire(wait=True, on_wait=logs.say)
    try:
        yield
    finally:
        lock.release()
        with suppress(OSError):  # another group's lock may still be there
            base.rmdir()


@contextmanager
def partners(
    out: Path,
    group: Group,
    job: Job,
    code: str,
    inputs: dict[str, str],
    device: torch.device,
    threads: int,
) -> Iterator[list[Point]]:
    """Yield the partners that aren't valid, each with its state locked, ready to be trained.

    Args:
        out: directory of the dictionary whose job this is.
        group: those trained with it.
        job: its data, which all share.
        code: digest of the stage's code; inputs: digests of what they are trained on.
        device, threads: see `Point`.
    """
    with ExitStack() as held:
        points = []
        for name, settings in group.partners.items():
            folder = out.with_name(name)
            if is_valid(folder, settings, code, inputs):
                continue
            state = held.enter_context(stage.state(folder, settings, code, inputs))
            if finished.there(state):
                continue
            try:
                own = job._replace(settings=read_settings(settings))
                points.append(Point(own, State(state), device, threads, name))
            except UserError as error:
                logs.say(f"{name} is left out of this pass: {error}")
        yield points


def is_valid(folder: Path, settings: dict[str, Any], code: str, inputs: dict[str, str]) -> bool:
    """Whether a dictionary is whole, and made from these settings and inputs by this code."""
    try:
        meta, _ = read_meta(folder, STAGE)
        made_by = read_json(folder / RUN)["code"]
        return (
            (meta["settings"], meta["inputs"], made_by) == (settings, inputs, code)
        ) and not altered_files(folder, meta["files"], deep=False)
    except (UserError, KeyError, TypeError):
        return False
