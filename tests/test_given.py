"""What programs give to a dictionary: taken as it is, or refused with the remedy."""

import numpy as np
import pytest
import torch
from dictionaries import SETTINGS, D, N, make, vectors

from saev.core.errors import UserError
from saev.sae.given import device_of


@pytest.mark.parametrize("architecture", list(SETTINGS))
def test_any_number_of_axes_gives_what_rows_give(architecture):
    sae, x = make(architecture), vectors()[:12]
    z, again = sae.encode(x), sae(x)
    assert torch.equal(sae.encode(x.reshape(3, 4, D)), z.reshape(3, 4, N))
    assert torch.equal(sae(x.reshape(3, 4, D)), again.reshape(3, 4, D))
    assert torch.equal(sae.encode(x[5]), z[5])
    assert sae.decode(z[5]).shape == (D,)
    assert sae.encode(x[:0]).shape == (0, N)
    assert sae.decode(sae.encode(x.reshape(3, 4, D)[:, :0])).shape == (3, 0, D)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_other_floating_point_types_are_encoded_in_float32(dtype):
    sae = make("topk")
    x = vectors().to(dtype)
    assert torch.equal(sae.encode(x), sae.encode(x.float()))
    assert sae.decode(sae.encode(x).half()).dtype == torch.float32


def test_a_gradient_still_reaches_the_activations():
    sae, x = make("relu"), vectors()[:4].reshape(2, 2, D).requires_grad_()
    sae(x).square().sum().backward()
    assert x.grad.abs().sum() > 0


NAN = vectors()[:4]
NAN[2, 0] = float("nan")


@pytest.mark.parametrize(
    ("x", "message"),
    [
        (torch.zeros(4, D - 1), rf"shape \(4, {D - 1}\), but the last size must be {D}"),
        (torch.zeros(2, D, 5), r"give x.movedim\(1, -1\)"),
        (torch.tensor(1.0), r"shape \(\), but"),
        (np.zeros((4, D), np.float32), r"not a ndarray: give torch.from_numpy\(x\)"),
        ([[0.0] * D], r"not a list: give torch.tensor\(x\)"),
        (torch.zeros(4, D, dtype=torch.int64), r"not torch.int64: give x.float\(\)"),
        (NAN, r"NaN or infinite values, first in vector 2 of 4"),
        (torch.full((4, D), float("inf")), "first in vector 0"),
        (torch.zeros(4, D, device="meta"), r"on meta, the dictionary on cpu: give x.to\('cpu'\)"),
    ],
)
def test_what_cannot_be_encoded_is_refused_with_the_remedy(x, message):
    sae = make("topk")
    for call in (sae.encode, sae.active, sae):
        with pytest.raises(UserError, match=f"activations .*{message}"):
            call(x)


def test_what_cannot_be_decoded_is_refused_with_the_remedy():
    sae = make("topk")
    with pytest.raises(UserError, match=f"latents have the shape .* last size must be {N}"):
        sae.decode(torch.zeros(4, D))
    with pytest.raises(UserError, match=rf"active takes vectors \(b, {D}\): give x.reshape"):
        sae.active(torch.zeros(2, 2, D))


@pytest.mark.parametrize("device", ["gpu", "cuda:99", "tpu"])
def test_a_device_that_is_not_there_is_one_line(device):
    begun = f"device: PyTorch can't use '{device}' here: give cpu"
    with pytest.raises(UserError, match=rf"{begun}.* It says: \w+ .* \w+"):
        device_of(device)
    assert device_of("cpu").type == "cpu"
