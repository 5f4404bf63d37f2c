"""The adversarial losses against their formulas, and the gradient penalty against finite differences."""

import numpy as np
import pytest

import tinygrad_hw as tg
from experiments.gan.losses import discriminator_loss, generator_loss, gradient_penalty
from experiments.gan.nets import Discriminator
from tinygrad_hw import Tensor, nn
from tinygrad_hw.random import Stream

DRAW = np.random.default_rng(0)
REAL, FAKE = DRAW.normal(size=(7, 1)), DRAW.normal(size=(5, 1))


def log_sigmoid(x: np.ndarray) -> np.ndarray:
    return -np.logaddexp(0, -x)


@pytest.mark.parametrize("smoothing", [0.0, 0.2])
def test_non_saturating_losses(smoothing: float) -> None:
    target = 1 - smoothing
    of_real = -target * log_sigmoid(REAL) - smoothing * log_sigmoid(-REAL)
    expected = 0.5 * of_real.mean() - 0.5 * log_sigmoid(-FAKE).mean()
    found = discriminator_loss("non-saturating", Tensor(REAL), Tensor(FAKE), smoothing)
    assert found.item() == pytest.approx(expected, rel=1e-12)
    assert generator_loss("non-saturating", Tensor(FAKE)).item() == pytest.approx(-log_sigmoid(FAKE).mean(), rel=1e-12)


def test_wasserstein_losses() -> None:
    found = discriminator_loss("wgan-gp", Tensor(REAL), Tensor(FAKE), 0.3)
    assert found.item() == pytest.approx(FAKE.mean() - REAL.mean(), rel=1e-12)
    assert generator_loss("wgan-gp", Tensor(FAKE)).item() == pytest.approx(-FAKE.mean(), rel=1e-12)


def test_the_generator_learns_from_a_discriminator_that_is_sure() -> None:
    """The saturating loss, log(1 - σ(D)), has a gradient of about e^-30 here."""
    sure = Tensor(np.full((1, 1), -30.0), requires_grad=True)
    assert tg.grad(generator_loss("non-saturating", sure), sure).item() == pytest.approx(-1.0)


def test_penalty_of_a_linear_critic() -> None:
    """Its slope is its weight everywhere: (‖w‖ - 1)², with the gradient 2 (‖w‖ - 1) w / ‖w‖."""
    weight = Tensor(np.array([[3.0], [4.0], [0.0]]), requires_grad=True)
    real, fake, mix = DRAW.normal(size=(6, 3)), DRAW.normal(size=(6, 3)), DRAW.uniform(size=(6, 1))
    penalty = gradient_penalty(lambda x: x @ weight, real, fake, mix)
    assert penalty.item() == pytest.approx(16.0)
    np.testing.assert_allclose(tg.grad(penalty, weight).data, 2 * 4 * weight.data / 5, atol=1e-9)


def test_penalty_looks_between_real_and_generated_pictures() -> None:
    real, fake, mix = np.full((3, 2), 10.0), np.full((3, 2), -10.0), np.array([[0.0], [0.5], [1.0]])
    seen: list[np.ndarray] = []

    def critic(x: Tensor) -> Tensor:
        seen.append(x.detach().numpy())
        return x.sum(axis=1, keepdims=True)

    assert gradient_penalty(critic, real, fake, mix).item() == pytest.approx((np.sqrt(2) - 1) ** 2)
    np.testing.assert_allclose(seen[0], [[-10, -10], [0, 0], [10, 10]])


@pytest.mark.parametrize("smooth", [False, True], ids=["the critic in use", "with tanh"])
def test_penalty_gradient_against_finite_differences(smooth: bool) -> None:
    """By every weight of a small critic, in float64: a derivative of a derivative."""
    net = Discriminator((6, 5, 4), 3, 0.0, Stream(1, "init"), Stream(1, "masks"))
    layers = [nn.Tanh() if smooth and isinstance(layer, nn.LeakyReLU) else layer for layer in net.layers.children()]
    net.layers = nn.Sequential(*layers)
    net.to(dtype=np.float64)
    real, fake, mix = DRAW.normal(size=(8, 6)), DRAW.normal(size=(8, 6)), DRAW.uniform(size=(8, 1))
    condition = np.eye(3)[DRAW.integers(0, 3, 8)]

    def penalty() -> Tensor:
        return gradient_penalty(lambda x: net(x, condition), real, fake, mix)

    gradients = tg.grad(penalty(), list(net.parameters()), allow_unused=True)
    step, checked = 1e-6, 0
    for (name, parameter), gradient in zip(net.named_parameters(), gradients, strict=True):
        found = np.zeros(parameter.shape) if gradient is None else gradient.numpy()
        expected = np.zeros(parameter.shape)
        values = parameter.detach().numpy().copy()
        for index in np.ndindex(values.shape):
            sides = []
            for sign in (1, -1):
                moved = values.copy()
                moved[index] += sign * step
                parameter.data = moved
                sides.append(penalty().item())
            expected[index] = (sides[0] - sides[1]) / (2 * step)
        parameter.data = values
        np.testing.assert_allclose(found, expected, rtol=1e-6, atol=1e-8, err_msg=name)
        checked += int((np.abs(expected) > 1e-6).sum())
    # A leaky critic is made of planes: its slope depends on the 30 + 20 + 4 weights that lead from pixels to output.
    assert checked >= (70 if smooth else 54)


def test_penalty_of_a_critic_without_slope_is_finite() -> None:
    weight = Tensor(np.zeros((2, 1)), requires_grad=True)
    penalty = gradient_penalty(lambda x: x @ weight, np.ones((3, 2)), np.zeros((3, 2)), np.full((3, 1), 0.5))
    assert penalty.item() == pytest.approx(1.0, abs=1e-5)
    assert np.isfinite(tg.grad(penalty, weight).data).all()


def test_losses_keep_float32() -> None:
    real, fake = (Tensor(array.astype(np.float32)) for array in (REAL, FAKE))
    for loss in ("non-saturating", "wgan-gp"):
        assert discriminator_loss(loss, real, fake, 0.1).dtype == np.float32  # type: ignore[arg-type]
        assert generator_loss(loss, fake).dtype == np.float32  # type: ignore[arg-type]
    net = Discriminator((4, 3), 0, 0.0, Stream(0, "init"), Stream(0, "masks"))
    ones = np.ones((2, 4), np.float32)
    assert gradient_penalty(lambda x: net(x, None), ones, -ones, ones[:, :1]).dtype == np.float32
