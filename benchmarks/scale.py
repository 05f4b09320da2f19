"""Measures how the start of the workflow grows with images, files, runs and parts.

    python benchmarks/scale.py rows files runs parts
    python benchmarks/scale.py runs --against ../saev-before

Each kind is measured at a quarter of its size, at half of it and in full, each time in a program of
its own. Prints wall time, CPU time and peak memory:

- rows: images of one parquet file, whose names are listed, compared and numbered (`--rows`);
- files: a folder of files, listed and numbered (`--files`), and looked at again;
- runs: `snakemake -n` of a sweep with so many points (`--runs`), from nothing;
- parts: `snakemake -n` of one run over so many images that it has so many parts (`--parts`).

With ``--against``, another checkout does the same in turns with this one, and the ratio of the CPU
times is printed. The medians are of ``--repeat`` turns.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq

from saev.analyze.artifact import PART

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests"))
from project import ROOT, Project, config

PLAN = """\
import yaml
from saev.workflow.plan import resolve
resolve(yaml.safe_load(open("config.yaml")))
"""
# Linux counts the memory of whoever starts a program as the program's own. So a small
# program starts each.
START = """\
import json, os, sys, time
started = time.perf_counter()
process = os.posix_spawn(sys.argv[1], sys.argv[1:], os.environ)
_, status, usage = os.wait4(process, 0)
wall = time.perf_counter() - started
print(json.dumps([wall, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024]))
sys.exit(os.waitstatus_to_exitcode(status) != 0)
"""
DRY_RUN = [sys.executable, "-m", "snakemake", "--dry-run", "--cores", "2"]
LINKED = ("Snakefile", "rules", "saev", "demo", "envs", "profiles")
FOLDER_FILES = 1000
GROUP = 1 << 20


class Spent(NamedTuple):
    """What a program took."""

    wall: float
    cpu: float
    peak: float
    """MB."""

    def said(self) -> str:
        """The figures in words."""
        return f"{self.wall:.1f} s, {self.cpu:.1f} s of CPU, {self.peak:,.0f} MB"


def spent(command: list[str], folder: Path, tree: Path) -> Spent:
    """Run a program in ``folder`` with the code of ``tree``."""
    environment = {**os.environ, "PYTHONPATH": str(tree), "HF_HUB_OFFLINE": "1"}
    start = [sys.executable, "-S", "-c", START]
    with tempfile.TemporaryFile() as said:
        done = subprocess.run(
            [*start, *command], cwd=folder, env=environment, stdout=said, stderr=said
        )
        said.seek(0)
        lines = said.read().decode()
    if done.returncode:
        raise SystemExit(lines[-2000:])
    return Spent(*json.loads(lines.splitlines()[-1]))


def settings(**images: Any) -> dict[str, Any]:
    """Settings of one run on images that aren't opened."""
    given = config()
    given["images"]["pets"] = images
    given["vit"]["tiny"] |= {"model": "ViT-B-32", "shard_images": PART}
    given["analysis"]["named"]["labels"] = {}
    given["sae"]["cls"]["batch_size"] = 16
    given["runs"] = given["runs"][:1]
    return given


def rows(folder: Path, n: int) -> tuple[dict[str, Any], list[list[str]]]:
    """A parquet file with ``n`` images of a byte, which have names."""
    schema = pa.schema([("image", pa.binary()), ("name", pa.string())])
    with pq.ParquetWriter(folder / "set.parquet", schema) as writer:
        for start in range(0, n, GROUP):
            numbers = range(start, min(start + GROUP, n))
            columns = [
                [f"{i // 1000:06}/{i:09}.jpg" for i in numbers],
                [f"{i:09}" for i in numbers],
            ]
            writer.write_table(pa.table(columns, schema=schema))
    return settings(parquet="set.parquet", key="name"), [[sys.executable, "-c", PLAN]]


def files(folder: Path, n: int) -> tuple[dict[str, Any], list[list[str]]]:
    """A folder of ``n`` files."""
    for start in range(0, n, FOLDER_FILES):
        inner = folder / "pictures" / f"{start // FOLDER_FILES:05}"
        inner.mkdir(parents=True)
        for i in range(start, min(start + FOLDER_FILES, n)):
            (inner / f"{i:08}.jpg").write_bytes(b"-")
    return settings(folder="pictures"), [[sys.executable, "-c", PLAN]] * 2


def runs(folder: Path, n: int) -> tuple[dict[str, Any], list[list[str]]]:
    """A sweep of ``n`` points."""
    given = settings(folder="pictures", n_images=1000, version="one")
    given["sae"]["cls"]["sweep"] = {"seed": list(range(n))}
    del given["sae"]["cls"]["seed"]
    return given, [DRY_RUN]


def parts(folder: Path, n: int) -> tuple[dict[str, Any], list[list[str]]]:
    """One run over ``n`` parts and as many shards."""
    return settings(folder="pictures", n_images=n * PART, version="one"), [DRY_RUN]


KINDS: dict[str, Callable[[Path, int], tuple[dict[str, Any], list[list[str]]]]] = {
    "rows": rows,
    "files": files,
    "runs": runs,
    "parts": parts,
}


def measured(kind: str, n: int, trees: list[Path], repeat: int) -> list[list[Spent]]:
    """Medians by program and tree. The trees take turns."""
    taken: dict[tuple[int, int], list[Spent]] = {}
    for _ in range(repeat):
        for number, tree in enumerate(trees):
            with tempfile.TemporaryDirectory() as place:
                folder = Path(place)
                given, commands = KINDS[kind](folder, n)
                for name in LINKED:
                    (folder / name).symlink_to(tree / name)
                Project(folder).configure(given)
                for at, command in enumerate(commands):
                    taken.setdefault((at, number), []).append(spent(command, folder, tree))
    return [
        [median(taken[at, number]) for number in range(len(trees))] for at in range(len(commands))
    ]


def median(turns: list[Spent]) -> Spent:
    """The median of each figure."""
    return Spent(*(statistics.median(figures) for figures in zip(*turns, strict=True)))


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("kinds", nargs="+", choices=KINDS)
    parser.add_argument("--rows", type=int, default=10_000_000)
    parser.add_argument("--files", type=int, default=200_000)
    parser.add_argument("--runs", type=int, default=500)
    parser.add_argument("--parts", type=int, default=600)
    parser.add_argument("--against", type=Path, help="another checkout, to compare with")
    parser.add_argument("--repeat", type=int, default=1)
    args = parser.parse_args()
    trees = [ROOT, *([args.against.resolve()] if args.against else [])]
    print(f"load when started: {os.getloadavg()[0]:.1f}")
    for kind in args.kinds:
        whole = getattr(args, kind)
        for n in (whole // 4, whole // 2, whole):
            for number, (ours, *others) in enumerate(measured(kind, n, trees, args.repeat)):
                again = "again: " if number else ""
                print(f"{n:,} {kind}: {again}{ours.said()}", flush=True)
                for other in others:
                    print(f"    before: {other.said()}; ratio of CPU {ours.cpu / other.cpu:.2f}")


if __name__ == "__main__":
    main()
