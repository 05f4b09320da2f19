"""The projection of decoder directions: its places, the setting that asks for it, and the map."""

import base64
import json
import subprocess
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from analysed import Case, some_labels, vectors
from browser import CHROMIUM, Browser
from project import Project, config
from safetensors.numpy import load_file
from test_map import drag, mouse, point
from test_views import on_wall, open_map, value

from saev.analyze.artifact import LATENTS, Analysis
from saev.core.errors import UserError
from saev.dashboard import artifact as names
from saev.dashboard import projection
from saev.dashboard.build import _neighbours
from saev.dashboard.data import keep_beside
from saev.dashboard.scripts import script
from saev.dashboard.tsne import places, project
from saev.settings.config import parse
from saev.train.artifact import CHECKPOINT
from saev.workflow.known_projections import projected


def directions(kinds=3, each=40, d=16):
    """Directions around a few: (kinds * each, d), one kind after the other."""
    rng = np.random.default_rng(0)
    middles = np.repeat(rng.standard_normal((kinds, d)), each, axis=0)
    return torch.from_numpy(middles + 0.3 * rng.standard_normal(middles.shape)).float()


def test_latents_with_similar_directions_lie_together_whatever_their_lengths():
    rows = directions()
    found = project(rows)
    assert np.abs(found).max() == 1
    far = np.linalg.norm(found[:, None] - found[None], axis=2)
    np.fill_diagonal(far, np.inf)
    kinds = np.arange(len(rows)) // 40
    assert (kinds[far.argsort(1)[:, :10]] == kinds[:, None]).mean() > 0.97
    lengths = 2.0 ** torch.randint(-3, 4, (len(rows), 1))
    assert project(rows * lengths).tobytes() == found.tobytes()


def test_equal_directions_give_equal_bytes_with_any_number_of_threads():
    rows, before = directions(), torch.get_num_threads()
    try:
        made = []
        for threads in (1, 2, 2):
            torch.set_num_threads(threads)
            made.append(project(rows).tobytes())
    finally:
        torch.set_num_threads(before)
    assert made[0] == made[1] == made[2]


@pytest.mark.parametrize("n", [0, 1, 2, 4, 5, 6])
def test_a_few_directions_have_places_too(n):
    found = project(directions()[::20][:n])
    assert found.shape == (n, 2)
    assert np.isfinite(found).all()
    assert len(np.unique(found, axis=0)) == n


def test_dead_latents_have_no_place_and_another_dictionary_is_refused(tmp_path):
    case = Case(tmp_path, vectors(70), some_labels(70))
    case.analyse()
    analysis = Analysis(case.out)
    live = analysis.latents()["image_count"] > 0
    made = places(analysis, case.sae)
    assert 0 < live.sum() < len(live)
    for axis in ("x", "y"):
        read = np.frombuffer(base64.b64decode(made[axis]), "<f4")
        assert (np.isfinite(read) == live).all()
    # A page that is made anew keeps the projection of its analysis, and no other.
    (tmp_path / names.PROJECTION).write_bytes(script("projection", made))
    keep_beside(tmp_path, analysis)
    assert json.loads(read_script(tmp_path / names.PROJECTION)) == made
    (tmp_path / names.PROJECTION).write_bytes(script("projection", {**made, "analysis": "old"}))
    keep_beside(tmp_path, analysis)
    assert read_script(tmp_path / names.PROJECTION) == "null"
    meta = case.sae / "meta.json"
    meta.write_text(meta.read_text().replace('"epochs": 1.0', '"epochs": 2.0'))
    with pytest.raises(UserError, match="wasn't made from the dictionary"):
        places(analysis, case.sae)


def read_script(path):
    return path.read_text().partition("=")[2].removesuffix(";\n")


def test_the_nearest_directions_are_those_by_cosine_whatever_their_lengths():
    rows = directions(each=4)
    long = rows * torch.linspace(0.1, 9, len(rows))[:, None]
    counts = np.array([0, *[3] * (len(rows) - 1)])
    unit = torch.nn.functional.normalize(rows)
    cosine = unit @ unit.T
    cosine.fill_diagonal_(-2)
    cosine[:, 0] = -2
    near, cosines = _neighbours(SimpleNamespace(W_dec=long), counts)
    assert near == cosine.topk(6).indices.tolist()
    assert np.array(cosines) == pytest.approx(cosine.topk(6).values.numpy(), abs=6e-4)


