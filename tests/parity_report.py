"""Says which stages of this revision give other results than the last release, for a log.

Without a release, the revision before the branch left the main one, or else the last commit.
"""

import json
import subprocess
import sys
import tempfile
from pathlib import Path

from project import ROOT, TOWER, config, draw_pictures


def told(*arguments: str) -> str:
    """What git says; empty if it can't."""
    done = subprocess.run(
        ["git", *arguments], cwd=ROOT, capture_output=True, text=True, check=False
    )
    return done.stdout.strip() if done.returncode == 0 else ""


def before() -> str:
    """The revision to compare with; empty in a clone without history."""
    head = told("rev-parse", "HEAD")
    candidates = (
        told("describe", "--tags", "--abbrev=0"),
        told("merge-base", "HEAD", "origin/HEAD"),
        told("rev-parse", "--verify", "--quiet", "HEAD~1"),
    )
    return next((found for found in candidates if found and found != head), "")


def main() -> None:
    """Compare on a few images that are drawn here."""
    old = before()
    if not old:
        print("parity: there is no earlier revision in this clone to compare with")
        return
    with tempfile.TemporaryDirectory() as folder:
        settings = config()
        settings["runs"] = settings["runs"][1:]
        settings["parity"] = {"n_images": 60, "steps": 40}
        keys = draw_pictures(Path(folder, "pictures"), 60)
        rows = [f"{key},{'north' if i % 2 else 'south'}" for i, key in enumerate(keys)]
        Path(folder, "sites.csv").write_text("\n".join(["path,site", *rows]) + "\n")
        Path(folder, "tower.json").write_text(json.dumps(TOWER))
        Path(folder, "config.yaml").write_text(json.dumps(settings))
        command = [sys.executable, "-m", "saev.tools", "parity", old, "HEAD", "--alone"]
        subprocess.run(command, cwd=folder, check=False)


if __name__ == "__main__":
    main()
