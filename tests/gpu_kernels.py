"""Steps on a GPU and what they are made of, against plain torch and steps on a CPU; runs as
`triton_kernels.py` does."""

from contextlib import nullcontext

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from triton_kernels import DEVICE, close, codes, draw

from saev import sae as saes
from saev.sae import kernels as chosen
from saev.sae.kernels import cpu, gpu, plain, selection

EVERY = {
    "topk": {"k": 5},
    "batchtopk": {"k": 35},  # more than are positive
    "matryoshka": {"k": 5, "widths": [20, 40]},
    "matryoshka over topk": {"k": 5, "widths": [20, 40], "over": "topk"},
    "archetypal": {"k": 5, "n_points": 30},
    "relu": {"l1": 0.01},
    "jumprelu": {"sparsity": 0.01, "bandwidth": 0.5, "initial_threshold": 0.1},
}


def trainer_of(name, monkeypatch, kernel, device):
    """A trainer of a small dictionary with these kernels, that takes some of its latents for
    dead."""
    for library in ("pydantic", "beartype"):  # kernels alone do without
        pytest.importorskip(library)
    from saev.core.spec import parsed
    from saev.settings.sae import AnySaeSettings
    from saev.train.trainer import Trainer

    settings = parsed(AnySaeSettings, 
        {
            "architecture": name.split()[0], "tokens": "pooled", "n_latents": 40, **EVERY[name],
            "aux_k": 9, "aux_coefficient": 0.5, "dead_after": 10, "batch_size": 4, "epochs": 1.0,
            "lr": 0.01, "clip_norm": 0.05,
        }
    )  # fmt: skip
    monkeypatch.setattr(chosen, "of", lambda _: kernel)
    sae = saes.build(settings, 33, torch.Generator().manual_seed(0))
    trainer = Trainer(sae.to(device), n_steps=14, mean=torch.zeros(33).numpy())
    trainer.silent[30:] = 10
    return trainer


@pytest.mark.parametrize(
    ("name", "dense_dead"), [*((name, 8192) for name in EVERY), ("topk", 0), ("relu", 0)]
)
def test_steps_with_them_equal_steps_on_a_cpu_and_do_not_wait_for_the_device(
    name, dense_dead, monkeypatch
):
    # Without the rounding of factors, on which hangs what is selected.
    monkeypatch.setattr(gpu, "HALF", torch.float32)
    monkeypatch.setattr(gpu, "DENSE_DEAD", dense_dead)
    batches = [draw(4, 33, seed=step).cpu().numpy() for step in range(3)]
    trained = []
    for kernel, device in ((cpu, "cpu"), (gpu, DEVICE)):
        trainer = trainer_of(name, monkeypatch, kernel, device)
        forwards = [trainer.train(batches[0])[1]]  # looks for dead latents, and waits
        assert len(trainer.dead_latents) == 10
        with NoWaiting() if kernel is gpu else nullcontext():
            forwards += [trainer.train(batch)[1] for batch in batches[1:]]
        # Dead latents took part.
        assert all(forward.terms.aux not in (0, 1) for forward in forwards)
        assert all(tensor.device.type == device for tensor in trainer.tensors().values())
        trained.append(
            [
                *trainer.tensors().values(),
                *(part for f in forwards for part in (*f.terms, f.residual, f.n_active, f.fired)),
            ]
        )
    for one, other in zip(*trained, strict=True):
        torch.testing.assert_close(one.detach().cpu(), other.detach().cpu(), rtol=1e-3, atol=1e-4)


class NoWaiting(TorchDispatchMode):
    """Refuses what makes the host wait for a GPU's numbers: by name without a GPU, by PyTorch's own
    check on one."""

    WAITING = (
        "_local_scalar_dense", "nonzero", "masked_select", "bincount", "repeat_interleave", "unique"
    )  # fmt: skip

    def __enter__(self):
        if DEVICE == "cuda":
            torch.cuda.set_sync_debug_mode("error")
        return super().__enter__()

    def __exit__(self, *given):
        if DEVICE == "cuda":
            torch.cuda.set_sync_debug_mode("default")
        return super().__exit__(*given)

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        name = function.overloadpacket.__name__
        assert not name.startswith(self.WAITING), name
        if name in ("index", "index_put", "index_put_"):
            assert all(i is None or i.dtype != torch.bool for i in args[1]), name
        return function(*args, **(kwargs or {}))


