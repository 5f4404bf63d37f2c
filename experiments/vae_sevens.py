"""What was done to the sevens? A variational auto-encoder finds out.

Somebody did the same kind of thing to thousands of handwritten sevens, to each by another amount. A variational
auto-encoder says each picture in at most five numbers; one of them should say what was done. The course's pictures are
taken when the data folder has them (`tr7.pkl`, `te7.pkl`), else MNIST's sevens with an effect of known amounts.

Choices that the problem leaves open: the nets are fully connected; training goes from one dimension and blurred
pictures to all dimensions and sharp ones, and ends beside untouched sevens of MNIST (see `vae/training.py`); and
nobody looks at the pictures to say which dimension it is: a program measures what the decoder draws along each
(`effects/find.py`). It is not told what was done, nor by how much.
"""

from typing import Annotated, Literal

import numpy as np
from pydantic import Field
from scipy import stats

from experiments.data import sevens
from experiments.effects.apply import EFFECTS
from experiments.effects.find import Finding, find
from experiments.harness import Claim, Experiment, Run, Settings, settings
from experiments.harness.errors import UserError
from experiments.vae import pages
from experiments.vae.model import VAE, Renderer
from experiments.vae.training import Plan, Trainer
from tinygrad_hw.backend import Array, to_device

Name = Literal["rotation", "shift", "shift_y", "scale", "shear", "thickness", "brightness"]
Width = Annotated[int, Field(ge=1, le=4096)]


@settings
class Config(Settings):
    """Settings of vae_sevens."""

    source: Annotated[
        Literal["any", "course", "mnist"],
        Field(description="of the pictures; any: the course's when the data folder has them, else MNIST's"),
    ] = "any"
    effect: Annotated[Name, Field(description="put on MNIST's sevens; the course's have their own")] = "rotation"
    amount: Annotated[
        float, Field(ge=0, description="of the effect, at most, in its own unit; 0 takes the usual one")
    ] = 0.0
    effect_seed: Annotated[int, Field(ge=0, lt=2**63, description="of the amounts")] = 0
    copies: Annotated[
        int, Field(ge=1, le=100, description="training pictures made of each of MNIST's sevens, by different amounts")
    ] = 8
    latent: Annotated[int, Field(ge=1, le=5, description="dimensions K of the code")] = 3
    hidden: Annotated[
        tuple[Width, ...], Field(min_length=1, max_length=8, description="hidden layers of the encoder")
    ] = (256, 128)
    batch: Annotated[int, Field(ge=1, description="pictures a step")] = 128
    learning_rate: Annotated[float, Field(gt=0, description="of Adam; falls to zero in all but the starts")] = 1e-3
    starts: Annotated[
        int, Field(ge=1, le=50, description="beginnings with one dimension, of which the best goes on")
    ] = 3
    start_epochs: Annotated[int, Field(ge=1, description="of each start")] = 30
    start_examples: Annotated[int, Field(ge=1, description="pictures that the starts see")] = 3000
    epochs: Annotated[int, Field(ge=1, description="with all dimensions")] = 10
    contrast_epochs: Annotated[int, Field(ge=0, description="beside untouched pictures; 0 leaves that out")] = 20
    contrast_weight: Annotated[float, Field(ge=0, description="of the untouched pictures' loss")] = 1.0

    @property
    def extent(self) -> float:
        """The amount, with the usual one put in."""
        return self.amount or EFFECTS[self.effect].usual

    def plan(self) -> Plan:
        """How to train."""
        return Plan(**{key: getattr(self, key) for key in Plan.__dataclass_fields__})


def load(run: Run[Config]) -> sevens.Sevens:
    """The pictures. Raises UserError for an amount that the effect cannot have."""
    config = run.config
    effect = EFFECTS[config.effect]
    if not effect.least < config.extent <= effect.most:
        allowed = f"above {effect.least:g} and at most {effect.most:g} {effect.unit}"
        raise UserError(f"setting amount={config.amount:g}: {config.effect} takes {allowed}")
    data = sevens.load(
        run.data_dir, config.effect, config.extent, config.effect_seed, config.copies, source=config.source
    )
    if config.batch > len(data.train):
        raise UserError(f"setting batch={config.batch}: there are {len(data.train):,} training pictures")
    run.uses("sevens", data.source, data.digest)
    return data


