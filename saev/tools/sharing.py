"""The commands that give a dictionary to others: `saev export` and `saev push`."""

import argparse
import re
from collections.abc import Callable
from pathlib import Path
from typing import Protocol

from saev.core.errors import UserError
from saev.tools import diff

EXPORT = """\
Writes the dictionary of a run in the format of another library, into a new folder. Its
normalisation becomes part of its weights. What that format can't hold exactly is refused.

  sae-lens      cfg.json and sae_weights.safetensors, for SAELens 6
  saev          sae.pt, for Imageomics' saev (schema 2); only architecture: relu
  safetensors   dictionary.safetensors: W_enc, b_enc, W_dec, b_dec, and threshold or k

  saev export openmoji-1a2b3c4d/clip-5e6f7a8b/cls-11111111 --to sae-lens mine
"""
PUSH = """\
Puts the dictionary of a run on the Hugging Face hub: the checkpoint, and a model card with its
figures, lineage, licence and use. Log in first: hf auth login. --dry-run writes both into a new
folder and uploads nothing.

  saev push openmoji-1a2b3c4d/clip-5e6f7a8b/cls-11111111/all-22222222 me/mine --license cc-by-4.0
"""
NAMES = ("sae-lens", "saev", "safetensors")
"""Formats to export to. `saev.tools.export` writes them, but needs PyTorch."""
REPO = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")


class Add(Protocol):
    """What makes a command."""

    def __call__(
        self, name: str, run: Callable[[argparse.Namespace], int], what: str, text: str
    ) -> argparse.ArgumentParser: ...


def add_commands(add: Add) -> None:
    """Make both commands."""
    what = "directory of a run or a dictionary, relative to the current folder or to the results"
    export = add("export", _export, "write a dictionary for another library", EXPORT)
    export.add_argument("run_folder", metavar="RUN", help=what)
    export.add_argument("folder", metavar="DIR", type=Path, help="the folder to make")
    export.add_argument("--to", required=True, choices=NAMES, help="the format")
    push = add("push", _push, "put a dictionary on the Hugging Face hub", PUSH)
    push.add_argument("run_folder", metavar="RUN", help=what)
    push.add_argument("repo", metavar="OWNER/NAME", help="the repository; made if it isn't there")
    push.add_argument(
        "--license", required=True, help="the dictionary's licence, such as cc-by-4.0 or mit"
    )
    push.add_argument(
        "--dry-run", metavar="DIR", type=Path, help="write into this folder; upload nothing"
    )


def _export(arguments: argparse.Namespace) -> int:
    from saev.api.run import load
    from saev.tools.export import export

    sae = load(diff.resolved(arguments.run_folder, arguments.results))
    for path in export(sae, arguments.to, arguments.folder):
        print(path)
    return 0


def _push(arguments: argparse.Namespace) -> int:
    from saev.tools.push import push

    if not REPO.fullmatch(arguments.repo):
        raise UserError(f"{arguments.repo!r} can't be on the hub: write OWNER/NAME")
    found = diff.resolved(arguments.run_folder, arguments.results)
    print("\n".join(push(found, arguments.repo, arguments.license, arguments.dry_run)))
    return 0
