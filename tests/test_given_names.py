"""Names that people gave to latents: from a CSV file into the page, and from the page into one."""

import json
import subprocess
from pathlib import Path

import pytest
from browser import CHROMIUM, Browser
from project import Project

from saev.analyze.names_file import digest_of, distinct, read_names, require_latents
from saev.core.errors import UserError
from saev.core.files import sha256_file, write_json
from saev.dashboard.given_names import write_given
from saev.settings.pages import BesideSettings

HEADING = "dictionary,latent,name,note,author\n"


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("", "it is empty"),
        ("latent,name\n1,eye\n", "lacks dictionary; needed: dictionary, latent, name"),
        (HEADING.replace("note", "colour"), "has colour"),
        (HEADING + "a/b/c,1.5,eye,,\n", "line 2: latent '1.5' is no whole number"),
        (HEADING + "a/b/c,1,eye,,\na/b/c,-1,eye,,\n", "line 3: latent '-1' is no whole number"),
        (HEADING + "a/b/c,1,eye,,\n\na/b/c,1,ey,e,,x\n", "line 4: it has more fields"),
        (HEADING + 'a/b/c,1,"eye,,\n', "unexpected end of data"),
        (
            HEADING + "a/b/c,1,eye,,ann\na/b/c,1,ear,,bob\na/b/c,1,nose,,ann\n",
            "line 4: latent 1 has the name 'eye' in line 2, by the same author",
        ),
        (HEADING.encode() + b"a/b/c,1,\xe9t\xe9,,\n", "isn't a CSV table in UTF-8"),
    ],
)
def test_a_file_that_cannot_be_read_is_refused_by_line_and_column(tmp_path, content, said):
    path = tmp_path / "names.csv"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(UserError) as caught:
        read_names("analysis.a.names", path)
    assert said in str(caught.value)
    assert str(caught.value).startswith(f"analysis.a.names: {path}")


def test_a_file_from_a_spreadsheet_is_read(tmp_path):
    path = tmp_path / "names.csv"
    text = 'Dictionary;Latent;Name;Author\nresults/a/b/c;3;"dog; nose";Ada\n;;;\na/b/c;4;;\n'
    path.write_bytes(b"\xef\xbb\xbf" + text.replace("\n", "\r\n").encode())
    (one,) = read_names("names", path)
    assert one[1:] == ("a/b/c", 3, "dog; nose", "", "Ada")


def test_latents_that_do_not_exist_are_refused_and_other_dictionaries_counted(tmp_path):
    path = tmp_path / "names.csv"
    path.write_text(HEADING + "a/b/c,7,eye,,\na/b/d,900,ear,,\n")
    found = read_names("names", path)
    assert require_latents("names", found, {"a/b/c": 8, "a/b/d": 901}) == ""
    said = require_latents("names", found, {"a/b/c": 8})
    assert said.startswith("names: 1 of 2 names are for dictionaries that no run has")
    assert "such as a/b/d; they have a/b/c" in said
    with pytest.raises(UserError, match="line 2: a/b/c has 7 latents, from 0, so no 7"):
        require_latents("names", found, {"a/b/c": 7})


@pytest.fixture(scope="module")
def project(built, tmp_path_factory):
    folder = tmp_path_factory.mktemp("named") / "project"
    subprocess.run(["cp", "-a", built.folder, folder], check=True)
    return Project(folder)


@pytest.mark.slow
@pytest.mark.skipif(not CHROMIUM, reason="no Chromium")
def test_names_in_the_settings_are_on_the_page_and_cost_only_a_file(project):
    page = next((project.folder / "results").glob("*/*/cls-*/named-*/dashboard/index.html"))
    before = page.stat()
    sae = page.parents[2].relative_to(project.folder / "results").as_posix()
    table = project.folder / "names.csv"
    table.write_text(HEADING + f"{sae},3,<b>round</b> thing,seen in cats,Ada\nold/b/c,1,gone,,\n")
    given = project.settings()
    given["analysis"]["named"]["names"] = "names.csv"
    project.configure(given)
    planned = project.planned()
    assert set(planned) == {"finish_page", "gallery"}
    said = project.snakemake()
    assert "1 of 2 names are for dictionaries that no run has" in said.stdout + said.stderr
    assert page.stat().st_ino == before.st_ino
    with Browser() as browser:
        browser.open(f"{page.as_uri()}#min=0&chip=noted")
        browser.wait("document.querySelectorAll('.card').length === 1")
        card = browser.run("document.querySelector('.card').textContent")
        assert "<b>round</b> thing (Ada)" in card
        browser.run("openLatent(3)")
        browser.wait("document.querySelector('.note .given') !== null")
        told = browser.run("document.querySelector('.note').innerText")
        assert "seen in cats" in told
        assert "Ada" in told
        browser.run("go({ latent: null, chip: '', find: 'ROUND' })")
        browser.wait("document.querySelectorAll('.card').length === 1")
        # A name is found even if its latent fires on fewer images than the filter asks for.
        browser.run("go({ bounds: { ...state.bounds, min: 100_000 } })")
        assert browser.run("shown.join()") == "3"
        browser.run("go({ find: 'cat' })")
        assert browser.run("shown.length") == 0
        assert browser.requests() == {"file"}
    del given["analysis"]["named"]["names"]
    project.configure(given)
    project.snakemake()
    assert (page.parent / "given.js").read_text() == 'saevData["given"]=[];\n'
    assert project.planned() == {}


