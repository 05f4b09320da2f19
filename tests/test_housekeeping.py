"""`saev ls`, `gc`, `diff` and `plan`: what is there, what can go, what differs, what is still to
come."""

import json
import os
import shutil
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from project import ROOT, TOWER, draw_pictures

from saev.core.errors import UserError
from saev.core.files import write_json
from saev.core.locks import Lock
from saev.tools import diff, estimate, garbage, ls, present, sizes, texts, tree
from saev.tools.__main__ import _parser, main
from saev.tools.unread import ending_unread
from saev.workflow import jobs
from saev.workflow.plan import Plan, resolve
from saev.workflow.stages import RULES

RUN = ("pets-11111111", "tiny-22222222", "cls-33333333", "named-44444444")
FILES = ("manifest.parquet", "images.parquet", "checkpoint.safetensors", "latents.parquet")


def place(results: Path, level: int, run=RUN, code="c0", **meta) -> Path:
    """Write a directory of a level that looks like a complete one."""
    folder = results.joinpath(*run[: level + 1])
    folder.mkdir(parents=True, exist_ok=True)
    (folder / FILES[level]).write_bytes(b"x" * 1000)
    content = {
        "stage": tree.STAGES[level],
        "name": folder.name,
        "settings": {},
        "inputs": {},
        "summary": {},
        "files": [{"name": FILES[level], "sha256": "0" * 64, "bytes": 1000}],
    }
    write_json(folder / "meta.json", {**content, **meta})
    write_json(folder / "run.json", {"code": code, "started": "2026-01-02T03:04:05Z"})
    return folder


def whole(results: Path, run=RUN) -> Path:
    """A run with all its stages."""
    place(results, 0, run)
    place(results, 1, run)
    last = {"nmse": 0.25, "eval_nmse": 0.5, "l0": 4.0, "dead": 3}
    place(results, 2, run, settings={"n_latents": 48, "lr": 0.1}, summary={"final": last})
    splits = {"train": {"nmse": 0.125, "l0": 4.0}, "held_out": {"nmse": 0.375, "l0": 5.0}}
    summary = {"splits": splits, "all": {"n_dead": 7}, "n_latents": 48}
    return place(results, 3, run, settings={"top_images": 9}, summary=summary)


def plan_of(results: Path, run=RUN, on=None) -> Plan:
    kinds = dict(zip(tree.LEVELS, run, strict=True))
    components = {kind: {name: {"settings": {}}} for kind, name in kinds.items()}
    components["images"][run[0]] |= {"n_images": 300, "ready": None}
    components["vit"][run[1]] |= {"shard_images": 256, "ready": None}
    runs = [{**kinds, "on": on or run[0]}]
    specs = {rule.name: {} for _, rule in RULES.values() if rule.module}
    return Plan({"components": components, "runs": runs, "specs": specs}, str(results))


def names(found) -> list[str]:
    return sorted(item.path.name for item in found)


def test_ls_shows_a_full_run_and_half_there_ones(tmp_path):
    whole(tmp_path)
    (tmp_path / RUN[0] / RUN[1] / "half-55555555").mkdir()
    broken = place(tmp_path, 2, (*RUN[:2], "torn-66666666"))
    (broken / "meta.json").write_text("{")
    odd = place(tmp_path, 1, (RUN[0], "odd-77777777"))
    (odd / "meta.json").write_text('{"stage": "activations", "settings": 3}')
    (tmp_path / "notes").mkdir()
    for name in ("report", "parity", "matched", ".plans"):
        (tmp_path / name).mkdir()
    entries = {entry[entry["level"]]: entry for entry in ls.listing(tmp_path)}
    assert entries[RUN[3]]["reached"] == "analyze"
    assert entries[RUN[3]]["nmse_held_out"] == 0.375
    assert entries[RUN[2]]["nmse_train"] == 0.25
    for name in ("half-55555555", "torn-66666666", "odd-77777777"):
        assert entries[name]["reached"] == "incomplete"
    text = ls.lines(tmp_path, ls.listing(tmp_path))
    assert max(map(len, text)) <= 100
    assert "1 run, " in text[-2]
    assert "3 incomplete" in text[-2]
    assert text[-1] == "not saev's: notes"


