"""Losses of dictionaries and their gradients, held to the plain dense way."""

import pytest
import torch
from dictionaries import SELECTING, SETTINGS, D, N, dense_topk, make, vectors

from saev.sae import codes as sparse_codes
from saev.sae import kernels
from saev.sae.codes import Codes, attach, reconstruct


@pytest.fixture(params=list(SETTINGS))
def architecture(request):
    return request.param


def plain_aux(sae, pre, residual, dead, W_dec):
    late = torch.full_like(pre, -torch.inf)
    late[:, dead] = pre[:, dead]
    z = dense_topk(late, min(sae.settings.aux_k, len(dead)))
    return sae.settings.aux_coefficient * (residual.detach() - z @ W_dec).square().mean()


def plain_latents(sae, pre):
    """Latents in a training step."""
    if "batchtopk" in type(sae).__name__.lower():
        flat = pre.flatten()
        chosen = flat.topk(sae.settings.k * len(pre)).indices
        return torch.zeros_like(flat).scatter(0, chosen, flat[chosen].relu()).view_as(pre)
    return dense_topk(pre, sae.settings.k)


def plain_selecting(sae, u, dead):
    W_dec = sae.dictionary()
    pre = (u - sae.b_dec) @ sae.W_enc + sae.b_enc
    z = plain_latents(sae, pre)
    residual = u - z @ W_dec - sae.b_dec
    errors = []
    for width in getattr(sae.settings, "widths", [N]):
        inner = z[:, :width]
        if hasattr(sae.settings, "widths") and "batch" not in type(sae).__name__.lower():
            inner = dense_topk(pre[:, :width], sae.settings.k)
        errors.append((u - inner @ W_dec[:width] - sae.b_dec).square().mean())
    return torch.stack(errors).mean() + plain_aux(sae, pre, residual, dead, W_dec)


def plain_relu(sae, u, dead):
    pre = (u - sae.b_dec) @ sae.W_enc + sae.b_enc
    z = pre.relu()
    residual = u - z @ sae.W_dec - sae.b_dec
    # Step 4 of a warm-up of 10.
    loss = residual.square().mean() + sae.settings.l1 * 0.4 * z.sum(dim=1).mean()
    lifted = torch.where(pre > 0, pre + 1, pre.exp())
    return loss + plain_aux(sae, lifted, residual, dead, sae.W_dec) if sae.settings.aux_k else loss


def plain_jumprelu(sae, u, dead):
    """With the estimated gradients written as products with constants, equations 11 and 12."""
    pre = (u - sae.b_dec) @ sae.W_enc + sae.b_enc
    theta = sae.log_threshold.exp()
    on = (pre > theta).double()
    window = (
        (pre - theta).abs() < sae.settings.bandwidth / 2
    ).double().detach() / sae.settings.bandwidth
    z = pre * on - (window * theta.detach()) * (theta - theta.detach())
    count = on - window * (theta - theta.detach())
    residual = u - z @ sae.W_dec - sae.b_dec
    loss = residual.square().mean() + sae.settings.sparsity * 0.4 * count.sum(dim=1).mean()
    return loss + plain_aux(sae, pre, residual, dead, sae.W_dec)


def at_most(architecture, k):
    """``k``, or the first width of a nested dictionary, which can't have more active latents."""
    return min(k, 10) if architecture.startswith("matryoshka") else k


