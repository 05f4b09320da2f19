"""Latents divided among processes: what they select together is what one would."""

from threading import Barrier, Thread

import pytest
import torch

from saev.sae.base import mean_square
from saev.sae.codes import Codes, reconstruct, reconstruct_dense
from saev.sae.divided import own, part_of
from saev.sae.divided_selection import largest_of_batch, largest_of_vectors
from saev.sae.kernels import plain


class Threads:
    """Stand-ins for processes: threads that meet to sum."""

    def __init__(self, size):
        self.size, self.barrier, self.given = size, Barrier(size, timeout=30), [None] * size

    def run(self, action):
        """What ``action(across)`` returns in each."""
        found = [None] * self.size

        def one(rank):
            found[rank] = action(Member(self, rank))

        threads = [Thread(target=one, args=(rank,)) for rank in range(self.size)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        return found


class Member:
    def __init__(self, threads, rank):
        self.threads, self.rank, self.size = threads, rank, threads.size

    def sum(self, tensor):
        self.threads.given[self.rank] = tensor.clone()
        self.threads.barrier.wait()
        tensor.copy_(sum(self.threads.given))
        self.threads.barrier.wait()
        return tensor


def dense(codes, n):
    z = torch.zeros(codes.n_vectors, n, dtype=codes.values.dtype)
    z[codes.vectors, codes.latents] = codes.values
    return z


def together(pre, size, select):
    """(b, n), what ``select(own columns, across)`` keeps in all of ``size`` processes."""

    def one(across):
        part = part_of(pre, 1, across).contiguous()
        return dense(select(part, across), part.shape[1])

    return torch.stack(Threads(size).run(one), dim=2).flatten(1)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("k", [1, 3, 7, 40])
@pytest.mark.parametrize("size", [2, 3])
def test_processes_select_the_largest_latents_of_all(size, k, dtype):
    pre = torch.randn(9, 24, dtype=dtype, generator=torch.Generator().manual_seed(k))
    pre[0] = -1
    pre[1, 1:] = -1
    pre[2] *= 1e-30
    pre[3] *= 1e30

    def of_vectors(part, across):
        found = plain.largest(part, min(k, part.shape[1]))
        return largest_of_vectors(Codes.of(found, part.shape[1]), k, across)

    def of_batch(part, across):
        found = plain.largest_of_all(part, min(9 * k, part.numel()))
        return largest_of_batch(Codes.of(found, part.shape[1]), 9 * k, across)

    alone = dense(Codes.of(plain.largest(pre, min(k, 24)), 24), 24)
    assert torch.equal(together(pre, size, of_vectors), alone)
    alone = dense(Codes.of(plain.largest_of_all(pre, min(9 * k, pre.numel())), 24), 24)
    assert torch.equal(together(pre, size, of_batch), alone)


def test_of_equal_latents_processes_keep_as_many_as_one_would():
    pre = torch.tensor([[2.0, 1, 1, 1, 1, 1, 3, 0], [1, 1, 1, 1, 1, 1, 1, 1]])

    def select(part, across):
        found = plain.largest(part, min(4, part.shape[1]))
        return largest_of_vectors(Codes.of(found, part.shape[1]), 4, across)

    kept = together(pre, 2, select)
    # The first process has the columns 0, 2, 4 and 6.
    assert torch.equal(kept[0], torch.tensor([2.0, 0, 1, 0, 1, 0, 3, 0]))
    assert torch.equal(kept[1], torch.tensor([1.0, 0, 1, 0, 1, 0, 1, 0]))


def test_unused_space_of_a_gpus_codes_is_not_selected():
    def select(across):
        starts, latents = torch.tensor([0, 1, 2]), torch.tensor([0, 1, 2, 2])
        values = torch.tensor([1.0, 2, 0, 0])
        codes = Codes(starts, latents, values, 2)
        return largest_of_vectors(codes, 1, across), largest_of_batch(codes, 3, across)

    found = Threads(2).run(select)
    assert [each.values.tolist() for each, _ in found] == [[1, 2], []]
    assert [of_all.values.tolist() for _, of_all in found] == [[1, 2], [2]]


def test_each_process_has_its_share_of_every_prefix():
    for width in range(3, 13):
        parts = [own(width, Member(Threads(3), rank)) for rank in range(3)]
        assert sum(parts) == width
        assert max(parts) - min(parts) <= 1


@pytest.mark.parametrize("dense_in", [(0,), (1,), (0, 1), ()])
def test_the_reconstruction_is_the_same_whichever_processes_have_few_active_latents(dense_in):
    """Whether codes are sparse or dense is chosen by each process from its own latents."""
    random = torch.Generator().manual_seed(0)
    z = torch.randn(5, 6, generator=random, dtype=torch.float64).relu()
    W_dec = torch.randn(6, 3, generator=random, dtype=torch.float64)
    b_dec = torch.randn(3, generator=random, dtype=torch.float64)
    u = torch.randn(5, 3, generator=random, dtype=torch.float64)

    def one(across):
        own_z, own_dec = part_of(z, 1, across), part_of(W_dec, 0, across).requires_grad_()
        bias = b_dec.clone().requires_grad_()
        if across.rank in dense_in:
            made = reconstruct_dense(own_z, own_dec, bias, across)
            mse, residual = mean_square(u, made)
        else:
            codes = Codes.of(plain.above(own_z, torch.zeros((), dtype=z.dtype)), own_z.shape[1])
            mse, residual = reconstruct(codes, u, own_dec, bias, across)
        mse.backward()
        given = bias.grad if bias.grad is not None else torch.zeros_like(bias)
        return mse.detach(), residual, own_dec.grad, across.sum(given.clone())

    alone_dec, alone_bias = W_dec.clone().requires_grad_(), b_dec.clone().requires_grad_()
    residual = u - (z @ alone_dec + alone_bias)
    residual.square().mean().backward()
    for rank, (mse, left, grad, grad_bias) in enumerate(Threads(2).run(one)):
        torch.testing.assert_close(left, residual.detach(), rtol=1e-12, atol=1e-12)
        torch.testing.assert_close(mse, residual.detach().square().mean(), rtol=1e-12, atol=0)
        torch.testing.assert_close(grad, alone_dec.grad[rank::2], rtol=1e-12, atol=1e-12)
        torch.testing.assert_close(grad_bias, alone_bias.grad, rtol=1e-12, atol=1e-12)
