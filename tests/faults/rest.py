"""Damage to files that lie there, whole: between two runs of the same command."""

import re
import shutil
from pathlib import Path

from test_nothing_lost import stage_of

from saev.analyze.artifact import CODES

from .jobs import STAGES, deep_check, same_command
from .strikes import DETECTED, LOST, SURVIVED, Outcome, Scene
from .template import remove_from

RESULTS = Path("results")


def truncated(scene: Scene) -> Outcome:
    def harm(path: Path) -> list[Path]:
        data = path.read_bytes()
        path.write_bytes(data[: scene.chance.randrange(len(data))])
        return [path]

    return _struck(scene, "truncated", harm)


def flipped(scene: Scene) -> Outcome:
    def harm(path: Path) -> list[Path]:
        data = bytearray(path.read_bytes())
        data[scene.chance.randrange(len(data))] ^= 1 << scene.chance.randrange(8)
        path.write_bytes(data)
        return [path]

    return _struck(scene, "a flipped bit in", harm)


def swapped(scene: Scene) -> Outcome:
    def harm(path: Path) -> list[Path]:
        mine = path.read_bytes()
        others = [
            other
            for other in (*files(scene), *records(scene))
            if other.suffix == path.suffix and other != path and other.read_bytes() != mine
        ]
        if not others:
            return []
        # Best one of the same name in another folder, or of the same folder.
        alike = [o for o in others if o.name == path.name or o.parent == path.parent]
        other = scene.chance.choice(alike or others)
        theirs = other.read_bytes()
        other.write_bytes(mine)
        path.write_bytes(theirs)
        return [path, other]

    return _struck(scene, "swapped", harm)


def foreign(scene: Scene) -> Outcome:
    contents = (b"", b"\0" * 4096, b"{}\n", b"[1, 2]\n", b"not a result\n", bytes(range(256)) * 9)

    def harm(path: Path) -> list[Path]:
        path.write_bytes(scene.chance.choice(contents))
        return [path]

    return _struck(scene, "foreign", harm)


def removed(scene: Scene) -> Outcome:
    def harm(path: Path) -> list[Path]:
        path.unlink()
        return [path]

    return _struck(scene, "removed", harm)


def files(scene: Scene) -> list[Path]:
    """Results of the stage that count, which may be struck."""
    results = [RESULTS / name for name in scene.template.truth if stage_of(name) == scene.stage]
    if scene.stage == "analyze":  # without its codes, all else must be the same
        results += RESULTS.glob(f"*/*/*/*/{CODES}/*")
    return sorted(path for path in results if path.exists() and path.stat().st_size)


def records(scene: Scene) -> list[Path]:
    """Stamps and records of the stage's jobs, which are struck now and then."""
    mine = [job for job in scene.template.jobs if job.stage == scene.stage]
    return [Path(name) for job in mine for name in (job.stamp, job.made)]


def kinds(paths: list[Path]) -> dict[str, list[Path]]:
    """Files by what they are, so that 300 thumbnails are struck no more often than one table."""
    found: dict[str, list[Path]] = {}
    for path in paths:
        found.setdefault(re.sub(r"\d+", "0", path.name), []).append(path)
    return found


def _struck(scene: Scene, how: str, harm) -> Outcome:
    last = STAGES[-1]
    # Labels are made from the listing alone.
    following = [one for one in STAGES[STAGES.index(scene.stage) + 1 :] if one != "labels"]
    in_use = bool(following) and scene.chance.random() < 0.5
    if in_use:  # what comes next has still to be made, from the damaged files
        remove_from(following[0])
        last = following[0]
    by_kind = kinds(records(scene) if scene.chance.random() < 0.15 else files(scene))
    path = scene.chance.choice(by_kind[scene.chance.choice(sorted(by_kind))])
    harmed = harm(path)
    if not harmed:
        return Outcome("not tried", f"there is no other file of the kind of {path}")
    scene.note_finished()
    names = [str(one.relative_to(RESULTS)) for one in harmed]
    own = {j.stamp for j in scene.template.jobs if any(str(h) in (j.stamp, j.made) for h in harmed)}
    told = f"{how} {' and '.join(names)}{' in use' if in_use else ''}"

    ran = same_command(scene.jobs(last))
    differ = scene.differences(last)
    text = ran.text
    if ran.ok and not differ:
        paid = scene.paid_twice(_makers(scene, harmed) | own)
        return Outcome(SURVIVED, told, len(paid), scene.tracebacks(text))
    text += deep_check()
    wrong = {n: d for n, d in differ.items() if n not in names and d != "missing"}
    said = [line for line in text.splitlines() if any(_names(line, one) for one in harmed)]
    altered = {_names(line, one) or one for line in said for one in harmed}
    told += f"; {in_line(said)}"
    if wrong or not said:
        return Outcome(LOST, f"{told}; made from it: {wrong}; {text[-1500:]}", 0, 0)
    # What the line advises: remove the file, and run the same command again.
    for one in altered:
        shutil.rmtree(one) if one.is_dir() else one.unlink(missing_ok=True)
    again = same_command(scene.jobs(last))
    differ = scene.differences(last)
    found = scene.tracebacks(text, again.text)
    if not again.ok or differ:
        told += f"; removing it doesn't mend it: {again.text[-800:]} {list(differ.items())[:3]}"
        return Outcome(LOST, told, 0, found)
    return Outcome(DETECTED, told, len(scene.paid_twice(_makers(scene, harmed) | own)), found)


def _names(line: str, path: Path) -> Path | None:
    """What a line names: a file, or a folder in which all files were compared; None if neither."""
    for place in (path, *path.parents[:-2]):
        if place == path and (str(place) in line or f"{path.parent.name}/{path.name}" in line):
            return place
        if f"files in {place} " in line or f"{place} holds " in line:
            return place
    return None


def in_line(said: list[str]) -> str:
    return said[0][:300] if said else "nothing names it"


def _makers(scene: Scene, harmed: list[Path]) -> set[str]:
    """Stamps of the jobs of the struck stage and of those after it, which may be done again."""
    first = STAGES.index(scene.stage)
    return {job.stamp for job in scene.template.jobs if STAGES.index(job.stage) >= first}