def test_a_projection_is_asked_for_by_a_setting_that_no_digest_includes(monkeypatch):
    plain, asked = config(), config()
    asked["analysis"]["named"]["projection"] = True
    settings = [parse(given).analysis["named"] for given in (plain, asked)]
    assert settings[0].essential() == settings[1].essential()
    components = {"analysis": {"named-00000000": {"entry": "named"}}}
    assert projected(parse(plain), components) == {}
    given = projected(parse(asked), components)["named-00000000"]
    assert given["library"].startswith("openTSNE ")
    # Without the package, it is refused before anything runs. Others don't need it.
    monkeypatch.setattr(projection, "find_spec", lambda name: None)
    assert projected(parse(plain), components) == {}
    with pytest.raises(
        UserError, match=r"^analysis\.named\.projection needs openTSNE, which isn't"
    ):
        projected(parse(asked), components)


@pytest.mark.slow
@pytest.mark.skipif(not CHROMIUM, reason="no Chromium")
def test_the_map_places_latents_by_their_directions_when_the_settings_ask(built, tmp_path):
    folder = tmp_path / "project"
    subprocess.run(["cp", "-a", built.folder, folder], check=True)
    project = Project(folder)
    page = next(folder.glob("results/*/*/patches-*/named-*/dashboard/index.html"))
    with Browser() as browser:
        open_map(browser, f"{page.as_uri()}#view=map&min=0&places=directions")
        assert browser.run("state.places") == "figures"
        assert "Directions" not in browser.run("at('tools').textContent")
    before = page.stat().st_ino
    given = project.settings()
    given["analysis"]["named"]["projection"] = True
    project.configure(given)
    planned = project.planned()
    assert planned == {"project_directions": 2, "gallery": 1}
    project.snakemake()
    assert page.stat().st_ino == before
    assert project.planned() == {}
    stamp = page.with_name(".project_directions.done").relative_to(folder)
    before = page.with_name(names.PROJECTION).stat().st_ino
    project.snakemake(str(stamp), "--forcerun", "project_directions")
    assert page.with_name(names.PROJECTION).stat().st_ino != before
    tensors = load_file(page.parents[1] / LATENTS)
    live = np.flatnonzero(tensors["image_count"] > 0)
    rows = load_file(page.parents[2] / CHECKPOINT)["W_dec"]
    cosine = rows @ rows[live].T
    with Browser() as browser:
        browser.send("Log.enable")
        open_map(browser, f"{page.as_uri()}#view=map&min=0")
        browser.run("at('tools').querySelector('button:nth-child(2)').click()")
        assert browser.run("state.places") == "directions"
        assert sorted(value(browser, "plotted.latents")) == live.tolist()
        browser.run("about.summary.all.n_dead = 7; showMap()")
        assert browser.run("at('map-missed').textContent") == "7 dead latents are left out."
        # One unit is as long across as up.
        units = "[plotted.x, plotted.y].map((s) => Math.abs(s.place(1) - s.place(0)))"
        across, up = value(browser, units)
        assert across == pytest.approx(up)
        # Lines lead to the nearest directions, not to the nearest points.
        latent = browser.run(
            "plotted.latents.find((l, i) => nearest(plotted.xs[i], plotted.ys[i], 1) === l)"
        )
        mouse(browser, "Moved", *point(browser, latent))
        browser.wait("document.querySelectorAll('#near-lines line').length === 6")
        ends = value(
            browser,
            "[...document.querySelectorAll('#near-lines line')].map((l) => "
            "[Number(l.getAttribute('x2')), Number(l.getAttribute('y2'))])",
        )
        order = live[np.argsort(-cosine[latent], kind="stable")]
        nearest = [j for j in order.tolist() if j != latent][:6]
        assert ends == [pytest.approx(point(browser, j), abs=1e-3) for j in nearest]
        assert f"by cosine: {nearest[0]} (" in browser.run("at('map-said').textContent")
        # A selection among directions is in the address, and leads to the wall.
        x, y = point(browser, latent)
        drag(browser, (x - 60, y - 60), (x + 60, y + 60))
        inside = sorted(value(browser, "shown"))
        assert latent in inside
        assert "directions" in browser.run("at('brushed').textContent")
        browser.wait("location.hash.includes('places=directions') && /brush/.test(location.hash)")
        browser.send("Page.reload")
        browser.wait("document.readyState === 'complete' && typeof plotted === 'object'")
        assert sorted(value(browser, "shown")) == inside
        browser.run("at('to-wall').click()")
        assert sorted(on_wall(browser)) == inside
        assert browser.requests() == {"file"}
        wrong = [e for e in browser.events if e.get("method") == "Log.entryAdded"]
        assert wrong == []