@pytest.mark.parametrize("sparse", [False, True])
@pytest.mark.parametrize("b", [1, 9, 64])
@pytest.mark.parametrize("k", [1, 5, 10, N])
def test_the_loss_and_its_gradients_equal_plain_autograd_in_float64(
    architecture, b, k, sparse, monkeypatch
):
    # How relu and jumprelu compute; the others are always sparse.
    monkeypatch.setattr(sparse_codes, "SPARSE_SHARE", float(sparse))
    sae = make(architecture, k=at_most(architecture, k)).double()
    u = vectors(b).double()
    u[0] = 0
    dead = torch.tensor([1, 4, 7, 8, 20, 21, 22, 39])
    plain = {"relu": plain_relu, "relu-aux": plain_relu, "jumprelu": plain_jumprelu}
    losses = (
        sae.loss(u, 4, dead).terms.loss,
        plain.get(architecture, plain_selecting)(sae, u, dead),
    )
    torch.testing.assert_close(*losses, rtol=1e-12, atol=1e-12)
    ours, theirs = (torch.autograd.grad(loss, list(sae.parameters())) for loss in losses)
    for mine, other in zip(ours, theirs, strict=True):
        torch.testing.assert_close(mine, other, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("name", [*SELECTING, "relu", "relu-aux"])
@pytest.mark.parametrize(("k", "d"), [(1, D), (10, D), (10, 7), (N, 13)])
def test_a_float32_step_equals_a_float64_step_to_rounding(name, k, d, monkeypatch):
    k = at_most(name, k)
    monkeypatch.setattr(sparse_codes, "SPARSE_SHARE", 1.0)
    sae, exact = make(name, d, k=k), make(name, d, k=k).double()
    dead = torch.arange(3)
    u = vectors(33, d)
    u[3] = 0
    found, expected = (s.loss(x, 1, dead).terms.loss for s, x in ((sae, u), (exact, u.double())))
    torch.testing.assert_close(found.double(), expected, rtol=1e-5, atol=1e-5)
    ours = torch.autograd.grad(found, list(sae.parameters()))
    theirs = torch.autograd.grad(expected, list(exact.parameters()))
    for mine, other in zip(ours, theirs, strict=True):
        torch.testing.assert_close(mine.double(), other, rtol=1e-3, atol=1e-4)


def test_the_auxiliary_loss_reaches_the_encoder_of_dead_latents_alone():
    sae, u = make("topk"), vectors()
    dead = torch.arange(8)
    with torch.no_grad():
        sae.b_enc[:8] -= 30
        sae.b_enc[0] += 30.1  # positive, but hardly ever among the first k
    forward = sae.loss(u, 0, dead)
    (with_aux,) = torch.autograd.grad(forward.terms.loss, sae.W_enc)
    sae.settings = sae.settings.model_copy(update={"aux_coefficient": 0.0})
    (without,) = torch.autograd.grad(sae.loss(u, 0, dead).terms.loss, sae.W_enc)
    changed = (with_aux != without).any(dim=0)
    assert changed[0]
    assert not changed[8:].any()


@pytest.mark.parametrize("name", [name for name, given in SETTINGS.items() if given.get("aux_k")])
def test_the_auxiliary_loss_is_the_same_with_dense_products(name, monkeypatch):
    sae, u = make(name).double(), vectors().double()
    dead = torch.tensor([0, 3, 4, 9, 11])
    with torch.no_grad():
        sae.b_enc[dead] -= 1
    found = []
    for limit in (0, len(dead)):
        monkeypatch.setattr(kernels.of(u), "DENSE_DEAD", limit)
        terms = sae.loss(u, 0, dead).terms
        found.append((terms.aux, torch.autograd.grad(terms.loss, list(sae.parameters()))))
    (aux, grads), (dense_aux, dense_grads) = found
    assert aux > 0
    torch.testing.assert_close(aux, dense_aux, rtol=1e-10, atol=1e-12)
    for sparse, dense in zip(grads, dense_grads, strict=True):
        torch.testing.assert_close(sparse, dense, rtol=1e-9, atol=1e-12)


def test_the_sparse_parts_pass_gradcheck():
    generator = torch.Generator().manual_seed(0)
    u = torch.randn(6, 5, generator=generator, dtype=torch.float64)
    weights = [
        torch.randn(shape, generator=generator, dtype=torch.float64, requires_grad=True)
        for shape in ((5, 9), (9,), (9, 5), (5,))
    ]

    def autoencode(encoder, bias, decoder, decoder_bias):
        pre = ((u - decoder_bias) @ encoder + bias).detach()
        codes = Codes(*kernels.of(pre).largest(pre, 3), 9)
        codes = attach(codes, u, encoder, bias, decoder_bias)
        return reconstruct(codes, u, decoder, decoder_bias)[0]

    assert torch.autograd.gradcheck(autoencode, weights)


def test_sums_by_latent_do_not_depend_on_threads():
    generator = torch.Generator().manual_seed(0)
    codes = Codes(*kernels.cpu.largest(torch.randn(700, 50, generator=generator), 5), 50)
    rows = torch.randn(700, 19, generator=generator)
    found = []
    before = torch.get_num_threads()
    for threads in (1, 2, 3):
        torch.set_num_threads(threads)
        found.append(kernels.cpu.sum_by_latent(codes.order, codes.values, rows))
    torch.set_num_threads(before)
    assert torch.equal(found[0], found[1])
    assert torch.equal(found[0], found[2])