@pytest.mark.slow
@pytest.mark.skipif(not CHROMIUM, reason="no Chromium")
def test_the_score_of_a_name_is_shown_with_chance_and_only_for_the_names_scored(project, tmp_path):
    page = next((project.folder / "results").glob("*/*/cls-*/named-*/dashboard/index.html"))
    sae = page.parents[2].relative_to(project.folder / "results").as_posix()
    path = tmp_path / "names.csv"
    path.write_text(HEADING + f"{sae},3,round,,Ada\n{sae},4,flat,,\n{sae},5,,a note,\n")
    given = BesideSettings(names=str(path), sha256=sha256_file(path), score_names=True)
    scores = [
        {"latent": 3, "name": "round", "n": 16, "hits": 12, "interval": [0.505, 0.898]},
        {"latent": 4, "name": "flat", "n": 1, "hits": None, "interval": None},
    ]
    sha256 = digest_of(distinct(read_names("names", path), sae))
    write_json(page.parent / "names.json", {"sha256": sha256, "fewest": 5, "scores": scores})
    write_given(page.parent, sae, given)
    with Browser() as browser:
        browser.open(f"{page.as_uri()}#min=0&chip=noted")
        browser.wait("document.querySelectorAll('.card').length === 3")
        texts = browser.run("[...document.querySelectorAll('.given')].map((g) => g.textContent)")
        assert sorted(texts) == ["✎a note", "✎flat", "✎round (Ada)"]
        texts = browser.run("[...document.querySelectorAll('.scored')].map((g) => g.textContent)")
        assert texts == ["fits 12 of 16 held outchance 20 %"]
        browser.run("openLatent(3)")
        browser.wait("document.querySelector('.note .scored') !== null")
        told = browser.run("document.querySelector('.note .scored').textContent")
        assert "to 12 of 16 held-out images" in told
        assert "75 % (51 to 90). Chance is 20 %" in told
        browser.run("openLatent(4)")
        browser.wait("document.querySelector('.note .scored')?.textContent.startsWith('No score')")
    # Scores of other names than these aren't shown, nor those that the settings don't ask for.
    write_given(page.parent, sae, given.model_copy(update={"score_names": False}))
    assert "hits" not in (page.parent / "given.js").read_text()
    path.write_text(path.read_text() + f"{sae},6,new,,\n")
    write_given(page.parent, sae, given.model_copy(update={"sha256": sha256_file(path)}))
    assert "hits" not in (page.parent / "given.js").read_text()


@pytest.mark.slow
@pytest.mark.skipif(not CHROMIUM, reason="no Chromium")
def test_notes_saved_as_csv_come_back_and_fit_the_settings(project, tmp_path):
    page = next((project.folder / "results").glob("*/*/cls-*/named-*/dashboard/index.html"))
    with Browser() as browser:
        browser.open(f"{page.as_uri()}#min=0")
        browser.run("annotate(5, { name: 'a \"tail\", long', text: 'two\\nlines', star: true })")
        browser.run("annotate(2, { star: true })")
        saved = browser.run("notesAsCsv()")
        whole = browser.run("notesAsJson()")
        browser.run("annotate(5, { name: '', text: '', star: false })")
        browser.run("annotate(2, { star: false })")
        browser.run(f"importNotes({json.dumps(saved)}, 'notes.csv')")
        assert browser.run("notesAsJson()") == whole
        semicolons = saved.replace(",", ";").replace('tail""; long', 'tail"", long')
        browser.run("notes.clear()")
        browser.run(f"importNotes({json.dumps(semicolons)}, 'notes.csv')")
        assert browser.run("notesAsJson()") == whole
        for wrong in ("latent,name\n1,eye\n", HEADING + "x/y/z,1,eye,,\n", HEADING + "\n"):
            browser.run(f"importNotes({json.dumps(wrong)}, 'wrong.csv')")
            said = browser.run("document.getElementById('notes-said').textContent")
            assert said.startswith("wrong.csv wasn't read"), wrong
        assert browser.run("notesAsJson()") == whole
    path = tmp_path / "notes.csv"
    path.write_text(saved, encoding="utf-8", newline="")
    (one,) = read_names("names", path)
    assert (one.latent, one.name, one.note) == (5, 'a "tail", long', "two\nlines")
    assert one.dictionary == Path(*page.parts[-6:-3]).as_posix()
