"""The optimiser: Adam, with the decoder's rows kept at norm 1 in the same pass."""

import torch
from torch import Tensor, nn

from saev.sae import Sae, kernels

MOMENTS = ("exp_avg", "exp_avg_sq")


class Adam:
    """Adam on one dictionary (Kingma and Ba 2014, arXiv 1412.6980): β = 0.9, 0.999; ε = 1e-8.

    Rows of ``W_dec`` have norm 1 before and after a step: the part of their gradient that would
    only change the norm is removed.

    Args:
        sae: the dictionary, on its device.

    Attributes:
        moments: (mean, mean of squares) of each parameter's gradient, with the parameter's layout
            in memory.
    """

    def __init__(self, sae: Sae) -> None:
        self.rate_of = sae.rate_of
        self.parameters: dict[str, nn.Parameter] = dict(sae.named_parameters())
        self.moments: dict[str, tuple[Tensor, Tensor]] = {
            name: (torch.zeros_like(p), torch.zeros_like(p)) for name, p in self.parameters.items()
        }

    @torch.no_grad()
    def step(self, number: int, rate: float, scale: float | Tensor = 1.0) -> None:
        """Update the weights from their gradients, then clear the gradients.

        Args:
            number: the number of this step, from 1.
            rate: learning rate, which is multiplied by `Sae.rate_of`.
            scale: factor for all gradients.
        """
        for name, parameter in self.parameters.items():
            if parameter.grad is not None:
                kernels.of(parameter).adam(
                    parameter,
                    parameter.grad,
                    *self.moments[name],
                    rate=rate * self.rate_of(name),
                    step=number,
                    scale=scale,
                    unit_rows=name == "W_dec",
                )
                parameter.grad = None

    def tensors(self) -> dict[str, Tensor]:
        """The moments by name."""
        return {
            f"adam.{name}.{kind}": moment
            for name, moments in self.moments.items()
            for kind, moment in zip(MOMENTS, moments, strict=True)
        }