def test_ls_counts_each_file_once_and_says_when_nothing_is_there(tmp_path):
    assert "no results yet" in ls.lines(tmp_path, [])[0]
    whole(tmp_path)
    total = sum(p.stat().st_size for p in tmp_path.rglob("*") if p.is_file())
    assert sum(entry["bytes"] for entry in ls.listing(tmp_path)) == total


def test_ls_fits_a_hundred_columns_with_the_longest_names(tmp_path):
    whole(tmp_path, tuple(f"{'n' * 64}-{digit * 8}" for digit in "1234"))
    text = ls.lines(tmp_path, ls.listing(tmp_path))
    assert max(map(len, text)) <= 100
    assert "…n-44444444" in text[4] or "…-44444444" in text[4]


def test_sizes_read_well():
    assert [texts.size(n) for n in (0, 999, 1000, 1_234_567, 120_000_000_000)] == [
        "0 B",
        "999 B",
        "1.0 kB",
        "1.2 MB",
        "120 GB",
    ]


def test_gc_lists_what_no_run_uses_at_every_level_and_nothing_that_is_used(tmp_path):
    whole(tmp_path)
    for level in range(4):
        place(tmp_path, level, (*RUN[:level], f"old-{level:08}"))
    whole(tmp_path, ("gone-99999999", *RUN[1:]))
    found = garbage.garbage(tmp_path, plan_of(tmp_path))
    assert names(found) == ["gone-99999999", *(f"old-{n:08}" for n in range(4))]
    before = {
        p: p.read_bytes() for p in (tmp_path / RUN[0]).rglob("*.parquet") if "old" not in str(p)
    }
    assert garbage.remove(found) == []
    assert garbage.garbage(tmp_path, plan_of(tmp_path)) == []
    assert {p: p.read_bytes() for p in (tmp_path / RUN[0]).rglob("*.parquet")} == before


def test_gc_lists_the_codes_of_analyses_only_if_it_is_told_to(tmp_path, monkeypatch):
    codes = whole(tmp_path) / "codes"
    codes.mkdir()
    (codes / "00000.entries.npy").write_bytes(b"x" * 5000)
    assert garbage.garbage(tmp_path, plan_of(tmp_path)) == []
    monkeypatch.setattr(present, "plan", lambda *_: plan_of(tmp_path))
    aside = "Analyses keep 5.0 kB of codes, which may go: saev gc --codes lists them."
    assert garbage.run(tmp_path, [], None)[-1] == aside
    assert garbage.run(tmp_path, [], [])[-1] == aside
    listed = "\n".join(garbage.run(tmp_path, [], None, with_codes=True))
    assert str(codes) in listed
    with Lock(codes.parent / ".state/00.lock", "an analysis"):
        assert garbage.kept_codes(plan_of(tmp_path)) == []
    assert "5.0 kB removed." in garbage.run(tmp_path, [], [], with_codes=True)
    assert not codes.exists()
    assert (codes.parent / "latents.parquet").exists()
    assert garbage.kept_codes(plan_of(tmp_path)) == []


def test_gc_keeps_what_an_analysis_of_other_images_looks_at(tmp_path):
    whole(tmp_path)
    place(tmp_path, 1, ("other-88888888", RUN[1]))
    place(tmp_path, 0, ("other-88888888",))
    plan = plan_of(tmp_path, on="other-88888888")
    plan.data["components"]["images"]["other-88888888"] = {"n_images": 3, "ready": None}
    assert garbage.garbage(tmp_path, plan) == []


MALFORMED = [
    {"files": [3]},
    {"settings": {}},
    {"settings": {"on": 3, "labels": {}}},
    {"settings": {"labels": 3}},
    {"inputs": 3},
    {"summary": []},
    {"stage": []},
]


@pytest.mark.parametrize("content", ["", "[]", "[" * 5000, *MALFORMED])
def test_gc_and_ls_pass_over_a_description_that_is_damaged(tmp_path, content):
    folder = whole(tmp_path)
    if isinstance(content, dict):
        place(tmp_path, 3, **({"inputs": {"labels": "a" * 64}} | content))
    else:
        (folder / "meta.json").write_text(content)
    assert garbage.garbage(tmp_path, plan_of(tmp_path)) == []
    assert RUN[2] in {entry[entry["level"]] for entry in ls.listing(tmp_path)}


