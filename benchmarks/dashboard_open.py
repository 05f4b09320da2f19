"""Measures how long the page of a run with 10,000 latents takes to open in headless Chromium.

    python benchmarks/dashboard_open.py --latents 10000

The page is opened from file://. Prints the time from navigation until the first cards and their
visible images are painted (`performance.now()` of the page), the time that the map takes to appear,
and how long another page of the list, another order and a latent take until the images that can be
seen are painted. Before another page or order, the reader looks at the list for two seconds; one
more page follows at once. Also prints the frames of the wall while it scrolls, the memory of the
whole browser beside a blank one, the size of the dashboard, and the limit of 2 s.
"""

import argparse
import base64
import json
import statistics
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from PIL import Image

from saev.analyze import columns
from saev.dashboard import artifact as names
from saev.dashboard.data import exact, write_strongest
from saev.dashboard.image_rows import layout
from saev.dashboard.page import page
from saev.dashboard.scripts import packed, rounded, script
from saev.dashboard.structures import (
    About,
    Columns,
    ImageNames,
    PageBlock,
    Projection,
    TextColumn,
    WholeFigures,
)

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests"))
from browser import CHROMIUM, Browser

LIMIT_SECONDS = 2.0
READS_SECONDS = 2.0
"""How long a reader looks at a page of the list: meanwhile, the next one is read."""
SCROLL = """(() => {
  const times = [];
  let last = performance.now();
  const step = (now) => {
    times.push(now - last);
    last = now;
    window.scrollBy(0, 40);
    if (times.length < 300) requestAnimationFrame(step);
    else window.frames_seen = JSON.stringify(times.slice(5));
  };
  setTimeout(() => requestAnimationFrame(step), 3000);
})(); 0"""
"""Scrolls a page, and keeps how long each frame took."""
N_IMAGES, K, GRID = 4096, 16, (14, 14)
ROWS = layout(K, True)
SLOTS = ROWS[-1]["last"]


