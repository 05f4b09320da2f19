"""How much memory this process may take."""

import os
from collections.abc import Iterator
from pathlib import Path

GROUPS = Path("/sys/fs/cgroup")


def free_memory() -> int:
    """Bytes this process can take before it swaps, or a scheduler or container kills it."""
    return max(0, min([_free_of_machine(), *_left_of_groups(Path("/proc/self/cgroup"), GROUPS)]))


def _free_of_machine() -> int:
    try:
        fields = dict(line.split(":") for line in Path("/proc/meminfo").read_text().splitlines())
        return int(fields["MemAvailable"].split()[0]) * 1024
    except (OSError, KeyError):
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 2


def _left_of_groups(memberships: Path, groups: Path) -> Iterator[int]:
    """Yield what is left of the limit of each control group (version 2) that this process is in.

    Args:
        memberships: a file like `/proc/self/cgroup`: its line ``0::/a/b`` names the innermost
            group.
        groups: the folder of the groups' files.
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
        return  # this group can't have a limit
    if limit != "max":
        # The system can free cached pages of files that weren't used recently.
        yield int(limit) - used + int(fields.get("inactive_file", 0))