def test_gc_ignores_foreign_folders_and_symbolic_links(tmp_path):
    results, outside = tmp_path / "results", tmp_path / "outside-12345678"
    whole(results)
    whole(tmp_path / "elsewhere")
    place(tmp_path, 0, (outside.name,))
    (results / "link-12345678").symlink_to(outside)
    (results / "mine-12345678").mkdir()
    (results / "mine-12345678/notes.txt").write_text("mine")
    (results / "notes").mkdir()
    shutil.copytree(results / RUN[0], results / "renamed-12345678")
    assert garbage.garbage(results, plan_of(results)) == []


def test_gc_leaves_what_is_foreign_in_a_directory_that_goes_and_never_follows_a_link(tmp_path):
    results, disk = tmp_path / "results", tmp_path / "disk"
    whole(results)
    old = place(results, 1, (RUN[0], "old-00000000"))
    disk.mkdir()
    (disk / "shard-00000.npy").write_bytes(b"far away")
    (old / "layer-01.cls").symlink_to(disk)
    (old / "rows").mkdir()
    (old / "rows/link.npy").symlink_to(disk / "shard-00000.npy")
    (old / "notes.txt").write_text("mine")
    (found,) = garbage.garbage(results, plan_of(results))
    assert garbage.remove([found]) == [old / "rows", old]
    assert (disk / "shard-00000.npy").read_bytes() == b"far away"
    assert sorted(p.name for p in old.iterdir()) == ["layer-01.cls", "notes.txt", "rows"]


def test_gc_takes_states_only_of_complete_results_and_only_when_nobody_holds_them(tmp_path):
    whole(tmp_path)
    plan = plan_of(tmp_path)
    trained = tmp_path.joinpath(*RUN[:3])
    state = trained / ".state/abc"
    state.mkdir(parents=True)
    assert garbage.garbage(tmp_path, plan) == []
    for job in jobs.jobs(plan):
        for path in (job.stamp, *job.outputs):
            path.parent.mkdir(parents=True, exist_ok=True)
            path.touch()
    with Lock(trained / ".state/abc.lock", ""):
        assert garbage.garbage(tmp_path, plan) == []
    found = garbage.garbage(tmp_path, plan)
    assert names(found) == ["abc"]
    garbage.remove(found)
    assert not (trained / ".state").exists()


def test_gc_leaves_a_directory_that_the_orphan_of_a_killed_run_works_in(tmp_path):
    whole(tmp_path)
    old = place(tmp_path, 2, (*RUN[:2], "old-00000000"))
    with Lock(old / ".state/abc.lock", ""):
        assert garbage.garbage(tmp_path, plan_of(tmp_path)) == []
    assert names(garbage.garbage(tmp_path, plan_of(tmp_path))) == ["old-00000000"]


def test_gc_takes_temporary_files_of_dead_processes_alone(tmp_path):
    trained = whole(tmp_path).parent
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    host = socket.gethostname()
    dead = trained / f".train.jsonl.{host}.{process.pid}.0123abcd.tmp"
    alive = trained / f".train.jsonl.{host}.{os.getpid()}.0123abcd.tmp"
    far = trained / f".train.jsonl.{host}x.{process.pid}.0123abcd.tmp"
    for path in (dead, alive, far):
        path.touch()
    assert names(garbage.garbage(tmp_path, plan_of(tmp_path))) == [dead.name]
    os.utime(far, (0, 0))
    assert names(garbage.garbage(tmp_path, plan_of(tmp_path))) == sorted([dead.name, far.name])


