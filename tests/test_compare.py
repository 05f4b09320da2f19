"""Whether a training follows a reference curve: the verdict, and who is told."""

import json

import pytest
from project import Project

from saev.compare.__main__ import compare, main, read_curve, sentence
from saev.core.errors import UserError
from saev.core.meta import altered_files, read_meta, write_meta
from saev.settings.references import ReferenceSettings


def lines(**figures):
    n = len(next(iter(figures.values())))
    steps = range(10, 10 * (n + 1), 10)
    return {
        step: {"step": step, **{k: v[i] for k, v in figures.items()}}
        for i, step in enumerate(steps)
    }


def settings(**tolerance):
    return ReferenceSettings(curve="old.jsonl", tolerance=tolerance)


def test_the_first_step_out_of_tolerance_and_the_largest_deviation_are_named():
    ours = lines(nmse=[1.0, 0.52, 0.40, 0.30], l0=[3.0, 3.0, 3.0, 3.0])
    reference = lines(nmse=[1.0, 0.50, 0.50, 0.31], l0=[3.0, 3.0, 3.0, None])
    found = compare(ours, reference, settings(nmse=0.05, l0=0.01))
    assert not found["agrees"]
    assert found["figures"]["nmse"] == {
        "tolerance": 0.05,
        "n_steps": 4,
        "largest": pytest.approx(0.2),
        "step": 30,
        "first_step_out": 30,
    }
    assert found["figures"]["l0"]["n_steps"] == 3
    assert found["figures"]["l0"]["first_step_out"] is None
    assert compare(ours, reference, settings(nmse=0.21))["agrees"]


def test_a_reference_of_zero_must_be_met_exactly():
    assert compare(lines(dead=[0, 0]), lines(dead=[0, 0]), settings(dead=0.1))["agrees"]
    assert not compare(lines(dead=[0, 1]), lines(dead=[0, 0]), settings(dead=0.1))["agrees"]


def test_steps_before_the_first_that_counts_are_passed_over():
    given = ReferenceSettings(curve="old.jsonl", tolerance={"nmse": 0.01}, from_step=20)
    assert compare(lines(nmse=[1.0, 0.5]), lines(nmse=[2.0, 0.5]), given)["agrees"]


def test_curves_without_a_common_step_or_figure_are_refused_with_what_they_hold():
    with pytest.raises(UserError, match=r"both curves have 'loss'.*steps 10 to 20 with nmse"):
        compare(lines(nmse=[1.0, 0.5]), lines(loss=[1.0, 0.5]), settings(loss=0.1))


def test_a_file_that_is_no_curve_is_refused_by_line(tmp_path):
    path = tmp_path / "old.jsonl"
    path.write_text('{"step": 1}\n{"loss": 2}\n')
    with pytest.raises(UserError, match="line 2 isn't an object with a step"):
        read_curve(path)
    with pytest.raises(UserError, match="no curve"):
        read_curve(tmp_path / "absent")


def test_verdict_and_plot_are_written_and_the_words_say_both(tmp_path, capsys):
    trained, old, out = tmp_path / "sae-1", tmp_path / "old.jsonl", tmp_path / "out"
    ours = trained / "train.jsonl"
    trained.mkdir()
    for path, value in ((ours, 0.5), (old, 0.4)):
        path.write_text("".join(f'{{"step": {s}, "nmse": {value}}}\n' for s in (1, 2)))
    write_meta(
        trained,
        stage="train",
        name="sae-1",
        settings={},
        inputs={},
        summary={},
        files=["train.jsonl"],
    )
    spec = json.dumps({"settings": {"curve": str(old), "tolerance": {"nmse": 0.1}}})
    main(["curves", "--spec", spec, "--sae", str(trained), "--out", str(out)])
    meta, _ = read_meta(out, "compare")
    assert meta["summary"]["agrees"] is False
    assert altered_files(out, meta["files"], deep=True) == []
    assert json.loads((out / "run.json").read_text())["stage"] == "compare"
    verdict = json.loads((out / "verdict.json").read_text())
    assert verdict["agrees"] is False
    assert "doesn't follow" in sentence(verdict)
    assert "nmse: outside 0.1 from step 1, at most 0.25 off" in sentence(verdict)
    assert (out / "comparison.png").read_bytes().startswith(b"\x89PNG")
    with pytest.raises(SystemExit) as stopped:
        main(["verdict", str(out / "verdict.json")])
    assert stopped.value.code == 1


@pytest.mark.slow
def test_snakemake_compare_fails_for_a_run_that_leaves_its_reference_only(built, tmp_path):
    folder = tmp_path / "project"
    import subprocess

    subprocess.run(["cp", "-a", built.folder, folder], check=True)
    project = Project(folder)
    (curve,) = folder.glob("results/pets-*/tiny-*/cls-*/train.jsonl")
    (folder / "old.jsonl").write_bytes(curve.read_bytes())
    given = project.settings()
    given["references"] = {"old": {"curve": "old.jsonl", "tolerance": {"nmse": 1e-9}}}
    given["runs"][0]["reference"] = "old"
    project.configure(given)
    assert project.planned() == {}
    done = project.snakemake("compare")
    assert "follows old.jsonl" in done.stdout + done.stderr
    text = (folder / "old.jsonl").read_text().replace('"nmse":0.', '"nmse":1.')
    (folder / "old.jsonl").write_text(text)
    done = project.snakemake("compare", check=False)
    assert done.returncode != 0
    assert "doesn't follow old.jsonl" in done.stdout + done.stderr
    assert len(list(curve.parent.glob("references/old-*/verdict.json"))) == 2
    given["runs"][0]["reference"] = "odl"
    project.configure(given)
    done = project.snakemake("-n", check=False)
    assert "runs[0].reference: there is no 'odl' under references; did you mean 'old'?" in (
        done.stdout + done.stderr
    )
