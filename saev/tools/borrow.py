"""`saev borrow`: uses recordings of another project without copying or changing them."""

from collections.abc import Iterator
from fnmatch import fnmatchcase
from pathlib import Path

from saev.activations import artifact as recorded
from saev.activations.verified import FOLDER as VERIFIED
from saev.analyze.artifact import BASELINES
from saev.core.errors import UserError
from saev.core.made import DONE, MADE, read_made
from saev.core.meta import META, RUN, read_meta
from saev.core.once import Once, stamp_name
from saev.core.spec import read_spec
from saev.images import artifact as listed
from saev.tools import present, texts, tree
from saev.workflow.plan import Plan
from saev.workflow.stages import BY_NAME

STAGE = BY_NAME[recorded.STAGE]
OTHERS = (VERIFIED, BASELINES)
"""What saev notes beside a recording, and what an analysis adds to it: ours to make."""


def run(lender: Path, results: Path, configfiles: list[str]) -> Iterator[str]:
    """Link the recordings that the settings need and ``lender`` has. Yield a line about each.

    Only files are linked. Our folders are real, so what we add or record again never reaches the
    other project. The links have no stamps: the workflow's jobs verify every file and find that
    there is nothing to do.

    Args:
        lender: a project, or its folder of results. It is only read.
        results: our folder of results.
        configfiles: settings files to merge into `config.yaml`.

    Raises:
        UserError: it has none of them; says what it has.
    """
    theirs = next((p for p in (lender / "results", lender) if any(_recordings(p))), lender)
    if theirs.resolve() == results.resolve():
        raise UserError(f"{lender} is this project: name another one")
    plan = present.plan(configfiles, str(results))
    wanted = list(
        dict.fromkeys((run[name], run["vit"]) for run in plan.runs for name in ("images", "on"))
    )
    reasons, n_linked = [], 0
    for images, vit in wanted:
        name = f"{images}/{vit}"
        if (results / name / META).exists():
            yield f"{name}: is here already"
            n_linked += 1
            continue
        reason = _refused(theirs, images, vit, plan)
        if reason:
            reasons.append(f"{name}: {reason}")
            continue
        n, size = _link(theirs / name, results / name)
        n_linked += 1
        yield f"{name}: linked {texts.count(n, 'file')}, {texts.size(size)}"
    if n_linked:
        yield from reasons
        yield "Run the workflow: it verifies what is linked, and goes on from there."
        return
    there = sorted(_recordings(theirs))
    raise UserError(
        "\n".join(
            [
                f"{theirs} has no recording that these settings can use:",
                *(f"  - {reason}" for reason in reasons),
                f"It has {', '.join(there)}" if there else "It has no recording at all",
            ]
        )
    )


def _recordings(results: Path) -> Iterator[str]:
    """Names of the finished recordings in a folder of results."""
    if not results.is_dir():
        return
    for images in tree.children(results):
        for path in tree.children(images):
            if (path / META).exists():
                yield f"{images.name}/{path.name}"


def _refused(theirs: Path, images: str, vit: str, plan: Plan) -> str | None:
    """Why a recording can't be used; None if it can."""
    folder = theirs / images / vit
    if not (folder / META).exists():
        return "isn't there" if not folder.exists() else "isn't finished"
    _, digest = read_meta(theirs / images, listed.STAGE)
    spec = read_spec(plan.data["specs"][recorded.STAGE][vit])
    n = plan.n_shards(images, vit)
    for number in range(n):
        stamp = folder / stamp_name("record_shard", f"{number:05}")
        once = Once(stamp, folder, spec, digest, number)
        if not once.is_of(read_made(stamp.with_suffix(MADE))):
            return (
                f"shard {number} of {n} was recorded by other code or other versions of the "
                f"libraries, so the workflow would record it again: use theirs ({folder / RUN}), "
                f"or record your own"
            )
    return None


def _link(theirs: Path, ours: Path) -> tuple[int, int]:
    """Link the files of a recording; return their number and size."""
    files = [
        path
        for top in sorted(theirs.iterdir())
        if top.name in (META, RUN) or any(fnmatchcase(top.name, own) for own in STAGE.own)
        if top.name not in OTHERS and top.suffix != DONE
        for path in (sorted(top.rglob("*")) if top.is_dir() else [top])
        if path.is_file()
    ]
    # meta.json last: with it, a recording counts as complete.
    files.sort(key=lambda path: path.name == META)
    for path in files:
        link = ours / path.relative_to(theirs)
        if link.is_file() and not link.is_symlink():
            continue  # a recording that was begun here: its finished files have the same bytes
        link.parent.mkdir(parents=True, exist_ok=True)
        link.unlink(missing_ok=True)
        link.symlink_to(path.resolve())
    return len(files), sum(path.stat().st_size for path in files)
