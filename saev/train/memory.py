"""How much memory this process may take."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

GROUPS = Path("/sys/fs/cgroup")


class Names(NamedTuple):
    """The files of a control group, by its version, that tell of memory."""

    limit: str
    used: str
    inactive: str
    """Field of `memory.stat`: bytes of cached pages that weren't used recently."""


V1 = Names("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file")
V2 = Names("memory.max", "memory.current", "inactive_file")


def free_memory(mem_mb: int | None = None) -> int:
    """Bytes this process can take before it swaps, or a scheduler or container kills it.

    Args:
        mem_mb: memory in MB that a scheduler gave to all processes of this job; None if none did.
    """
    left = [_free_of_machine(), *_left_of_groups(Path("/proc/self/cgroup"), GROUPS)]
    if mem_mb is not None:
        left.append(mem_mb * 1_000_000 - _taken())
    return max(0, min(left))


def _free_of_machine() -> int:
    try:
        fields = dict(line.split(":") for line in Path("/proc/meminfo").read_text().splitlines())
        return int(fields["MemAvailable"].split()[0]) * 1024
    except (OSError, KeyError):
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 2


def _taken() -> int:
    """Bytes that this process has taken, without those of mapped files."""
    try:
        lines = Path("/proc/self/status").read_text().splitlines()
        fields = dict(line.split(":", 1) for line in lines)
        return int(fields["RssAnon"].split()[0]) * 1024
    except (OSError, KeyError):
        return 0


def _left_of_groups(memberships: Path, groups: Path) -> Iterator[int]:
    """Yield what is left of the limit of each control group that this process is in.

    Args:
        memberships: a file like `/proc/self/cgroup`. Its line ``0::/a/b`` names the innermost group
            of version 2, and ``9:memory:/a/b`` that of version 1.
        groups: the folder of the groups' files. Those of version 1 are under `memory/` there.
    """
    try:
        lines = memberships.read_text().splitlines()
    except OSError:
        return
    for line in lines:
        number, kinds, path = line.split(":", 2)
        if number == "0":
            top, names = groups, V2
        elif "memory" in kinds.split(","):
            top, names = groups / "memory", V1
        else:
            continue
        inner = top / path.lstrip("/")
        for folder in (inner, *inner.parents):
            if folder.is_relative_to(top):
                yield from _left_of(folder, names)


def _left_of(group: Path, names: Names) -> Iterator[int]:
    try:
        limit = (group / names.limit).read_text().strip()
        used = int((group / names.used).read_text())
        fields = dict(line.split() for line in (group / "memory.stat").read_text().splitlines())
    except (OSError, ValueError):
        return  # this group can't have a limit
    if limit != "max":
        # The system can free cached pages of files that weren't used recently.
        yield int(limit) - used + int(fields.get(names.inactive, 0))
