"""Writes the masks of one category of Broden as a file for each class.

    python examples/broden_masks.py data/broden1_224 part data/broden-parts

Parts need it: they overlap, so an image can have several files of them. It prints what to write
under `masks`, with the classes that 10 images or more have. Names come from `label.csv`. Scenes and
textures of whole images are no masks: `index.csv` is a table of labels
(`scene: {table: data/broden1_224/index.csv, key: image}`), with numbers for names.

Layout from the NetDissect README; check your copy. `index.csv` has a row for each image, with the
files of each category joined by `;`. In such a file, a pixel's class is red + 256 · green. A number
in place of a file is a class of the whole image.
"""

import argparse
import csv
import json
from collections import Counter
from pathlib import Path

import numpy as np
from PIL import Image

FEWEST = 10
"""An evaluation leaves out classes of fewer images."""


def names(broden: Path) -> dict[int, str]:
    """The name of each class, as a folder can have it."""
    with (broden / "label.csv").open(newline="") as file:
        return {int(row["number"]): row["name"].replace("/", "-") for row in csv.DictReader(file)}


def split(broden: Path, category: str, out: Path) -> Counter[str]:
    """Write a black and white PNG for each image and class. Count the images of each class."""
    known, found = names(broden), Counter[str]()
    with (broden / "index.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    if not rows or category not in rows[0]:
        raise SystemExit(f"index.csv of {broden} has no column {category}")
    for row in rows:
        classes: dict[int, np.ndarray] = {}
        for name in filter(None, row[category].split(";")):
            if name.isdigit():
                raise SystemExit(
                    f"{row['image']}: {category} {name} is of the whole image: no mask"
                )
            with Image.open(broden / "images" / name) as picture:
                red, green, _ = np.moveaxis(np.asarray(picture.convert("RGB"), np.int64), 2, 0)
            value = red + 256 * green
            for number in np.unique(value[value > 0]).tolist():
                classes[number] = classes.get(number, False) | (value == number)
        for number, here in classes.items():
            if number not in known:
                raise SystemExit(f"{row['image']}: label.csv has no class {number}")
            path = out / known[number] / Path(row["image"]).with_suffix(".png")
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(here).save(path)
            found[known[number]] += 1
    return found


def main() -> None:
    """Parse the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("broden", type=Path, help="folder with index.csv, label.csv and images/")
    parser.add_argument("category", help="a column of index.csv, such as part")
    parser.add_argument("out", type=Path, help="folder of the masks")
    given = parser.parse_args()
    found = split(given.broden, given.category, given.out)
    classes = sorted(name for name, n in found.items() if n >= FEWEST)
    print(f"masks:\n  folder: {json.dumps(str(given.out))}\n  pixels: file\n  unnamed: none")
    print(f"  classes: {json.dumps(classes)}")


if __name__ == "__main__":
    main()