def generate(out: Path, n: int) -> None:
    """Write a dashboard of ``n`` latents with heat maps and random images, of realistic size."""
    rng = np.random.default_rng(0)
    for row in range(N_IMAGES):
        path = out / names.thumbnail(row)
        path.parent.mkdir(parents=True, exist_ok=True)
        small = Image.fromarray(rng.integers(0, 256, (9, 9, 3), dtype=np.uint8))
        small.resize((160, 160), Image.Resampling.BICUBIC).save(path, quality=85)
    all_rows = rng.integers(0, N_IMAGES, (n, SLOTS))
    all_patches = rng.integers(0, GRID[0] * GRID[1], (n, SLOTS))
    for number, first in enumerate(range(0, n, names.DATA_LATENTS)):
        count = min(names.DATA_LATENTS, n - first)
        rows = all_rows[first : first + count]
        block: PageBlock = {
            "texts": ["kind"],
            "images": {str(r): [f"kind/{r}.jpg", 0] for r in np.unique(rows).tolist()},
            "rows": rows.tolist(),
            "values": [list(map(rounded, v)) for v in -np.sort(-rng.random((count, SLOTS)))],
            "patches": all_patches[first : first + count].tolist(),
            "firing": [[[[0, 90, 0.1]] * 8]] * count,
            "silent": [[0, 24, 8]] * count,
            "positions": rng.integers(0, 90, (count, GRID[0] * GRID[1])).tolist(),
            "histogram": [[20, *rng.integers(0, 900, 12).tolist()] for _ in range(count)],
            "neighbours": rng.integers(0, n, (count, 6)).tolist(),
            "cosines": [[0.5] * 6] * count,
        }
        (out / names.block(number)).parent.mkdir(parents=True, exist_ok=True)
        (out / names.block(number)).write_bytes(script(f"block {number}", block))
    each = names.heat_latents(SLOTS * GRID[0] * GRID[1])
    for number, first in enumerate(range(0, n, each)):
        heat = rng.integers(0, 256, (min(each, n - first), SLOTS, GRID[0] * GRID[1]), np.uint8)
        heat[rng.random(heat.shape) < 0.9] = 0
        path = out / names.heat(number)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(script(f"heat {number}", [packed(values) for values in heat]))
    order = rng.permutation(n)
    integers = {
        "latent": np.arange(n),
        "image_count": rng.integers(16, 4096, n),
        "fire_count": rng.integers(16, 9999, n),
        "label_support.kind": rng.integers(16, 4096, n),
        "top_label_count.kind": rng.integers(1, 17, n),
        "named.kind": rng.integers(0, 2, n),
        "order.kind": order,
        "place": order,
        "n_valid": np.full(n, K),
        "positional": np.zeros(n, np.int64),
        "dense": np.zeros(n, np.int64),
    }
    floats = {
        "fire_rate": rng.random(n) / 50,
        "mean_activation": rng.random(n),
        "max_activation": rng.random(n),
        "mean_top_activation": rng.random(n),
        "label_purity_top.kind": rng.random(n),
        "label_purity.kind": rng.random(n),
        "label_entropy_top.kind": rng.random(n),
        "label_entropy.kind": rng.random(n),
        "label_lift.kind": 9 * rng.random(n),
        "label_lift_low.kind": 9 * rng.random(n),
        "label_chance.kind": rng.random(n),
        "top_label_base.kind": np.full(n, 0.02),
        "top_label_share.kind": rng.random(n),
        "position_entropy": rng.random(n),
        "border_share": rng.random(n),
    }
    codes = exact(np.arange(n) % 50)
    label: TextColumn = {"texts": [f"kind {i}" for i in range(50)], "codes": codes}
    figures: Columns = {
        "numbers": {name: exact(values) for name, values in (integers | floats).items()},
        "texts": {"top_label.kind": label, "common_label.kind": label},
    }
    (out / names.FIGURES).write_bytes(script("latents", figures))
    (out / names.GIVEN).write_bytes(script("given", []))
    x, y = (
        base64.b64encode(places.tobytes()).decode()
        for places in rng.random((2, n), dtype=np.float32)
    )
    projection: Projection = {"analysis": "", "x": x, "y": y}
    (out / names.PROJECTION).write_bytes(script("projection", projection))
    tops = {"top_rows": all_rows[order, :K], "top_patches": all_patches[order, :K]}
    write_strongest(out, tops)
    found: ImageNames = {
        "rows": list(range(N_IMAGES)),
        "keys": [f"kind/{row}.jpg" for row in range(N_IMAGES)],
        "latents": rng.integers(0, n, (N_IMAGES, K * n // N_IMAGES)).tolist(),
    }
    (out / names.NAMES).write_bytes(script("names", found))
    everything: WholeFigures = {
        "n_images": N_IMAGES,
        "n_vectors": N_IMAGES * 196,
        "n_dead": 0,
        "n_dense": 0,
        "n_positional": 0,
        "label_purity_top": {},
    }
    about: About = {
        "run": {
            "images": "images-00000000",
            "vit": "vit-00000000",
            "sae": "sae-00000000",
            "analysis": "analysis-00000000",
            "trained_on": "images-00000000",
        },
        "rows": ROWS,
        "cells": list(GRID),
        "chips": list(columns.chips(True)),
        "model": "generated",
        "stream": "layer-11.patches",
        "architecture": "topk",
        "telling": {"k": 32},
        "doubts": [],
        "n_latents": n,
        "d": 768,
        "block": names.BLOCK,
        "data_latents": names.DATA_LATENTS,
        "folder": names.FOLDER,
        "heat_latents": names.heat_latents(SLOTS * GRID[0] * GRID[1]),
        "contrast_labels": names.contrast_labels(n),
        "top_images": K,
        "large": False,
        "grid": list(GRID),
        "bin_edges": [2.0**e for e in range(-16, 49)],
        "labels": ["kind"],
        "columns": list(columns.COLUMNS),
        "orders": list(columns.ORDERS),
        "card": list(columns.CARD),
        "tiles": list(columns.TILES),
        "label_table": list(columns.LABEL_TABLE),
        "filters": list(columns.filters(True, N_IMAGES)),
        "credit": None,
        "summary": {"n_latents": n, "n_skipped": 0, "splits": {}, "all": everything},
    }
    (out / names.PAGE).write_bytes(page("run", about))


def opened(address: str) -> float:
    """How many seconds a new browser takes to paint the first cards of the page at ``address``."""
    with Browser(1440, 900) as browser:
        return browser.open(address)


def drawn(address: str) -> float:
    """How many seconds the page at ``address`` takes to draw its map."""
    draw = "(at('map').getContext('2d').getImageData(0, 0, 1, 1), performance.now() - start)"
    with Browser(1440, 900) as browser:
        browser.open(address)
        browser.run("window.start = performance.now(); go({ view: 'map' })")
        return browser.run(draw) / 1000


def until_painted(browser: Browser, action: str) -> float:
    """How many milliseconds pass from an action until the images that it shows are painted."""
    browser.run("delete document.documentElement.dataset.painted; window.start = performance.now()")
    browser.run(f"{action}; painted(); 0")
    end = browser.wait("Number(document.documentElement.dataset.painted ?? 0)")
    return end - browser.run("window.start")


def memory(browser: Browser) -> float:
    """The memory of all processes of a browser in MB: shared pages count in parts."""
    total = 0
    for process in Path("/proc").glob("[0-9]*"):
        try:
            group = int((process / "stat").read_text().rpartition(")")[2].split()[2])
            lines = (process / "smaps_rollup").read_text().splitlines()
        except OSError:  # it has ended
            continue
        if group == browser.process.pid:
            total += sum(int(line.split()[1]) for line in lines if line.startswith("Pss:"))
    return total * 1024 / 1e6


def use(address: str, n: int) -> None:
    """Print how fast the page answers its reader."""
    with Browser(1440, 900) as browser:
        blank = memory(browser)
        browser.open(address)
        browser.send("Network.disable")  # its messages take time too
        pages, at_once = [], []
        for i in range(1, 8):
            time.sleep(READS_SECONDS)
            pages.append(until_painted(browser, f"go({{ page: {2 * i - 1} }})"))
            at_once.append(until_painted(browser, f"go({{ page: {2 * i} }})"))
        sorts = (
            "mean_activation",
            "label_purity.kind",
            "fire_rate",
            "max_activation",
            "border_share",
        )
        orders = []
        for name in sorts:
            time.sleep(READS_SECONDS)
            orders.append(until_painted(browser, f"restart({{ sort: '{name}' }})"))
        latents = [until_painted(browser, f"openLatent({7919 * i % n})") for i in range(200)]
        browser.send("HeapProfiler.collectGarbage")
        more = memory(browser) - blank
    found = {"a page": pages, "one more at once": at_once, "an order": orders, "a latent": latents}
    for what, times in found.items():
        middle, worst = statistics.median(times), max(times)
        print(f"{what} takes {middle:.0f} ms (worst of {len(times)}: {worst:.0f} ms)")
    print(f"takes {more:.0f} MB after 200 latents, beside {blank:.0f} of a blank browser")
    with Browser(1440, 900) as browser:
        browser.open(f"{address}#view=wall")
        browser.run(SCROLL)
        frames = sorted(json.loads(browser.wait("window.frames_seen")))
    print(f"frames of the wall: 95 % within {frames[int(0.95 * len(frames))]:.1f} ms")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--latents", type=int, default=10_000)
    parser.add_argument("--runs", type=int, default=5)
    args = parser.parse_args()
    if CHROMIUM is None:
        raise SystemExit("this benchmark needs chromium")
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder)
        generate(out, args.latents)
        size = sum(p.stat().st_size for p in out.rglob("*") if p.is_file())
        times = [opened((out / names.PAGE).as_uri()) for _ in range(args.runs)]
        map_times = [drawn((out / names.PAGE).as_uri()) for _ in range(args.runs)]
        use((out / names.PAGE).as_uri(), args.latents)
    print(f"latents {args.latents:,}, dashboard {size / 1e6:.0f} MB")
    print(f"opens in {statistics.median(times):.2f} s (worst of {args.runs}: {max(times):.2f} s)")
    print(f"draws its map in {statistics.median(map_times):.2f} s (worst: {max(map_times):.2f} s)")
    print(f"limit {LIMIT_SECONDS:.2f} s, ratio {statistics.median(times) / LIMIT_SECONDS:.2f}")


if __name__ == "__main__":
    main()
