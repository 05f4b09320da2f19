"""What `saev ls`, `gc` and `check` do with evaluations."""

from test_housekeeping import RUN, plan_of, whole

from saev.core.files import sha256_bytes, write_json
from saev.core.meta import write_meta
from saev.tools import garbage, ls
from saev.tools.check import check

NAME = "all-55555555"


def evaluation(analysis, name=NAME, inputs=None):
    """A directory that looks like a complete evaluation."""
    folder = analysis / "evaluations" / name
    folder.mkdir(parents=True)
    (folder / "evaluation.json").write_text('{"figures": []}')
    given = inputs or {"analyze": sha256_bytes((analysis / "meta.json").read_bytes())}
    write_meta(
        folder,
        stage="evaluate",
        name=name,
        settings={},
        inputs=given,
        summary={},
        files=["evaluation.json"],
    )
    write_json(folder / "run.json", {"code": "", "started": "2026-01-02T03:04:05Z"})
    return folder


def planned(results):
    plan = plan_of(results)
    plan.data["components"]["evaluation"] = {NAME: {"settings": {}, "seeds": []}}
    plan.data["runs"][0]["evaluation"] = NAME
    return plan


def test_gc_lists_evaluations_that_no_run_uses(tmp_path):
    analysis = whole(tmp_path)
    evaluation(analysis)
    old = evaluation(analysis, "old-66666666")
    (found,) = garbage.garbage(tmp_path, planned(tmp_path))
    assert found.path == old
    (old.parent / "notes.txt").write_text("mine")
    assert garbage.remove([found]) == []
    assert sorted(p.name for p in old.parent.iterdir()) == [NAME, "notes.txt"]
    assert len(garbage.garbage(tmp_path, plan_of(tmp_path))) == 1


def test_gc_removes_evaluations_with_their_analysis(tmp_path):
    analysis = whole(tmp_path, ("gone-99999999", *RUN[1:]))
    evaluation(analysis)
    whole(tmp_path)
    (found,) = garbage.garbage(tmp_path, planned(tmp_path))
    assert garbage.remove([found]) == []
    assert not analysis.exists()


def test_ls_shows_evaluations_below_their_analysis_and_counts_them_once(tmp_path):
    evaluation(whole(tmp_path))
    entries = ls.listing(tmp_path)
    assert [entry["level"] for entry in entries][-2:] == ["analysis", "evaluation"]
    assert entries[-1]["reached"] == "evaluate"
    assert f"\n        {NAME}  evaluate " in "\n".join(ls.lines(tmp_path, entries))
    total = sum(p.stat().st_size for p in tmp_path.rglob("*") if p.is_file())
    assert sum(entry["bytes"] for entry in entries) == total


def test_check_finds_evaluations_of_another_analysis_or_another_seed(tmp_path):
    analysis = whole(tmp_path)
    other = whole(tmp_path, (*RUN[:2], "seed-77777777", RUN[3])).parent
    inputs = {
        "analyze": sha256_bytes((analysis / "meta.json").read_bytes()),
        "train/seed-77777777": sha256_bytes((other / "meta.json").read_bytes()),
    }
    folder = evaluation(analysis, inputs=inputs)

    def stale():
        return [f.text for f in check(tmp_path)[0] if f.folder == folder]

    assert stale() == []
    write_json(other / "meta.json", {"stage": "train", "changed": True})
    assert [text.split(" has")[0] for text in stale()] == ["its input train/seed-77777777"]
    write_json(analysis / "meta.json", {"stage": "analyze", "changed": True})
    assert len(stale()) == 2