def run(run: Run[Config]) -> None:
    """Trains, finds, and reports."""
    config, data = run.config, load(run)
    trainer = Trainer(run, config.plan(), flat(data.train, run.device), flat(data.test, run.device))
    vae = trainer.start()
    trainer.grow(vae)
    if config.contrast_epochs:
        suspected = examine(run, vae, data)[1]
        run.metric(suspected_dimension=suspected.dimension + 1, suspected_score=suspected.score)
        trainer.contrast(vae, flat(data.untouched, run.device), suspected.dimension)
    run.save_model("vae", vae)
    renderer, finding = examine(run, vae, data)
    run.metric(test_loss=trainer.test_loss(vae))
    pages.show(run, measure(run, renderer, finding, data), trainer.loops)


def flat(pictures: np.ndarray, device: str) -> Array:
    """One row a picture, on the device."""
    return to_device(pictures.reshape(len(pictures), -1), device)


def examine(run: Run[Config], vae: VAE, data: sevens.Sevens) -> tuple[Renderer, Finding]:
    """What a VAE draws, and the effect found in it."""
    renderer = Renderer(vae, run.device, data.train.shape[1])
    return renderer, find(renderer.draw, renderer.means(data.train), renderer.means(data.untouched))


def measure(run: Run[Config], renderer: Renderer, finding: Finding, data: sevens.Sevens) -> pages.Result:
    """The metrics, on the test pictures."""
    codes = renderer.means(data.test)
    errors = tuple(
        float(np.mean((data.test - guess) ** 2)) for guess in (renderer.draw(codes), data.train.mean(axis=0))
    )
    run.metric(
        reconstruction_error=errors[0],
        mean_picture_error=errors[1],
        found_dimension=finding.dimension + 1,
        found_score=finding.score,
        next_score=finding.second[2],
    )
    known = None
    if data.test_amounts is None:
        run.cannot_judge("effect_correlation", "effect_named", reason="nobody says what was done to these pictures")
    else:
        known = run.config.effect
        correlations = [abs(float(stats.spearmanr(code, data.test_amounts).statistic)) for code in codes.T]
        run.metric(effect_correlation=correlations[finding.dimension], effect_named=finding.effect == known)
        run.metric(**{f"correlation_{k}": value for k, value in enumerate(correlations, 1)})
    return pages.Result(data, known, renderer, finding, codes, (errors[0], errors[1]))


def evaluate_saved(run: Run[Config]) -> None:
    """Measures the saved VAE."""
    config, data = run.config, load(run)
    vae = VAE(data.train[0].size, config.hidden, config.latent, run.stream("init"))
    vae.to(device=run.device)
    run.load_model("vae", vae)
    measure(run, *examine(run, vae, data), data)


EXPERIMENT = Experiment(
    name="vae_sevens",
    title="What was done to the sevens? A variational auto-encoder finds out",
    profiles={
        "smoke": Config(
            copies=1, hidden=(32,), starts=2, start_epochs=2, start_examples=200, epochs=2, contrast_epochs=2
        ),
        "demo": Config(),
        "full": Config(copies=4, hidden=(512, 256), epochs=10, contrast_epochs=40),
    },
    claims=(
        Claim(
            "effect_correlation",
            ">=",
            {"demo": 0.9, "full": 0.95},
            "The code in the dimension that was found follows the applied amount (Spearman, unseen pictures).",
        ),
        Claim("effect_named", "==", {"demo": 1, "full": 1}, "The effect that was found is the one that was applied."),
        Claim(
            "reconstruction_error",
            "<=",
            {"demo": 0.04, "full": 0.03},
            "Mean squared error of a pixel of unseen pictures said in K numbers.",
        ),
    ),
    run=run,
    evaluate=evaluate_saved,
)
