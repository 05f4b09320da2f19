"""What rules with a program of their own put beside pages: estimated, checked and compared."""

import json
import subprocess
from pathlib import Path

import pytest
from test_housekeeping import tiny

from saev.core.files import write_json
from saev.core.made import read_made
from saev.dashboard.image_rows import layout
from saev.parity.lab import Made
from saev.parity.measures.of_dashboard import compare_dashboard
from saev.parity.verdict import Level
from saev.settings.parity import ParitySettings
from saev.tools import estimate, rerun, sizes
from saev.tools.check import check
from saev.workflow import jobs
from saev.workflow.digests import closure, module_digest
from saev.workflow.plan import resolve
from saev.workflow.stages import RULES

OWN = [rule.name for _, rule in RULES.values() if rule.module]


def test_such_rules_have_jobs_only_where_the_settings_ask(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    raw = tiny(tmp_path)
    counted = estimate.counts(jobs.jobs(resolve(raw)))
    assert {rule: n for rule, n in counted.items() if rule in OWN} == {"finish_page": 2}
    raw["analysis"]["named"]["projection"] = True
    swept = {key: value for key, value in raw["sae"]["cls"].items() if key != "k"}
    raw["sae"]["cls"] = swept | {"sweep": {"k": [4, 6]}}
    plan = resolve(raw)
    counted = estimate.counts(jobs.jobs(plan))
    wanted = {"finish_page": 3, "project_directions": 3, "show_sweeps": 1}
    assert {rule: n for rule, n in counted.items() if rule in OWN} == wanted
    for rule in wanted:
        codes = {json.loads(spec)["code"] for spec in plan.data["specs"][rule].values()}
        assert codes == {module_digest(RULES[rule][1].module)}
    stamps = {job.stamp for job in jobs.jobs(plan)}
    assert {path for job in jobs.jobs(plan) for path in job.inputs} < stamps
    assert set(jobs.through(plan, "gallery")) == stamps


def test_no_page_depends_on_the_code_of_what_lies_beside_it():
    pages = closure("saev.dashboard.__main__")
    assert not [RULES[rule][1].module for rule in OWN if RULES[rule][1].module in pages]
    assert "saev.dashboard.tsne" not in pages
    assert "saev.dashboard.given_names" not in pages


def test_the_code_of_whatever_makes_a_page_covers_templates_and_scripts(tmp_path):
    subprocess.run(["cp", "-a", Path(sizes.__file__).parents[1], tmp_path / "saev"], check=True)
    modules = ("saev.dashboard.__main__", "saev.dashboard.finish_page", "saev.dashboard.projection")
    before = [module_digest(module, tmp_path) for module in modules]
    style = tmp_path / "saev/dashboard/assets/gallery.css"
    style.write_text(style.read_text() + "/* new */")
    after = [module_digest(module, tmp_path) for module in modules]
    assert [a == b for a, b in zip(before, after, strict=True)] == [False, False, True]


@pytest.mark.slow
def test_check_says_when_their_code_or_inputs_changed_and_what_to_run(changed):
    results = changed.parents[1]
    page = next(changed.glob("*/named-*/dashboard"))

    def found():
        stale = [one for one in check(results)[0] if one.folder in (page, results)]
        return [(one.kind, one.rule, one.text.partition(" (")[0]) for one in stale]

    assert found() == []
    for folder, rule in ((page, "finish_page"), (results, "build_gallery")):
        record = folder / f".{rule}.made"
        before = read_made(record)
        write_json(record, {**before, "code": "0"})
        assert found() == [("stale", rule, f"the code of the rule {rule}")]
        advised = rerun.advice(results, check(results)[0])
        assert f"--forcerun {rule} " in advised[2]
        assert not [line for line in advised if "saev accept" in line]
        write_json(record, before)
    record = page / ".finish_page.made"
    made = read_made(record)
    assert made["inputs"].keys() == {"dashboard"}
    write_json(record, {**made, "inputs": {"dashboard": "0" * 64}})
    assert found() == [("stale", "finish_page", "its input dashboard has changed since")]
    write_json(record, made)
    (page / "given.js").write_text("other")
    ((kind, _, text),) = found()
    assert (kind, text.split("/")[-1]) == ("altered", "given.js has 5 bytes, not 22")


@pytest.mark.slow
def test_pages_are_the_same_whatever_lies_beside_them(changed, tmp_path):
    names = dict(zip(("images", "vit"), changed.parts[-2:], strict=True))
    page = next(changed.glob("*/named-*/dashboard"))
    names |= dict(zip(("sae", "analysis"), page.parts[-3:-1], strict=True))
    results = changed.parents[1]
    subprocess.run(["cp", "-a", results, tmp_path / "other"], check=True)
    a, b = (Made.at("dashboard", one, names) for one in (results, tmp_path / "other"))
    for name in ("names.json", "given.js", "projection.js", "report/run.html", ".score_names.made"):
        (b.folder / name).write_text("other")
    assert compare_dashboard(a, b, ParitySettings()).level == Level.BIT_EQUAL
    (b.folder / "data/more.js").write_text("other")
    assert compare_dashboard(a, b, ParitySettings()).level == Level.DIFFERENT


def test_plan_counts_codes_and_images_of_pages_within_their_bounds(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    raw = tiny(tmp_path)

    def bytes_of(**analysis):
        raw["analysis"]["named"] |= analysis
        plan = resolve(raw)
        return sizes.codes_bytes(plan, jobs.jobs(plan))

    # 300 vectors of class tokens and 16 patches of each, 4 of 48 latents each.
    assert bytes_of() == 300 * (1 + 16) * (4 + 6 * 4)
    assert bytes_of(codes_gib=0.0) == 0
    assert bytes_of(codes_gib=1e-6) == 2 * 1074
    raw["analysis"]["named"].pop("codes_gib")
    raw["sae"]["cls"] |= {"architecture": "relu", "l1": 0.1}
    for key in ("k", "aux_k", "aux_coefficient", "dead_after"):
        raw["sae"]["cls"].pop(key)
    assert bytes_of() == 300 * 16 * (4 + 6 * 4) + 4 * 2**30  # how many fire isn't known
    plan = resolve(raw)
    page = next(job.folder for job in jobs.jobs(plan) if job.rule == "build_dashboard")
    assert sizes.page_bytes(plan, page) == 300 * (sizes.THUMBNAIL + sizes.LARGE)
    text = "\n".join(estimate.lines(plan, "config.yaml", 2))
    assert "up to 4.3 GB of codes, up to about 43.2 MB of images on pages; " in text


def test_the_estimate_knows_how_many_images_a_page_shows_of_a_latent():
    assert layout(9, labelled=True)[-1]["last"] == 9 + sizes.ROWS_OF_IMAGES
