"""`snakemake --report` shows the runs, in files that need no other."""

import json
from zipfile import ZipFile

import pytest
from browser import CHROMIUM, Browser

from saev.dashboard import show_sweeps

pytestmark = pytest.mark.slow
needs_chromium = pytest.mark.skipif(not CHROMIUM, reason="no Chromium")


@pytest.fixture(scope="module")
def files(built, tmp_path_factory):
    """The files of the report by name, a list for each."""
    path = tmp_path_factory.mktemp("report") / "report.zip"
    built.snakemake("--report", str(path))
    found = {}
    with ZipFile(path) as archive:
        for name in archive.namelist():
            found.setdefault(name.rpartition("/")[2], []).append(archive.read(name))
    return found


def test_each_run_has_a_page_and_its_curves(built, files):
    runs = list((built.folder / "results").glob("*/*/*/*/dashboard/summary.json"))
    assert len(files["run.html"]) == len(runs) > 1
    curves = {path.read_bytes() for path in (built.folder / "results").glob("*/*/*/curves.png")}
    assert set(files["curves.png"]) == curves


@needs_chromium
def test_a_page_shows_its_images_wherever_it_lies(files, tmp_path):
    (tmp_path / "alone.html").write_bytes(files["run.html"][0])
    with Browser() as page:
        page.send("Page.navigate", url=(tmp_path / "alone.html").as_uri())
        page.wait("document.querySelectorAll('.strip img').length > 8")
        assert page.run("[...document.images].every((i) => i.src.startsWith('data:'))")
        page.wait("[...document.images].every((i) => i.complete && i.naturalWidth > 0)")
        assert page.run("document.querySelectorAll('a[href]').length") == 0


@needs_chromium
def test_sweeps_are_drawn_without_links(built, tmp_path):
    runs = sorted((built.folder / "results").glob("*/*/*/named-*"))
    points = [run.parent.name for run in runs]
    spec = json.dumps({"settings": {"sweeps": {"both": points}}})
    named = map(str, runs)
    show_sweeps.main(["--spec", spec, "--runs", *named, "--out", str(tmp_path)])
    with Browser() as page:
        page.send("Page.navigate", url=(tmp_path / "report" / "sweeps.html").as_uri())
        page.wait(f"document.querySelectorAll('svg circle').length >= {len(points)}")
        assert page.run("document.querySelectorAll('a').length") == 0
