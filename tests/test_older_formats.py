"""Results of older versions are read, and give the figures that they gave then.

Each folder in `older/` holds results that an older version made of 30 small images, named after the
format of its analyses: 1 is from before lift, with labels in the analysis and the place of the
images in their `meta.json` (commit 6842a55), 2 from before sums by label (commit 43c76c7). To keep
the results of a version, check it out as a git worktree and run its own small project
(`tests/project.py`) with it, before the format changes.
"""

import re
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from analysed import write_labels
from safetensors.numpy import load_file

import saev
from saev.analyze import artifact, kept_codes, parts
from saev.analyze.artifact import Analysis
from saev.analyze.inputs import open_inputs
from saev.analyze.label_counts import require_counts
from saev.analyze.merge import write_merged
from saev.analyze.parts import write_part
from saev.core import meta
from saev.core.errors import UserError
from saev.core.files import read_json
from saev.core.spec import parsed
from saev.dashboard import artifact as pages
from saev.dashboard.gallery import described
from saev.parity.measures.distances import near
from saev.sae import checkpoint
from saev.settings.analysis import AnalysisResolved, AnalysisSettings

OLDER = Path(__file__).parent / "older"
ROUNDING = 1e-4


@pytest.fixture(params=[1, 2])
def analysis(request, tmp_path):
    """The directory of an analysis, in a copy of all that it was made from."""
    shutil.copytree(OLDER / f"analysis-{request.param}", tmp_path / "results")
    (found,) = (tmp_path / "results").glob("*/*/*/named-*")
    return found


def again(analysis: Path) -> Path:
    """Analyse the old recording with the old dictionary by the present code."""
    sae, out, old = analysis.parent, analysis.parent / "again", Analysis(analysis)
    settings = parsed(AnalysisSettings, old.meta["settings"])
    labels = next(analysis.parents[2].glob("labels/*"), None)
    if labels is None:  # the analysis has its own
        read = old.labels.read(0, 30).to_pydict()
        named = {name: read[f"label.{name}"] for name in old.label_names}
        labels = write_labels(analysis.parents[2] / "labels/1a2b3c4d", 30, named)
    inputs = open_inputs(settings, sae, sae.parent, labels, torch.device("cpu"))
    (out / "scratch").mkdir(parents=True)
    write_part(inputs, settings, 0, out, out / "scratch")
    write_merged(inputs, settings, AnalysisResolved(), 1, out, out)
    return out


def test_an_old_recording_and_dictionary_give_the_figures_that_they_gave_then(analysis):
    out = again(analysis)
    then, now = (load_file(folder / "latents.safetensors") for folder in (analysis, out))
    for name in then:
        equal = then[name].dtype.kind == "f" and near(then[name], now[name], ROUNDING)
        assert equal or np.array_equal(then[name], now[name]), name
    then, now = (Analysis(folder).table() for folder in (analysis, out))
    assert set(then.column_names) <= set(now.column_names)
    for name in then.column_names:
        a, b = (table.column(name).to_pylist() for table in (then, now))
        if isinstance(a[-1], float):
            a, b = (np.array(values, np.float64) for values in (a, b))
            assert near(a, b, ROUNDING), name
        else:
            assert a == b, name
    then, now = (read_json(folder / "meta.json")["summary"] for folder in (analysis, out))
    for split in ("train", "held_out"):
        assert then["splits"][split]["n_images"] == now["splits"][split]["n_images"]
        for name, value in then["splits"][split].items():
            wanted = pytest.approx(value, rel=ROUNDING) if isinstance(value, float) else value
            assert now["splits"][split][name] == wanted, name
    for name in ("n_images", "n_vectors", "n_dead", "n_dense"):
        assert now["all"][name] == then["all"][name]


def test_programs_open_old_runs(analysis):
    run = saev.open_run(analysis)
    assert list(run.settings) == ["images", "vit", "sae", "analysis"]
    assert len(run.labels) == 30
    latent = int(run.latents["fire_count"].idxmax())
    top = run.top_images(latent)
    assert len(top) == 4
    assert top["value"][0] == pytest.approx(run.latents["max_activation"][latent])
    assert set(top["label.animal"]) <= {"cat", "dog", "spider"}
    row = int(top["row"][0])
    assert f"{run.labels['label.animal'][row]}/" in top["key"][0]
    assert run.sae.encode(torch.zeros(2, 32)).shape == (2, 24)


def test_pages_refuse_what_an_old_analysis_lacks_and_say_what_to_do(analysis):
    results = analysis.parents[3]
    if read_json(analysis / "meta.json")["summary"].get("format") is None:
        with pytest.raises(UserError, match=r"older version of saev.*run the workflow again"):
            described(results, analysis, current=True)
        return
    # Only the figures of contrasts need more than it holds.
    with pytest.raises(UserError, match=r"older version of saev.*run the workflow again"):
        require_counts(analysis, 1, 2)
    listed = described(results, analysis, current=False)
    assert listed["summary"] == Analysis(analysis).summary
    assert len(listed["strips"]["first"]) == 8


def test_the_docs_name_the_present_formats():
    text = (OLDER.parents[1] / "docs/artifacts.md").read_text().split("## Older versions")[1]
    rows = re.findall(r"^\| ([\w ,]+?) \| (\d[^|]*) \| [^|]* \|$", text, re.M)
    last = {what: int(re.findall(r"\d", formats)[-1]) for what, formats in rows}
    assert last == {
        "images, labels, recording": meta.FORMAT_VERSION,
        "checkpoint": checkpoint.FORMAT_VERSION,
        "analysis": artifact.FORMAT,
        "parts of an analysis": parts.FORMAT,
        "codes": kept_codes.FORMAT,
        "page": pages.FORMAT_VERSION,
    }
