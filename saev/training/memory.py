"""How much memory this process may take."""

import os
from collections.abc import Iterator
from pathlib import Path

GROUPS = Path("/sys/fs/cgroup")


def free_memory() -> int:
    """Bytes that a process can take without swapping, or being killed by a scheduler or container."""
    return max(0, min([_free_of_machine(), *_left_of_groups(Path("/proc/self/cgroup"), GROUPS)]))


def _free_of_machine() -> int:
    try:
        fields = dict(line.split(":") for line in Path("/proc/meminfo").read_text().splitlines())
        return int(fields["MemAvailable"].split()[0]) * 1024
    except (OSError, KeyError):
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 2


def _left_of_groups(memberships: Path, groups: Path) -> Iterator[int]:
    """What is left of the limit of each control group (version 2) around this process.

    Args:
        memberships: as `/proc/self/cgroup`, whose line ``0::/a/b`` names the innermost group.
        groups: where the groups' files lie.
    """
    try:
        lines = memberships.read_text().splitlines()
    except OSError:
        return
    for line in lines:
        if line.startswith("0::"):
            inner = groups / line.removeprefix("0::").lstrip("/")
            for folder in (inner, *inner.parents):
                if folder.is_relative_to(groups):
                    yield from _left_of(folder)


def _left_of(group: Path) -> Iterator[int]:
    try:
        limit = (group / "memory.max").read_text().strip()
        used = int((group / "memory.current").read_text())
        fields = dict(line.split() for line in (group / "memory.stat").read_text().splitlines())
    except (OSError, ValueError):
        return  # no limit can be set there
    if limit != "max":
        # Pages of files that weren't used lately are given up first.
        yield int(limit) - used + int(fields.get("inactive_file", 0))
