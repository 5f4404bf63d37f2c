"""How two nets learn from each other: one step of both, and the running mean of the generator's weights."""

from collections.abc import Callable
from dataclasses import dataclass, fields
from typing import Any

import tinygrad_hw as tg
from experiments.harness import Run
from experiments.harness.errors import UserError
from tinygrad_hw import Tensor, optim
from tinygrad_hw import functional as F
from tinygrad_hw.backend import Array, array_module

from .losses import Loss, discriminator_loss, generator_loss, gradient_penalty
from .nets import Discriminator, Generator


@dataclass(frozen=True)
class Rules:
    """How the two learn.

    Attributes:
        loss: see `losses`.
        learning_rate: of both nets' Adam; it falls to zero along a line from the middle of the training on.
        beta1: share of the gradient's mean that Adam keeps.
        smoothing: of the real digits' target, in the non-saturating loss.
        penalty: λ of the gradient penalty, in wgan-gp.
        critic_steps: of the discriminator, for one of the generator.
        average: share of the running mean of the generator's weights that a step keeps.
    """

    loss: Loss
    learning_rate: float
    beta1: float
    smoothing: float
    penalty: float
    critic_steps: int
    average: float

    @classmethod
    def of(cls, config: Any) -> "Rules":
        """Those of an experiment's settings, which have the same names."""
        return cls(**{field.name: getattr(config, field.name) for field in fields(cls)})


class Adversaries:
    """A generator and a discriminator under training.

    Attributes:
        generator, discriminator: the nets.
        average: a generator with the running mean of the weights, ā ← β ā + (1 - β) w with β at most
            (1 + t) / (10 + t): the better one to draw samples from (Y. Yazıcı and others, "The unusual effectiveness
            of averaging in GAN training", ICLR 2019).

    Args:
        run: whose streams and device are used.
        name: begins the names of the streams.
        generator, average: two alike, on the device; `average` becomes a copy of the first.
        discriminator: on the device, too.
        rules: see Rules.
    """

    def __init__(
        self,
        run: Run[Any],
        name: str,
        generator: Generator,
        average: Generator,
        discriminator: Discriminator,
        rules: Rules,
    ) -> None:
        self.generator, self.average, self.discriminator, self.rules = generator, average, discriminator, rules
        average.load_state_dict(generator.state_dict())
        average.requires_grad_(False)
        self._device = run.device
        self._noise, self._mix = run.stream(f"{name}/noise"), run.stream(f"{name}/mix")
        self._optimizers = {
            key: optim.Adam(net.parameters(), lr=rules.learning_rate, betas=(rules.beta1, 0.999))
            for key, net in (("generator", generator), ("discriminator", discriminator))
        }

    def tracked(self) -> dict[str, Any]:
        """What a step changes, but for the dropout masks' stream."""
        nets = {"generator": self.generator, "average": self.average, "discriminator": self.discriminator}
        optimizers = {f"{key} optimizer": optimizer for key, optimizer in self._optimizers.items()}
        return {**nets, **optimizers, "noise": self._noise, "mix": self._mix}

    def step(
        self,
        progress: float,
        index: int,
        real: tuple[Array, Array | None],
        given: Array,
        told: Array | None,
        extra: Callable[[Tensor], Tensor] | None = None,
    ) -> dict[str, float]:
        """One step of the discriminator, then, in every `critic_steps`-th step, one of the generator.

        Args:
            progress: share of the training that is over, from 0 to 1.
            index: of the step, from 0.
            real: pictures, N x pixels, and what the discriminator is told of them.
            given: the generator's conditions, M x columns.
            told: what the discriminator is told of the generator's pictures.
            extra: added to the generator's loss, from its pictures.

        Returns:
            What was measured before the updates: `discriminator_loss`; `real_accuracy` and `fake_accuracy`, the shares
            of pictures that the discriminator takes for what they are; in wgan-gp `distance`, the critic's estimate
            E D(x) - E D(G(z)), and `penalty`; in a step of the generator `generator_loss` and, with `extra`, `extra`.
        """
        for optimizer in self._optimizers.values():
            optimizer.param_groups[0]["lr"] = self.rules.learning_rate * min(1.0, 2 * (1 - progress))
        teaches = index % self.rules.critic_steps == 0
        noise = self._noise.normal((len(given), self.generator.noise), device=self._device)
        with tg.set_grad_enabled(teaches):
            fakes = self.generator(noise, given)
        values = self._teach_discriminator(real, fakes.detach(), told)
        if teaches:
            values |= self._teach_generator(fakes, told, extra)
            self._follow(index // self.rules.critic_steps)
        return values

    def _teach_discriminator(
        self, real: tuple[Array, Array | None], fakes: Tensor, told: Array | None
    ) -> dict[str, float]:
        rules, net, (pictures, known) = self.rules, self.discriminator, real
        count = len(pictures)
        both = None if known is None or told is None else array_module(told).concatenate([known, told])
        outputs = net(F.concatenate([Tensor(pictures), fakes]), both)
        of_real, of_fake = outputs[:count], outputs[count:]
        loss = discriminator_loss(rules.loss, of_real, of_fake, rules.smoothing)
        values: dict[str, float] = {}
        if rules.loss == "wgan-gp":
            values["distance"] = -float(loss.item())
            pairs = min(count, fakes.shape[0])
            mix = self._mix.uniform((pairs, 1), device=self._device)
            penalty = gradient_penalty(
                lambda between: net(between, None if told is None else told[:pairs]),
                pictures[:pairs],
                fakes.data[:pairs],
                mix,
            )
            values["penalty"] = float(penalty.item())
            loss = loss + rules.penalty * penalty
        self._optimizers["discriminator"].zero_grad()
        loss.backward()
        self._optimizers["discriminator"].step()
        judged = outputs.detach().numpy()
        # A critic's zero has no meaning: it is asked on which side of the middle between the two means a picture is.
        middle = 0.5 * (judged[:count].mean() + judged[count:].mean()) if rules.loss == "wgan-gp" else 0.0
        values["real_accuracy"] = float((judged[:count] > middle).mean())
        values["fake_accuracy"] = float((judged[count:] <= middle).mean())
        return values | {"discriminator_loss": float(loss.item())}

    def _teach_generator(
        self, fakes: Tensor, told: Array | None, extra: Callable[[Tensor], Tensor] | None
    ) -> dict[str, float]:
        self.discriminator.requires_grad_(False)
        loss = generator_loss(self.rules.loss, self.discriminator(fakes, told))
        values = {"generator_loss": float(loss.item())}
        if extra is not None:
            added = extra(fakes)
            values["extra"] = float(added.item())
            loss = loss + added
        self._optimizers["generator"].zero_grad()
        loss.backward()
        self._optimizers["generator"].step()
        self.discriminator.requires_grad_(True)
        return values

    def _follow(self, made: int) -> None:
        """Moves the running mean towards the generator's weights."""
        kept = min(self.rules.average, (1 + made) / (10 + made))
        means: list[Tensor] = list(self.average.parameters())
        with tg.no_grad():
            for mean, weight in zip(means, self.generator.parameters(), strict=True):
                mean += (1 - kept) * (weight - mean)


def check_critic_steps(critic_steps: int, examples: int, batch: int) -> None:
    """Raises UserError when an epoch could pass without a step of the generator."""
    batches = -(-examples // batch)
    if critic_steps > batches:
        raise UserError(f"setting critic_steps={critic_steps}: more than the {batches} batches of an epoch")
