"""Many runs: what they share is done once, and the work for each stays small."""

import json
from collections import Counter
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from browser import CHROMIUM, Browser
from project import ROOT, config
from safetensors.numpy import save_file

from saev.analyze.artifact import PART
from saev.core.errors import UserError
from saev.dashboard import gallery
from saev.dashboard.page import page
from saev.settings import from_plan
from saev.workflow import components, jobs, known_labels
from saev.workflow.plan import resolve
from saev.workflow.stage import Stage


def runs_of(monkeypatch, tmp_path, n: int) -> dict:
    """Settings of ``n`` points of a sweep on a few images."""
    monkeypatch.chdir(tmp_path)
    for i in range(3):
        (tmp_path / "pictures").mkdir(exist_ok=True)
        (tmp_path / f"pictures/{i}.png").write_bytes(b"not looked at")
    (tmp_path / "sites.csv").write_text("path,site\n0.png,north\n")
    settings = config()
    settings["vit"]["tiny"] |= {"model": "ViT-B-32", "layers": [0, 1], "weights": "random"}
    settings["sae"]["cls"] |= {
        "batch_size": 1,
        "held_out": 0.5,
        "sweep": {"lr": [i / 1000 for i in range(1, n + 1)]},
    }
    del settings["sae"]["cls"]["lr"], settings["sae"]["patches"]
    settings["analysis"]["named"]["labels"] = {"site": {"table": "sites.csv"}}
    settings["runs"] = settings["runs"][:1]
    return settings


@pytest.fixture
def counted(monkeypatch):
    """Counts calls of what takes long."""
    calls = Counter()

    def count(owner, name):
        real = getattr(owner, name)

        def counting(*args, **kwargs):
            calls[name] += 1
            return real(*args, **kwargs)

        monkeypatch.setattr(owner, name, counting)

    count(components, "open_source")
    count(known_labels, "require_columns")
    count(Stage, "place")
    return calls


def test_runs_that_share_images_and_labels_look_at_them_once(tmp_path, monkeypatch, counted):
    plan = resolve(runs_of(monkeypatch, tmp_path, 30))
    assert len(plan.runs) == 30
    assert counted["open_source"] == 1
    assert counted["require_columns"] == 1


def test_the_work_for_each_run_does_not_grow_with_their_number(tmp_path, monkeypatch, counted):
    places = []
    for n in (10, 40):
        plan = resolve(runs_of(monkeypatch, tmp_path, n))
        counted.clear()
        planned = jobs.jobs(plan)
        for stage in ("images", "activations", "train", "labels", "analyze", "dashboard"):
            jobs.through(plan, stage)
        places.append(counted["place"] / n)
        # Per run: a training, a part, a merge, and a page that is finished; six that all share.
        assert len(planned) == 5 * n + 6
    assert places[1] <= places[0]
    assert places[1] < 15


def test_a_job_follows_those_that_it_needs(tmp_path, monkeypatch):
    planned = jobs.jobs(resolve(runs_of(monkeypatch, tmp_path, 3)))
    made = set()
    for job in planned:
        assert made.issuperset(job.inputs)
        made.add(job.stamp)
    assert len(made) == len(planned)


N_RUNS = 60


def many_runs() -> dict:
    """What a gallery of many runs is given."""
    split = {"nmse": 0.3, "pca_nmse": 0.5, "nmse_raw": 0.2, "l0": 16.0}
    split |= {"n_images": 1000, "n_vectors": 196000}
    everything = {"n_dead": 1, "n_dense": 0, "n_positional": 0, "n_images": 1000}
    everything |= {"label_purity_top": {}}
    example = {"latent": 1, "label": "cat", "count": 16, "n_top": 16, "base": 0.1}
    strip = [example | {"pictures": ["0.jpg"]}] * 8
    run = {
        "current": True,
        "run": {"images": "pets", "vit": "tiny", "sae": "cls", "analysis": "named"},
        "link": "index.html",
        "pictures": "",
        "summary": {
            "n_latents": 2048,
            "n_skipped": 0,
            "splits": {"train": split},
            "all": everything,
        },
        "credit": None,
        "architecture": "topk",
        "telling": {"k": 16},
        "doubts": [],
        "settings": {"tokens": "cls", "layer": 11},
        "final": None,
        "curve": {"train": [[step, 0.5] for step in range(200)], "held_out": []},
        "strips": {"first": strip, "drawn": strip, "n_live": 2000, "seed": 0},
    }
    return {"runs": [run] * N_RUNS, "frontiers": []}


@pytest.mark.skipif(CHROMIUM is None, reason="needs chromium")
def test_a_gallery_of_many_runs_makes_the_details_of_a_run_when_it_comes_near(tmp_path):
    page_file = tmp_path / "index.html"
    page_file.write_bytes(page("gallery", many_runs()))
    with Browser() as browser:
        browser.send("Page.navigate", url=page_file.as_uri())
        browser.wait(f"document.querySelectorAll('article.run').length === {N_RUNS}")
        filled = "document.querySelectorAll('article .strip').length"
        assert 16 <= browser.run(filled) <= 32
        last = "[...document.querySelectorAll('article.run')].at(-1)"
        assert "2,048 latents" in browser.run(f"{last}.textContent")
        browser.run(f"{last}.scrollIntoView()")
        browser.wait(f"{last}.querySelectorAll('.strip a').length === 16")
        browser.wait(f"{last}.querySelectorAll('table, svg').length === 2")
        assert browser.run(filled) <= 48