def test_gc_counts_apart_what_other_settings_files_used_here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    results = tmp_path / "results"
    whole(results)
    place(results, 1, (RUN[0], "old-00000000"))
    theirs = ("theirs-99999999", *RUN[1:])
    whole(results, theirs)
    plans = {}
    for file, run in (("mine.yaml", RUN), ("other.yaml", theirs)):
        Path(file).touch()
        plans[file] = plan_of(results, run)
        plans[file].data["configfiles"] = [file]
        plans[file].save()
    (results / f".plans/{theirs[0]}.parquet").touch()
    monkeypatch.setattr(present, "plan", lambda files, _: plans[files[0]])
    free, _, apart = "\n".join(garbage.run(results, ["mine.yaml"], None)).partition("Not counted")
    assert "old-00000000" in free
    assert "saev gc --configfile mine.yaml --delete DIR" in free
    assert "theirs" not in free
    assert ".plans" not in free + apart
    assert f"{results / theirs[0]}  runs of other.yaml use it" in apart
    garbage.run(results, ["mine.yaml"], [])
    assert (results / f".plans/{theirs[0]}.parquet").exists()
    Path("other.yaml").unlink()  # its settings are gone
    free = "\n".join(garbage.run(results, ["mine.yaml"], None))
    listed = [line.split() for line in free.splitlines()]
    assert [str(results / theirs[0]), "no", "run"] in [words[2:5] for words in listed]
    assert plans["other.yaml"].file_name in free
    assert "Not counted" not in free


def test_gc_takes_what_lies_beside_pages_and_no_settings_ask_for(tmp_path):
    page = whole(tmp_path) / "dashboard"
    page.mkdir()
    for name in ("names.json", "projection.js", ".score_names.done", ".project_directions.done"):
        (page / name).touch()
    for rule in ("score_names", "project_directions"):
        made = {"key": "", "plan": None, "files": [], "code": "", "inputs": {}}
        write_json(page / f".{rule}.made", made)
    plan = plan_of(tmp_path)
    plan.data["specs"]["project_directions"] = {RUN[3]: "{}"}
    gone = [".score_names.done", ".score_names.made", "names.json"]
    assert names(garbage.garbage(tmp_path, plan)) == gone
    plan = plan_of(tmp_path)
    plan.data["specs"]["score_names"] = {"/".join(RUN): "{}"}
    # The page looks for its projection, so that stays.
    gone = [".project_directions.done", ".project_directions.made"]
    assert names(garbage.garbage(tmp_path, plan)) == gone


def test_gc_takes_plans_and_listings_of_other_settings_and_keeps_hashes(tmp_path):
    whole(tmp_path)
    plan = plan_of(tmp_path)
    plan.save()
    for name in ("0" * 16 + ".json", "old-00000000.parquet", f"{RUN[0]}.parquet", "hashes.json"):
        (tmp_path / ".plans" / name).touch()
    assert names(garbage.garbage(tmp_path, plan)) == ["0" * 16 + ".json", "old-00000000.parquet"]


def test_diff_names_the_stage_whose_settings_changed_and_those_that_follow(tmp_path):
    a = whole(tmp_path)
    b = whole(tmp_path, (*RUN[:2], "cls-99999999", RUN[3]))
    last = {"nmse": 0.25, "eval_nmse": 0.5, "l0": 4.0, "dead": 3}
    faster = {"n_latents": 48, "lr": 0.2, "aux": {"k": 8}}
    place(tmp_path, 2, (*RUN[:2], "cls-99999999"), settings=faster, summary={"final": last})
    write_json(b / "meta.json", {**tree.read(b), "inputs": {"train": "1" * 64}})
    lines, differ = diff.compare(a, b)
    assert differ
    assert lines[-1] == "The difference comes from: train (settings)."
    text = "\n".join(lines)
    assert "images: the same" in text
    assert [line.split() for line in lines if "aux.k" in line] == [
        ["settings", "aux.k", "neutral", "→", "8"]
    ]
    assert "inputs  train  absent" in text


def test_diff_names_the_stage_whose_code_changed(tmp_path):
    a, b = whole(tmp_path / "a"), whole(tmp_path / "b")
    place(tmp_path / "b", 1, code="c1")
    lines, differ = diff.compare(a, b)
    assert differ
    assert lines[-1] == "The difference comes from: activations (code)."
    assert diff.compare(a, a)[1] is False


def test_diff_shows_figures_beside_each_other(tmp_path):
    a, b = whole(tmp_path / "a"), whole(tmp_path / "b")
    meta = tree.read(b)
    meta["summary"]["splits"]["held_out"]["nmse"] = 0.5
    write_json(b / "meta.json", meta)
    lines, _ = diff.compare(a, b)
    (row,) = [line.split() for line in lines if line.startswith("splits.held_out.nmse")]
    assert row == ["splits.held_out.nmse", "0.375", "0.5", "+0.125"]


