"""What the two nets want: the non-saturating loss, and Wasserstein's with a penalty on the critic's gradient.

Sources: I. Goodfellow and others, "Generative adversarial nets", NeurIPS 2014; M. Arjovsky, S. Chintala, L. Bottou,
"Wasserstein generative adversarial networks", ICML 2017; I. Gulrajani and others, "Improved training of Wasserstein
GANs", NeurIPS 2017.
"""

from collections.abc import Callable
from typing import Literal

import tinygrad_hw as tg
from tinygrad_hw import Tensor
from tinygrad_hw import functional as F
from tinygrad_hw.backend import Array

Loss = Literal["non-saturating", "wgan-gp"]


def discriminator_loss(loss: Loss, real: Tensor, fake: Tensor, smoothing: float = 0.0) -> Tensor:
    """What the discriminator, or critic, minimises; without the gradient penalty.

    Non-saturating: -E log σ(D(x)) - E log(1 - σ(D(G(z)))), as mean of the two halves (Goodfellow and others 2014,
    equation 1, with the sign turned). wgan-gp: E D(G(z)) - E D(x) (Gulrajani and others 2017, equation 3).

    Args:
        loss: which.
        real, fake: D's output without a sigmoid, N x 1 and M x 1.
        smoothing: one-sided; real digits have the target 1 - smoothing (T. Salimans and others, "Improved techniques
            for training GANs", NeurIPS 2016, section 3.4). Without effect in wgan-gp.
    """
    if loss == "wgan-gp":
        return fake.mean() - real.mean()
    halves = [
        F.binary_cross_entropy_with_logits(real, 1.0 - smoothing),
        F.binary_cross_entropy_with_logits(fake, 0.0),
    ]
    return 0.5 * (halves[0] + halves[1])


def generator_loss(loss: Loss, fake: Tensor) -> Tensor:
    """What the generator minimises.

    Non-saturating: -E log σ(D(G(z))), whose gradient does not vanish where D is sure of itself (Goodfellow and others
    2014, section 3). wgan-gp: -E D(G(z)).

    Args:
        loss: which.
        fake: D's output without a sigmoid, N x 1.
    """
    if loss == "wgan-gp":
        return -fake.mean()
    return F.binary_cross_entropy_with_logits(fake, 1.0)


def gradient_penalty(critic: Callable[[Tensor], Tensor], real: Array, fake: Array, mix: Array) -> Tensor:
    """E (‖∂D(x̂)/∂x̂‖ - 1)² at x̂ = ε x + (1 - ε) G(z): Gulrajani and others 2017, equation 3, without λ.

    The result can be differentiated by the critic's parameters: the gradient inside is recorded.

    Args:
        critic: from N x pixels to N x 1, each row by itself; it may know the rows' conditions.
        real, fake: pictures, N x pixels; constants.
        mix: ε, N x 1, from 0 to 1, a share for each pair.
    """
    between = Tensor(fake + mix * (real - fake), requires_grad=True)
    slope = tg.grad(critic(between).sum(), between, create_graph=True)
    # The slope of the square root is infinite at 0, where a critic without slope may stand: 1e-12 keeps it finite.
    lengths = F.sqrt(F.square(slope).sum(axis=1) + 1e-12)
    return F.square(lengths - 1.0).mean()
