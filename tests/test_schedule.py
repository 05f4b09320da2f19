"""The learning rate, step by step, against values worked out by hand."""

import pytest
from trained import TOPK, read

from saev.train.schedule import learning_rate
from saev.train.stopping import is_spent


def rates(n_steps, **changes):
    settings = read(TOPK, lr=2.0, **changes)
    return [learning_rate(settings, step, n_steps) for step in range(n_steps)]


def test_the_rate_rises_in_equal_parts_and_stays():
    assert rates(6, warmup_steps=4) == [0.5, 1.0, 1.5, 2.0, 2.0, 2.0]
    assert rates(3, warmup_steps=0) == [2.0, 2.0, 2.0]


def test_a_line_falls_to_zero_in_the_step_after_the_last():
    assert rates(4, warmup_steps=0, schedule="linear") == [2.0, 1.5, 1.0, 0.5]


def test_decay_starts_after_its_share_and_ends_at_its_share_of_the_rate():
    # From step 4 of 8: falls by 1.5 in four steps.
    found = rates(8, warmup_steps=2, schedule="linear", decay_from=0.5, lr_end=0.25)
    assert found == [1.0, 2.0, 2.0, 2.0, 2.0, 1.625, 1.25, 0.875]


def test_decay_starts_after_the_warm_up_at_the_earliest():
    assert rates(6, warmup_steps=2, schedule="linear") == [1.0, 2.0, 2.0, 1.5, 1.0, 0.5]


def test_a_cosine_is_half_of_one():
    root = 2**0.5 / 2
    expected = [2.0, 1 + root, 1.0, 1 - root]
    assert rates(4, warmup_steps=0, schedule="cosine") == pytest.approx(expected, rel=1e-15)
    raised = rates(4, warmup_steps=0, schedule="cosine", lr_end=0.5)
    assert raised == pytest.approx([1 + 0.5 * rate for rate in expected], rel=1e-15)


def test_a_warm_up_longer_than_the_training_is_all_there_is():
    for schedule in ("cosine", "linear"):
        assert rates(3, warmup_steps=8, schedule=schedule) == [0.25, 0.5, 0.75]


@pytest.mark.parametrize(
    ("figures", "patience", "share", "spent"),
    [
        ([], 1, 0.0, False),
        ([1.0], 1, 0.0, False),
        ([1.0, 1.0], 1, 0.0, True),
        ([1.0, 0.99], 1, 0.0, False),
        ([1.0, 0.99], 1, 0.02, True),
        ([1.0, 0.97], 1, 0.02, False),
        ([1.0, 0.99, 0.975], 2, 0.02, False),  # two small steps together are an improvement
        ([1.0, 1.1, 0.9, 1.0], 2, 0.0, False),
        ([1.0, 1.1, 0.9, 1.0, 0.9], 2, 0.0, True),
        ([1.0, None, None], 1, 0.0, False),
    ],
)
def test_patience_is_spent_by_evaluations_without_improvement(figures, patience, share, spent):
    assert is_spent(figures, patience, share) == spent