def saev(folder, *arguments):
    return subprocess.run(
        [sys.executable, "-m", "saev.tools", *arguments],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )


def test_diff_ends_with_2_after_an_error_in_one_line(tmp_path):
    whole(tmp_path / "results")
    for other in ("nowhere", RUN[0], "half-55555555"):
        (tmp_path / "results/half-55555555").mkdir(exist_ok=True)
        done = saev(tmp_path, "diff", "/".join(RUN), other)
        assert done.returncode == 2
        assert done.stderr.count("\n") == 1
        assert done.stderr.startswith("error: ")
    assert saev(tmp_path, "diff", "/".join(RUN), "/".join(RUN)).returncode == 0


def test_saev_alone_shows_its_commands(monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["saev"])
    with pytest.raises(SystemExit) as ended:
        main()
    assert not ended.value.code
    assert "saev init DIR" in capsys.readouterr().out


def test_each_command_teaches_itself_and_refuses_missing_results_and_settings(tmp_path):
    for command in ("ls", "gc", "diff", "plan"):
        done = saev(tmp_path, command, "--help")
        assert f"\n  saev {command}" in done.stdout
        assert "--results" in done.stdout
    assert (
        saev(tmp_path, "ls").stderr
        == "error: there is no folder results: nothing has been made here yet\n"
    )
    assert saev(tmp_path, "plan").stderr.startswith("error: there is no config.yaml here")
    assert saev(tmp_path, "plan").returncode == 1


@pytest.mark.parametrize(("command", "unbuffered"), [("check", ""), ("ls", "1")])
def test_a_command_whose_output_nobody_reads_ends_without_a_traceback(
    tmp_path, command, unbuffered
):
    whole(tmp_path / "results")
    reading, writing = os.pipe()
    os.close(reading)
    done = subprocess.run(
        [sys.executable, "-m", "saev.tools", command],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": unbuffered},
        stdout=writing,
        stderr=subprocess.PIPE,
        text=True,
        check=False,
    )
    os.close(writing)
    assert (done.returncode, done.stderr) == (141, "")


def test_a_broken_pipe_that_is_not_the_output_is_no_silent_end(capfd):
    with pytest.raises(BrokenPipeError), ending_unread():
        raise BrokenPipeError(32, "an upload")