@pytest.mark.parametrize(
    "wait",
    [
        lambda x: x[x > 0],
        lambda x: float(x.sum()),
        lambda x: (x > 0).nonzero(),
        lambda x: torch.repeat_interleave((x > 0).long()),
    ],
    ids=["mask", "item", "nonzero", "repeat"],
)
def test_waiting_would_be_seen(wait):
    with pytest.raises((AssertionError, RuntimeError)), NoWaiting():
        wait(draw(5))


@pytest.mark.parametrize("by_column", [True, False], ids=["by column", "by row"])
@pytest.mark.parametrize(("b", "p", "q"), [(9, 33, 20), (3, 8, 5), (2, 1, 1)])
def test_products_are_of_bfloat16_numbers_with_all_bits_of_the_bias(b, p, q, by_column):
    shapes = [(b, p), (p, q), (q,), (p,), (b, q)]
    x, weight, bias, centre, grad = (draw(*shape, seed=i) for i, shape in enumerate(shapes))
    weight = weight.T.contiguous().T if by_column else weight
    given = [t.clone().requires_grad_(True) for t in (x, weight, bias, centre)]
    ours = gpu.affine(*given)
    ours.backward(grad)
    grad_centre = -(weight.double() @ grad.double().sum(dim=0))
    x, weight, half = (t.bfloat16().double() for t in (x - centre, weight, grad))
    expected = x @ weight + bias.double()
    close(ours, expected)
    out = torch.empty_like(ours)
    close(gpu.encode(*(t.detach() for t in given), out), expected)
    close(given[0].grad, half @ weight.T)
    close(given[1].grad, x.T @ half)
    close(given[2].grad, grad.double().sum(dim=0))
    close(given[3].grad, grad_centre)
    assert given[1].grad.stride() == given[1].stride()


def test_codes_are_multiplied_with_bfloat16_numbers():
    (starts, latents, values), weight, u = codes(7, 20, unused=0), draw(20, 33), draw(7, 33)
    bias = draw(33, seed=1)
    residual, sums, products = gpu.reconstruct(starts, latents, values, weight, bias, u)
    half = weight.bfloat16().float()
    close(residual, plain.reconstruct(starts, latents, values, half, bias, u)[0])
    close(sums, residual.square().sum(dim=1))
    rows = torch.repeat_interleave(starts.diff())
    rounded = residual.bfloat16().float()
    close(products, (rounded[rows] * half[latents]).sum(dim=1))
    order = gpu.by_latent(starts, latents, 20)
    close(
        gpu.sum_by_latent(order, values, u),
        plain.sum_by_latent(order, values, u.bfloat16().float()),
    )


def test_a_mean_far_from_zero_costs_no_precision():
    weight, bias, centre = draw(64, 20, seed=1), draw(20, seed=2), draw(64) * 0
    u = (draw(9, 64) * 16).round() / 16  # exact in float32 also when 512 is added
    near, far = torch.empty(9, 20, device=DEVICE), torch.empty(9, 20, device=DEVICE)
    gpu.encode(u, weight, bias, centre, near)
    gpu.encode(u + 512, weight, bias, centre + 512, far)
    assert torch.equal(near, far)


def test_a_product_with_nothing_else_gives_the_bias_as_it_is():
    bias = torch.tensor([0.0, 1 / 3, -1e-20, 1 + 2**-23, 12345.678], device=DEVICE)
    assert torch.equal(gpu.affine(draw(4, 6) * 0, draw(6, 5), bias), bias.expand(4, 5))


def roomless(found):
    """Codes without the room behind them, which must be of latent n and 0."""
    m = int(found[0][-1])
    assert (found[1][m:] == N_ROOM).all()
    assert not found[2][m:].any()
    return found[0], found[1][:m], found[2][:m]


N_ROOM = 40