def test_the_gallery_reads_of_a_run_only_what_it_shows(tmp_path):
    seen, n = [], 500
    rng = np.random.default_rng(0)
    save_file(
        {
            "top_rows": rng.integers(-1, 99, (n, 9)),
            "histogram": np.zeros((n, 64), np.int64),
        },
        tmp_path / "latents.safetensors",
    )
    order = rng.permutation(n)
    aside = np.arange(n) % 3 == 0
    named = np.arange(n) % 7 > 0
    unlabelled = {
        "image_count": np.where(np.arange(n) % 5, rng.integers(1, 99, n), 0),
        "positional": aside,
        "dense": np.zeros(n, bool),
        "n_valid": np.full(n, 9),
    }
    labelled = {
        "order.kind": order,
        "named.kind": named,
        "top_label.kind": [f"{i % 5}" for i in range(n)],
        "top_label_count.kind": np.full(n, 7),
        "top_label_base.kind": np.full(n, 0.2),
    }
    table = pa.table(unlabelled | labelled | {"fire_rate": rng.random(n)})
    path = tmp_path / "latents.parquet"
    pq.write_table(table, path)
    analysis = SimpleNamespace(
        path=tmp_path,
        label_names=["kind"],
        table=lambda columns: seen.append(columns) or pq.read_table(path, columns=columns),
    )
    found = gallery.strips(analysis)
    assert seen == [[*unlabelled, *labelled]]
    live = unlabelled["image_count"] > 0
    first = [j for j in np.argsort(order).tolist() if live[j]][:8]
    assert [e["latent"] for e in found["first"]] == first
    assert all((e["label"] is not None) == named[e["latent"]] for e in found["first"])
    assert (found["n_live"], found["seed"]) == (live.sum(), 0)
    drawn = [e["latent"] for e in found["drawn"]]
    assert len(set(drawn)) == 8
    assert live[drawn].all()
    analysis.label_names = []
    first = gallery.strips(analysis)["first"]
    assert seen[1] == [*unlabelled]
    counts = [unlabelled["image_count"][e["latent"]] for e in first]
    assert counts == sorted(unlabelled["image_count"][~aside])[::-1][:8]


def test_the_cost_model_says_what_its_formulas_give():
    text = (ROOT / "docs/scale.md").read_text()
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in text.splitlines()]
    table = {row[0]: row[1:3] for row in rows if len(row) == 4}
    day = 24 * 60 * 60
    for at, n_images, patches, d, n, batch, tokens, epochs, kept, rate, g in (
        (0, 1_281_167, 1, 1024, 65_536, 1024, 1, 100, 0.99, 5_688, 4.6),
        (1, 10_000_000, 196, 768, 32_768, 8192, 197, 1, 0.995, 9_759, 1.0),
    ):
        vectors, s = n_images * patches, 768 * 6144 / (d * n)
        training = epochs * kept * vectors
        said = {name: cells[at] for name, cells in table.items()}
        size = 2 * n_images * d * tokens / 1e9
        gigabytes = f"{size:,.0f} GB" if size > 100 else f"{size:.2f} GB"
        assert said["activations"] == gigabytes
        assert said["checkpoint"] == f"{8 * n * d / 1e6:.0f} MB"
        counts = f"{-(-n_images // 4096):,}, {-(-n_images // PART)}"
        assert said["shards of 4,096 images, parts"] == counts
        assert said["memory to train"] == f"{1.28 * (32 * n * d + 4 * batch * n) / 1e9:.1f} GB"
        assert said["recording, 2 cores"] == f"{n_images * g / 4.17 / day:.1f} days"
        assert said["vectors to train on"].partition(" million")[0] in (
            f"{training / 1e6:,.1f}",
            f"{training / 1e6:,.0f}",
        )
        assert said["training, 2 cores"] == f"{training / (rate * s) / day:.1f} days"
        seconds = vectors / (15_788 * s)
        spent = f"{seconds / day:.1f} days" if seconds > day else f"{seconds / 60:.0f} min"
        assert said["analysis, 2 cores"] == spent


def test_the_job_of_the_gallery_takes_any_number_of_runs_from_the_plan(tmp_path, monkeypatch):
    run = {"vit": "tiny", "sae": "cls", "analysis": "named", "on": "pets"}
    runs = [{"images": f"pets-{i:08}", **run} for i in range(3000)]
    (tmp_path / "plan.json").write_text(json.dumps({"runs": [*runs, runs[0]]}))
    monkeypatch.setenv("SAEV_PLAN", str(tmp_path / "plan.json"))
    found = from_plan.analyses(Path("results"))
    assert len(found) == 3000
    assert found[1] == Path("results/pets-00000001/tiny/cls/named")
    assert "params.runs" not in (ROOT / "rules/gallery.smk").read_text()
    monkeypatch.delenv("SAEV_PLAN")
    with pytest.raises(UserError, match="give --runs"):
        from_plan.analyses(Path("results"))
