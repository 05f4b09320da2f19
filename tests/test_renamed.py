"""Results under the former name of an entry."""

from saev.workflow.plan import Plan
from saev.workflow.renamed import renamed

PETS, TINY, CLS, NAMED = "pets-11111111", "tiny-22222222", "cls-33333333", "named-44444444"


def planned(results, *runs):
    levels = ("images", "vit", "sae", "analysis")
    return Plan({"runs": [dict(zip(levels, run, strict=True)) for run in runs]}, str(results))


def complete(folder):
    folder.mkdir(parents=True)
    (folder / "meta.json").touch()


def test_a_directory_of_the_same_settings_that_no_run_uses_is_said_once(tmp_path):
    complete(tmp_path / PETS / TINY)
    (tmp_path / PETS / "meta.json").touch()
    (tmp_path / PETS / "half-22222222").mkdir()
    assert renamed(planned(tmp_path, (PETS, TINY, CLS, NAMED))) == []
    (said,) = renamed(
        planned(
            tmp_path,
            (PETS, "small-22222222", CLS, NAMED),
            (PETS, "small-22222222", "patches-55555555", NAMED),
        )
    )
    former, present = tmp_path / PETS / TINY, tmp_path / PETS / "small-22222222"
    assert said.endswith(f"nothing in it is made again: mv {former} {present}")


def test_a_directory_that_another_run_uses_or_of_other_settings_is_not_said(tmp_path):
    complete(tmp_path / PETS)
    both = planned(tmp_path, (PETS, TINY, CLS, NAMED), ("dogs-11111111", TINY, CLS, NAMED))
    assert renamed(both) == []
    assert renamed(planned(tmp_path, ("pets-99999999", TINY, CLS, NAMED))) == []