NORMAL, DOWN = draw(7, N_ROOM), 9 * torch.arange(7, device=DEVICE)[:, None]
LEAST = 1e-45
MATRICES = {
    "random": NORMAL,
    "with a row without any positive": torch.cat([NORMAL[:2], -NORMAL[2:3].abs(), NORMAL[3:]]),
    "of few distinct numbers": (NORMAL * 2).round(),
    "of equal ones": torch.ones_like(NORMAL),
    "of zeros": torch.zeros_like(NORMAL),
    "of negative zeros and the least float": torch.where(NORMAL > 1.5, LEAST, -0.0),
    "where the first row has all": NORMAL - DOWN,
    "where the last row has all": NORMAL - DOWN.flip(0),
    "with infinity": torch.where(NORMAL > 1.5, torch.inf, NORMAL),
}


@pytest.mark.parametrize("many", [gpu.MANY, 1], ids=["at once", "in groups"])
@pytest.mark.parametrize("m", [1, 3, 8, 30, 69, 90, 200, 7 * N_ROOM])
@pytest.mark.parametrize("pre", MATRICES.values(), ids=MATRICES)
def test_the_largest_of_a_matrix_are_the_first_of_a_sort_with_room_behind_them(
    pre, m, many, monkeypatch
):
    monkeypatch.setattr(gpu, "MANY", many)
    with NoWaiting():
        found = gpu.largest_of_all(pre, m)
    assert len(found[1]) == len(found[2]) == m
    expected = selection.largest_of_all(pre.cpu(), m)
    assert all(torch.equal(a.cpu(), b) for a, b in zip(roomless(found), expected, strict=True))


@pytest.mark.parametrize("n", [1 << 20, 1 << 31])
def test_numbers_that_count_elements_are_large_enough_for_them(n):
    """Of a tensor without memory: more elements than int32 counts take 8 GB."""
    made = []

    class Counts(TorchDispatchMode):
        def __torch_dispatch__(self, function, types, args=(), kwargs=None):
            found = function(*args, **(kwargs or {}))
            if function.overloadpacket.__name__ == "cumsum":
                made.append(torch.iinfo(found.dtype).max)
            return found

    with Counts():
        gpu._first_largest(torch.empty(n, device="meta"), 7, 0.0)
    assert len(made) == 2
    assert min(made) >= n


@pytest.mark.parametrize("many", [gpu.MANY, 1], ids=["at once", "in groups"])
def test_a_nan_is_among_the_largest_of_a_matrix(many, monkeypatch):
    monkeypatch.setattr(gpu, "MANY", many)
    pre = draw(7, N_ROOM)
    large = pre.clone()
    pre[1, 4] = pre[5, 6] = torch.nan
    large[1, 4] = large[5, 6] = torch.inf
    found, expected = gpu.largest_of_all(pre, 8), gpu.largest_of_all(large, 8)
    assert all(map(torch.equal, found[:2], expected[:2]))
    assert found[2].isnan().sum() == 2
    assert torch.equal(found[2].nan_to_num(torch.inf, torch.inf), expected[2])


def test_entries_that_are_kept_move_together_and_leave_room_behind():
    starts, latents, values = codes(7, N_ROOM)
    m = int(starts[-1])
    for kept in (values > 1, latents < 13, values > 9, values > -1):
        found = gpu.keep(starts, latents, values, kept, N_ROOM)
        assert len(found[1]) == len(latents)
        expected = plain.keep(starts, latents[:m], values[:m], kept[:m], N_ROOM)
        assert all(map(torch.equal, roomless(found), expected))


def test_joined_codes_have_no_room_between_them():
    parts = [codes(7, N_ROOM), codes(4, 13), codes(2, N_ROOM, unused=0)]
    ends = [int(part[0][-1]) for part in parts]
    bare = [(s, at[:m], v[:m]) for (s, at, v), m in zip(parts, ends, strict=True)]
    expected = plain.joined(bare, N_ROOM)
    found = roomless(gpu.joined(parts, N_ROOM))
    assert all(map(torch.equal, found, expected))
    assert found[0].diff().tolist() == [n for part in parts for n in part[0].diff().tolist()]
