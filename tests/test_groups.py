"""`held_out_by` keeps all images with the same label on one side of the split."""

import json

import numpy as np
import pyarrow.parquet as pq
import pytest
from project import Project
from synthetic import write_activations

from saev.activations.artifact import TWINS, Activations
from saev.core.errors import UserError
from saev.core.files import sha256_file
from saev.core.plan_file import PLANS, groups_name
from saev.train.split import choose, joined, split_images
from saev.workflow.plan import resolve


def recorded(tmp_path, groups, twins=(), absent=()):
    """Activations whose plan has these groups, and the SHA-256 of the groups."""
    folder = tmp_path / "results" / "images" / "vit"
    values = np.zeros((len(groups), 4), np.float32)
    write_activations(folder, {"layer-01.cls": values}, absent=absent)
    np.save(folder / TWINS, np.array(twins, np.int64).reshape(-1, 2))
    plans = tmp_path / "results" / PLANS
    plans.mkdir()
    names = {}
    first = [names.setdefault(group, row) for row, group in enumerate(groups)]
    np.save(plans / "groups.npy", np.array(first, np.int64))
    sha256 = sha256_file(plans / "groups.npy")
    (plans / "groups.npy").rename(plans / groups_name(sha256))
    return Activations(folder), sha256


@pytest.mark.parametrize("fraction", [0.05, 0.2, 0.5, 0.9])
@pytest.mark.parametrize("seed", range(3))
def test_groups_of_the_wanted_share_are_chosen(fraction, seed):
    sizes = np.random.default_rng(seed).integers(1, 20, 200)
    chosen = choose(sizes, fraction, seed)
    assert abs(sizes[chosen].sum() / sizes.sum() - fraction) < 0.02
    assert not np.array_equal(chosen, choose(sizes, fraction, seed + 1))


@pytest.mark.parametrize("sizes", [[5, 5], [1, 1000], [1000, 1], [7, 7, 7], [1, 1, 500]])
@pytest.mark.parametrize("fraction", [0.001, 0.5, 0.999])
def test_some_group_is_held_out_and_some_is_trained_on(sizes, fraction):
    for seed in range(5):
        chosen = choose(np.array(sizes), fraction, seed)
        assert 0 < chosen.sum() < len(sizes)


def test_groups_that_share_an_identical_image_are_joined():
    groups = np.array([0, 0, 2, 2, 4, 4, 6])
    assert joined(groups, np.empty((0, 2), np.int64)).tolist() == groups.tolist()
    twins = np.array([[5, 3], [3, 1], [1, 0]])
    assert joined(groups, twins).tolist() == [0, 0, 0, 0, 0, 0, 6]


def test_the_split_keeps_groups_and_twins_on_one_side(tmp_path):
    groups = [f"site {row % 40}" for row in range(400)]
    activations, sha256 = recorded(tmp_path, groups, [[201, 0], [399, 7]], absent=(3, 80))
    split = split_images(activations, 0.3, 5, sha256)
    assert sorted([*split.training, *split.held_out]) == sorted({*range(400)} - {3, 80})
    held = {groups[row] for row in split.held_out}
    assert not held & {groups[row] for row in split.training}
    for one, other in ((201, 0), (399, 7)):
        assert (one in split.held_out) == (other in split.held_out)
    assert split.n_groups == 38  # two pairs of sites have an image in common
    assert split.n_held_out_groups == len(np.unique([joined_name(name) for name in held]))
    assert abs(len(split.held_out) / 398 - 0.3) < 0.05
    other = split_images(activations, 0.3, 6, sha256)
    assert not np.array_equal(split.held_out, other.held_out)


def joined_name(site):
    return {"site 1": "site 0", "site 39": "site 7"}.get(site, site)


def test_one_group_alone_and_altered_groups_are_refused(tmp_path):
    activations, sha256 = recorded(tmp_path, ["a"] * 20)
    with pytest.raises(UserError, match=r"20 images of .* are all in one group"):
        split_images(activations, 0.3, 5, sha256)
    path = tmp_path / "results" / PLANS / groups_name(sha256)
    path.write_bytes(path.read_bytes()[:-8] + bytes(8))
    path.write_bytes(path.read_bytes()[:-8] + b"12345678")
    with pytest.raises(UserError, match=r"groups.*missing or was altered"):
        split_images(activations, 0.3, 5, sha256)


@pytest.fixture
def project(tmp_path, monkeypatch):
    """90 images of 18 sequences of 5, two of them without a sequence."""
    project = Project.create(tmp_path / "project", n_images=90)
    write_sequences(project, "seq")
    given = project.settings()
    given["analysis"]["named"]["labels"]["sequence"] = {"table": "sequences.csv"}
    given["sae"]["cls"] |= {"held_out_by": "sequence", "batch_size": 32}
    given["runs"] = given["runs"][:1]
    project.configure(given)
    monkeypatch.chdir(project.folder)
    return project


def write_sequences(project, prefix):
    keys = sorted(
        path.relative_to(project.folder / "pictures").as_posix()
        for path in (project.folder / "pictures").rglob("*.png")
    )
    rows = [f"{key},{prefix}{i // 5}" for i, key in enumerate(keys[:-2])]
    (project.folder / "sequences.csv").write_text("\n".join(["path,sequence", *rows]) + "\n")


