"""Takes the docs' pictures of the demo's page: `make shots`, after `make`.

They show the run on patches, 1,440 × 900 pixels.
"""

import io
import json
import sys
import time
from pathlib import Path

from PIL import Image

sys.path[:0] = [str(Path(__file__).parent)]

from browser import Browser  # noqa: E402

ROOT = Path(__file__).parent.parent
SHOTS = {
    "dashboard": ("", "document.querySelectorAll('.card img').length > 16"),
    "latent": ("latent=5", "document.querySelectorAll('.enlarge img').length > 16"),
    "map": ("view=map", "document.querySelector('#view-map canvas') !== null"),
    "contrast": ("view=contrast", "document.querySelectorAll('#view-contrast img').length > 8"),
}
"""Address in the page, and what is true once it shows everything, by name of the picture."""
COMPLETE = "[...document.images].every((i) => i.loading === 'lazy' || i.complete)"


def shoot(page: Path, name: str) -> None:
    """Take one picture of a page."""
    place, ready = SHOTS[name]
    with Browser() as browser:
        browser.open(f"{page.as_uri()}#{place}")
        browser.wait(ready)
        browser.wait(COMPLETE)
        time.sleep(1)  # thumbnails that load lazily
        path = ROOT / "docs" / f"{name}.png"
        browser.screenshot(path)
    shown = Image.open(io.BytesIO(path.read_bytes()))
    shown.convert("RGB").quantize(256).save(path, optimize=True)


if __name__ == "__main__":
    for found in sorted((ROOT / "results").glob("openmoji-*/*/*/*/dashboard/summary.json")):
        run = json.loads(found.read_text())["run"]
        if run["sae"].startswith("patches-"):
            for shot in SHOTS:
                shoot(found.with_name("index.html"), shot)
            break
    else:
        sys.exit("there is no page of the demo's run on patches: run make first")