def test_settings_are_merged_as_snakemake_merges_them(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write = lambda name, value: (tmp_path / name).write_text(yaml.safe_dump(value))  # noqa: E731
    write("config.yaml", {"sae": {"a": {"lr": 1, "k": 2}}, "runs": [1, 2]})
    write("one.yaml", {"sae": {"a": {"lr": 3}, "b": {}}, "runs": [3]})
    write("two.yaml", {"sae": {"a": {"lr": 4}}})
    merged = present.load(["one.yaml", "two.yaml"])
    assert merged == {"sae": {"a": {"lr": 4, "k": 2}, "b": {}}, "runs": [3]}


def tiny(folder: Path) -> dict:
    """Settings with images and a tower, without a copy of the project."""
    from project import config

    draw_pictures(folder / "pictures", 300)
    (folder / "tower.json").write_text(json.dumps(TOWER))
    (folder / "sites.csv").write_text("path,site\ncat/0000.png,north\n")
    (folder / "config.yaml").write_text(yaml.safe_dump(config()))
    return config()


def test_plan_knows_the_bytes_of_a_tower_by_its_configuration_and_says_when_it_does_not(
    tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    raw = tiny(tmp_path)
    plan = resolve(raw)
    (vit,) = plan.names("vit")
    assert (
        sizes.recording_bytes(plan, plan.names("images")[0], vit, 300)
        == 300 * (2 * 17 + 1) * 32 * 2
    )
    text = "\n".join(estimate.lines(plan, "config.yaml", 2))
    assert "672,000 B" in text or "672000" in text.replace(",", "")
    assert "no rate measured yet" in text
    raw["vit"]["tiny"]["model"] = "timm/vit_tiny_patch16_224"
    assert "unknown until the tower is loaded" in "\n".join(
        estimate.lines(resolve(raw), "config.yaml", 2)
    )


def test_plan_counts_the_rules_that_make_images_among_the_jobs(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    raw = tiny(tmp_path)
    raw["images"]["pets"] = {"folder": "made", "made": True, "n_images": 300, "version": "one"}
    raw["analysis"]["named"]["labels"] = {}
    header, table, *_ = "\n".join(estimate.lines(resolve(raw), "config.yaml", 2)).split("\n\n")
    assert "rule that makes made.json" in table
    n = sum(int(row.split()[-2]) for row in table.splitlines()[1:])
    assert header.endswith(f"{n} of {n} jobs to do")


def test_plan_imports_no_torch_and_writes_nothing_but_what_parsing_writes(tmp_path):
    tiny(tmp_path)
    code = (
        "import sys; sys.argv[1:] = ['plan']\nfrom saev.tools.__main__ import main\n"
        "try: main()\nexcept SystemExit as end: assert not end.code\n"
        "print([m for m in ('torch', 'open_clip', 'timm', 'matplotlib') if m in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stdout.splitlines()[-1] == "[]", done.stderr
    assert {
        p.parts[0]
        for p in (q.relative_to(tmp_path / "results") for q in (tmp_path / "results").rglob("*"))
    } == {".plans"}


def test_clean_never_touches_results():
    # Under `make test` a make inside would speak of its directory.
    command = ["make", "--no-print-directory", "-n", "clean"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    words = done.stdout.split()
    assert words[:2] == ["rm", "-rf"]
    kept = ("results", "logs", "demo", "saev", ".snakemake", "*", ".", "..", "/", "./")
    assert not [word for word in words if word.strip("/").startswith(kept[:5]) or word in kept]


def test_a_batch_larger_than_the_images_is_refused_before_anything_runs(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    draw_pictures(tmp_path / "pictures", 40)
    given = {
        "images": {"few": {"folder": "pictures"}},
        "vit": {"t": {"model": "ViT-B-32", "weights": "openai", "layers": [0], "tokens": ["cls"]}},
        "sae": {
            "s": {"preset": "relu_2024", "layer": 0, "tokens": "cls", "n_latents": 64, "epochs": 1}
        },
        "analysis": {"a": {}},
        "runs": [{"images": "few", "vit": "t", "sae": "s", "analysis": "a"}],
    }
    with pytest.raises(UserError, match=r"sae\.s\.batch_size: .* is more than the 40 images"):
        resolve(given)
    given["sae"]["s"]["batch_size"] = 40
    assert len(resolve(given).runs) == 1
    for share, what in ((0.001, "hold out"), (0.999, "train on")):
        given["sae"]["s"]["held_out"] = share
        said = f"held_out: {share} leaves less than one of the 40 images of images.few to {what}"
        with pytest.raises(UserError, match=said):
            resolve(given)
    given["sae"]["s"]["held_out"] = 0.5
    with pytest.raises(
        UserError, match=r"batch_size: 40 .* images of images\.few that aren't held"
    ):
        resolve(given)
    given["vit"]["t"]["tokens"] = given["sae"]["s"]["tokens"] = "patches"
    given["vit"]["t"]["tokens"] = ["patches"]
    given["sae"]["s"] |= {"held_out": 0, "batch_size": 40 * 49}
    assert len(resolve(given).runs) == 1
    given["sae"]["s"]["batch_size"] += 1
    said = (
        r"batch_size: 1,961 is more than the 1,960 vectors of the 40 images of images\.few: lower"
    )
    with pytest.raises(UserError, match=said):
        resolve(given)


def test_the_commands_of_the_docs_are_those_that_saev_takes():
    commands = [
        line.strip().removeprefix("$ ")
        for path in sorted((ROOT / "docs").glob("*.md"))
        for line in path.read_text().splitlines()
        if line.startswith(("    saev ", "    $ saev "))
    ]
    assert len(commands) > 20
    for command in commands:
        shell = ["bash", "-c", f"printf '%s\\n' {command.partition(' | ')[0]}"]
        words = subprocess.run(shell, capture_output=True, text=True, check=True).stdout.split("\n")
        if words[1] != "run":  # whose arguments are Snakemake's
            _parser().parse_args(words[1:-1])
