"""Slips in a settings file are told with the file, the line, the column and the line itself."""

import sys

import pytest
from project import ROOT, Project
from snakemake.profiles import ProfileConfigFileParser

from saev.core.errors import UserError
from saev.settings.yaml_file import require_yaml
from saev.tools import present


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("sae:\n\tcls: 3\n", ["line 2, column 1:", "indent with spaces", "    →cls: 3\n    ^"]),
        (
            "sae:\n  a: {k: 3\n  lr: 4\n",
            ["line 3, column 5:", "begins in line 2", "\n      lr: 4\n"],
        ),
        ("sae:\n  a: k: 3\n", ["line 2, column 7:", "quotes", "\n      a: k: 3\n          ^"]),
        ('sae:\n  a: "x\n', ["line 3, column 1:", "begins in line 2", "(the end of the file)"]),
        ("a: 1\nb:\n  c: 1\n  c: 2\n", ["line 4, column 3: c was given before, in line 3"]),
        (
            "a: {b: 1}\nruns: []\na: {}\nruns: []\n",
            ["line 3, column 1: a", "line 4, column 1: runs"],
        ),
        ("- a\n", ["holds a sequence at its top level", "a mapping of sections"]),
        ("# nothing\n", ["is empty", "a mapping of sections"]),
        ("a: 1\nb: \x07\n", ["line 2: special characters", "U+0007"]),
        ("a: 1\nb: *gone\n", ["line 2, column 4:", "undefined alias"]),
        ("a: 1\nb: !foo 3\n", ["line 2, column 4: settings have no tag !foo: remove it"]),
        ("b: !foo {c: 3}\n", ["line 1, column 4: settings have no tag !foo: remove it"]),
        ("b: !!python/object:os.x {}\n", ["settings have no tag !!python/object:os.x"]),
        ("a: 1\nb: &x [*x]\n", ["line 2, column 4: this holds an alias of its own anchor"]),
        ("a: &x\n  b: *x\n", ["line 1, column 4: this holds an alias of its own anchor"]),
        ("b: &x {c: [{d: *x}]}\n", ["line 1, column 4: this holds an alias of its own anchor"]),
        ("a: {lr: 0,003}\n", ["line 1, column 9: YAML reads 0,003 as two entries: write 0.003"]),
        ("a: {k: 3, lr: 1,5e-4}\n", ["line 1, column 15:", "write 1.5e-4"]),
        ("b: 2024-13-45\n", ["line 1, column 4: 2024-13-45 is no date", "in quotes"]),
        ("b: !!int x\n", ["line 1, column 4: x is no number"]),
        ("b: !!timestamp x\n", ["line 1, column 4: x is no date"]),
        ("? [a]\n: 3\n", ["line 1, column 3: found unhashable key"]),
        ("a: {<<: 3}\n", ["line 1, column 9: expected a mapping"]),
        (f"a: {'[' * 2000}\n", ["is nested too deeply"]),
    ],
)
def test_a_slip_is_told_with_its_place_and_its_line(tmp_path, text, said):
    path = tmp_path / "mine.yaml"
    path.write_text(text)
    with pytest.raises(UserError) as error:
        require_yaml(path)
    assert str(path) in str(error.value)
    for part in said:
        assert part in str(error.value)


def test_a_file_that_is_not_utf_8_or_not_there_is_told(tmp_path):
    path = tmp_path / "mine.yaml"
    path.write_bytes(b"a: 1\nb: caf\xe9\n")
    with pytest.raises(UserError, match="line 2: isn't UTF-8"):
        require_yaml(path)
    with pytest.raises(UserError, match=r"gone\.yaml: No such file"):
        require_yaml(tmp_path / "gone.yaml")


def test_good_files_pass_with_anchors_merged_keys_and_json(tmp_path):
    for path in (ROOT / "config.yaml", *sorted((ROOT / "examples").glob("*.yaml"))):
        require_yaml(path)
    for text in (
        "a: &x {k: 1}\nb: {<<: *x, k: 2}\nc: {<<: *x}\n",
        '{"a":\t1}',
        "a: &x [1]\nb: [*x, *x]\n",
    ):
        (tmp_path / "mine.yaml").write_text(text)
        require_yaml(tmp_path / "mine.yaml")


def test_saev_plan_tells_a_slip_of_a_file_that_snakemake_would_only_refuse(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "config.yaml").write_text("runs: []\n")
    (tmp_path / "mine.yaml").write_text("sae:\n  a: [1\n")
    with pytest.raises(UserError, match=r"mine\.yaml, line 3, column 1: expected ',' or ']'"):
        present.load(["mine.yaml"])


@pytest.mark.slow
def test_snakemake_tells_slips_of_settings_files_and_a_missing_one_without_a_trace(
    tmp_path,
):
    project = Project.create(tmp_path / "project", n_images=3)
    good = (project.folder / "config.yaml").read_text()
    (project.folder / "config.yaml").write_text("sae:\n  cls: {k: 3\n  lr: 4\n")
    (project.folder / "odd.yaml").write_text("sae: !foo {}\n")
    (project.folder / "two.yaml").write_text("train: {together: true, together: false}\n")
    for arguments, text, said in (
        ((), "sae:\n  cls: {k: 3\n  lr: 4\n", "error: config.yaml, line 3, column 5: expected"),
        (("--configfile", "typo.yaml"), good, "error: --configfile: there is no file typo.yaml\n"),
        (("--configfile", "odd.yaml"), good, "error: odd.yaml, line 1, column 6: settings have no"),
        (("--configfile", "two.yaml"), good, "error: two.yaml, line 1, column 25: together was"),
    ):
        (project.folder / "config.yaml").write_text(text)
        done = project.snakemake("-n", *arguments, check=False)
        assert done.returncode == 1
        assert said in done.stdout + done.stderr
        assert "Traceback" not in done.stderr
        assert "WorkflowError" not in done.stderr


def test_every_profile_answers_before_snakemake_reads_a_settings_file(
    tmp_path, monkeypatch, capsys
):
    for name in [name for name in sys.modules if name.partition(".")[0] == "saev"]:
        monkeypatch.setitem(sys.modules, name, sys.modules[name])  # `answer` forgets them
    monkeypatch.setattr("sys.argv", ["snakemake", "-n", "--configfile", "typo.yaml"])
    profiles = sorted((ROOT / "profiles").glob("*/config.yaml"))
    assert len(profiles) == 3
    for path in profiles:
        with pytest.raises(SystemExit), path.open() as file:
            ProfileConfigFileParser().parse(file)
        assert "error: --configfile: there is no file typo.yaml" in capsys.readouterr().err
    for good in (["-n"], ["-n", "--configfile", str(ROOT / "config.yaml")], ["--configfile"]):
        monkeypatch.setattr("sys.argv", ["snakemake", *good])
        for path in profiles:
            with path.open() as file:
                assert ProfileConfigFileParser().parse(file)["nolock"] == "True"
    (tmp_path / "file").touch()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    for path in profiles:
        with pytest.raises(SystemExit), path.open() as file:
            ProfileConfigFileParser().parse(file)
        said = capsys.readouterr().err
        assert f"error: Snakemake can't write its cache in {tmp_path}/file/snakemake" in said
        assert "(Not a directory): name another folder in $XDG_CACHE_HOME" in said