def test_a_label_that_the_analysis_lacks_is_refused_when_the_workflow_starts(project):
    given = project.settings()
    given["sae"]["cls"]["held_out_by"] = "sequenec"
    with pytest.raises(UserError, match=r"sae\.cls\.held_out_by.*'sequenec'; did you mean 'seq"):
        resolve(given)
    given["sae"]["cls"] |= {"held_out_by": "sequence", "held_out": 0.0}
    with pytest.raises(UserError, match="held_out_by: sequence needs held-out images"):
        resolve(given)


def test_a_label_with_one_value_is_refused_when_the_workflow_starts(project):
    table = project.folder / "sequences.csv"
    keys = sorted((project.folder / "pictures").rglob("*.png"))
    rows = [f"{key.relative_to(project.folder / 'pictures').as_posix()},one" for key in keys]
    table.write_text("\n".join(["path,sequence", *rows]) + "\n")
    with pytest.raises(UserError, match=r"sae\.cls\.held_out_by: all images have the label"):
        resolve(project.settings())


def test_two_labels_of_one_table_give_their_own_groups(project):
    table = project.folder / "sequences.csv"
    lines = table.read_text().splitlines()
    rows = [f"{line},{'even' if i % 2 else 'odd'}" for i, line in enumerate(lines[1:])]
    table.write_text("\n".join([f"{lines[0]},parity", *rows]) + "\n")
    given = project.settings()
    given["analysis"]["named"]["labels"]["parity"] = {"table": "sequences.csv"}
    found = {}
    for label in ("sequence", "parity", "sequence"):
        given["sae"]["cls"]["held_out_by"] = label
        plan = resolve(given)
        (sae,) = plan.names("sae")
        (path,) = (project.folder / "results/.plans").glob(
            groups_name(plan.component("sae", sae)["resolved"]["groups"])
        )
        found.setdefault(label, set()).add(len(np.unique(np.load(path))))
    assert found == {"sequence": {20}, "parity": {4}}  # 18 and 2, and two images without a label


def test_a_wrong_column_of_the_table_is_named_with_the_setting(project):
    given = project.settings()
    given["analysis"]["named"]["labels"]["sequence"]["column"] = "sequense"
    with pytest.raises(UserError, match=r"held_out_by: labels\.sequence\.table: .*sequense"):
        resolve(given)
    given["analysis"]["named"]["labels"]["sequence"] = {"table": "gone.csv"}
    with pytest.raises(UserError, match=r"held_out_by: gone\.csv.* must be there when"):
        resolve(given)


def test_the_directory_depends_on_the_groups_and_not_on_their_names(project):
    names = []
    for prefix in ("seq", "sequence ", "seq"):
        write_sequences(project, prefix)
        (run,) = resolve(project.settings()).runs
        names.append((run["sae"], run["analysis"]))
    assert len({sae for sae, _ in names}) == 1
    assert names[0] == names[2] != names[1]
    table = project.folder / "sequences.csv"
    table.write_text(table.read_text().replace("seq1\n", "seq2\n"))
    (run,) = resolve(project.settings()).runs
    assert run["sae"] != names[0][0]


def test_groups_that_were_damaged_are_found_again_by_the_next_start(project):
    resolve(project.settings())
    (path,) = (project.folder / "results" / PLANS).glob("groups.*.npy")
    whole = path.read_bytes()
    path.write_bytes(whole[:-1] + b"x")
    resolve(project.settings())
    assert path.read_bytes() == whole


@pytest.mark.slow
def test_training_and_analysis_hold_out_the_same_sequences(project):
    project.snakemake()
    (train,) = (project.folder / "results").glob("pets-*/tiny-*/cls-*")
    summary = json.loads((train / "meta.json").read_bytes())["summary"]
    assert summary["n_groups"] == 20  # 18, of which one has 3 images, and 2 images of their own
    held_out = np.load(train / "held_out.npy")
    assert len(held_out) == summary["n_held_out_images"]
    (analysis,) = train.glob("named-*")
    (labels,) = train.parents[1].glob("labels/*/labels.parquet")
    table = pq.read_table(labels).to_pylist()
    sequences = {row["label.sequence"] for row in table if row["row"] in held_out} - {None}
    others = {row["label.sequence"] for row in table if row["row"] not in held_out}
    assert sequences
    assert not sequences & others
    splits = json.loads((analysis / "meta.json").read_bytes())["summary"]["splits"]
    assert splits["held_out"]["n_images"] == len(held_out)
    assert splits["train"]["n_images"] == 90 - len(held_out)
    assert project.python("-m", "saev.tools", "check", "--deep").returncode == 0
    # Other names of the same groups: the dictionary stays.
    write_sequences(project, "other")
    planned = project.planned()
    assert planned["label_images"] == 1
    assert "train_sae" not in planned
    (train / "held_out.npy").write_bytes(b"")
    checked = project.python("-m", "saev.tools", "check")
    assert checked.returncode == 1
    assert "held_out.npy" in checked.stdout
