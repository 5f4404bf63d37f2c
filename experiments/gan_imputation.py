"""Missing pixels imputed by a conditional GAN.

Only the centre of a digit is known, 10 x 10 of its 28 x 28 pixels; a generator paints a whole digit, from the centre
and from noise, that a discriminator cannot tell from real ones. Nothing makes it keep to the centre that it was given;
a penalty does, λ times the mean squared difference between the known pixels and those painted in their place. How does
the picture depend on λ?

Choices that the problem leaves open: the discriminator sees the whole picture and nothing else, so that at λ = 0 the
patch is truly free to be ignored. The patches of a step come from other digits than its real pictures. All pixels are
from -1 to 1, in training and in every number given: mean squared errors are four times what they would be from 0 to 1.
Every λ begins with the same weights and sees the same digits and noise. Samples are drawn with a running mean of the
generator's weights, and the learning rate falls to zero in the second half of the training. The generator's first
weights are large enough (He and others 2015) for noise and patch to reach the picture from the start; with smaller ones
the generator learned to live by the patch alone, and painted one picture for each, whatever the noise.
"""

from itertools import pairwise
from typing import Annotated

from pydantic import Field

from experiments.data import mnist
from experiments.gan import digits as gan_digits
from experiments.gan.digits import Digits
from experiments.gan.judge import frechet_distance, saved_judge, train_judge
from experiments.gan.losses import Loss
from experiments.gan.training import Rules, check_critic_steps
from experiments.harness import Claim, Experiment, Run, Settings, settings
from experiments.harness.errors import UserError
from experiments.imputation import pages, patch, results, training
from experiments.imputation.results import Measures, Outcome, Results
from tinygrad_hw.backend import to_device, to_numpy

Weight = Annotated[float, Field(ge=0)]
FREE, STRONG = 0.0, 10.0  # the two λ that the claims are about


@settings
class Config(Settings):
    """Settings of gan_imputation."""

    lambdas: Annotated[
        tuple[Weight, ...], Field(min_length=1, description="λ, the weights of the centre's error, each at least 0")
    ] = (0.0, 0.01, 0.1, 1.0, 10.0, 100.0)
    epochs: Annotated[int, Field(ge=1, le=100_000, description="passes over the training digits, for each λ")] = 30
    batch: Annotated[int, Field(ge=1, description="real pictures a step, and as many patches")] = 50
    learning_rate: Annotated[float, Field(gt=0, description="of both nets' Adam, in the first half")] = 0.0008
    beta1: Annotated[float, Field(ge=0, lt=1, description="share of the gradient's mean that Adam keeps")] = 0.5
    dropout: Annotated[float, Field(ge=0, lt=1, description="share of the discriminator's units left out")] = 0.4
    smoothing: Annotated[float, Field(ge=0, lt=0.5, description="real pictures have the target 1 minus this")] = 0.0
    loss: Annotated[Loss, Field(description="what the two nets play for")] = "non-saturating"
    penalty: Annotated[float, Field(ge=0, description="weight of wgan-gp's gradient penalty")] = 10.0
    critic_steps: Annotated[int, Field(ge=1, description="of the discriminator for one of the generator")] = 1
    average: Annotated[
        float, Field(ge=0, lt=1, description="share of the mean of the generator's weights that a step keeps")
    ] = 0.999
    judge_epochs: Annotated[int, Field(ge=1, description="passes over the training digits, of the judge")] = 15
    train_examples: Annotated[
        int, Field(ge=0, description="training digits, evenly taken from the set; 0 takes all")
    ] = 4000
    test_examples: Annotated[int, Field(ge=0, description="test digits, likewise")] = 1000


def run(run: Run[Config]) -> None:
    """Trains the judge, then a generator for every λ; measures and reports."""
    config, weights = run.config, sorted(set(run.config.lambdas))
    for one, other in pairwise(weights):
        if f"{one:g}" == f"{other:g}":
            raise UserError(f"setting lambdas={one!r},{other!r}: too near each other to be told apart")
    digits = load(run)
    judge = train_judge(run, digits.train, digits.test, config.judge_epochs)
    run.save_model("judge", judge.net)
    reader_accuracy = training.train_reader(run, digits, config.judge_epochs)
    run.metric(patch_reader_accuracy=reader_accuracy)
    chosen, real_features = results.examples(digits), judge.features(digits.test.pixels)
    outcomes = []
    for weight in weights:
        generator, loop = training.train(run, f"lambda {weight:g}", weight, digits, plan(config))
        run.save_model(f"lambda_{weight:g}", generator)
        measures = results.measure(run, generator, digits, judge, real_features)
        outcomes.append(Outcome(weight, loop, measures, results.show(run, generator, digits, chosen)))
        record(run, weight, measures)
        run.metric(**{f"seconds_lambda_{weight:g}": loop.seconds})
    found = Results(
        outcomes,
        gan_digits.pictures(digits.test.pixels[to_device(chosen, run.device)]),
        run.metrics["judge_accuracy"],
        reader_accuracy,
        frechet_distance(real_features, judge.features(digits.train.pixels)),
        float(to_numpy(digits.test.pixels)[:, patch.OUTSIDE].var(axis=0).mean()),
    )
    claim(run)
    pages.write(run, found)


def load(run: Run[Config]) -> Digits:
    """The run's digits. Raises DataError and UserError as `gan_digits.load`, UserError for too many critic steps."""
    config = run.config
    digits = gan_digits.load(run, config.train_examples, config.test_examples, config.batch)
    check_critic_steps(config.critic_steps, len(digits.train), config.batch)
    return digits


def plan(config: Config) -> training.Plan:
    """How every λ is trained."""
    return training.Plan(config.epochs, config.batch, config.dropout, Rules.of(config))


def record(run: Run[Config], weight: float, measures: Measures) -> None:
    """Sets the metrics of a λ."""
    run.metric(**{f"{name}_lambda_{weight:g}": value for name, value in vars(measures).items()})


def claim(run: Run[Config]) -> None:
    """Sets the metrics that the claims are about, where the run has the two λ."""
    free, strong = (run.metrics.get(f"label_consistency_lambda_{weight:g}") for weight in (FREE, STRONG))
    if strong is not None:
        run.metric(centre_mse=run.metrics[f"centre_mse_lambda_{STRONG:g}"], label_consistency=strong)
        if free is not None:  # worse than guessing is no merit of the other one
            run.metric(consistency_ratio=strong / max(free, 1 / mnist.CLASSES))


def evaluate(run: Run[Config]) -> None:
    """Measures the saved generators with the saved judge."""
    digits = load(run)
    judge = saved_judge(run, digits.test)
    real_features = judge.features(digits.test.pixels)
    for weight in sorted(set(run.config.lambdas)):
        generator = training.new_generator(run)
        run.load_model(f"lambda_{weight:g}", generator)
        record(run, weight, results.measure(run, generator, digits, judge, real_features))
    claim(run)


EXPERIMENT = Experiment(
    name="gan_imputation",
    title="Missing pixels imputed by a conditional GAN",
    profiles={
        "smoke": Config(
            lambdas=(0.0, 10.0), epochs=2, batch=100, judge_epochs=2, train_examples=400, test_examples=100
        ),
        "demo": Config(lambdas=(0.0, 0.1, 1.0, 10.0)),
        "full": Config(
            epochs=18,
            batch=100,
            learning_rate=0.0004,
            dropout=0.3,
            judge_epochs=20,
            train_examples=60_000,
            test_examples=10_000,
        ),
    },
    claims=(
        Claim(
            "judge_accuracy",
            ">=",
            {"demo": 0.93, "full": 0.98},
            "The judge reads real test digits rightly.",
        ),
        Claim(
            "centre_mse",
            "<=",
            {"demo": 0.05, "full": 0.02},
            "At λ = 10 the picture's centre is the given patch: mean squared error, pixels from -1 to 1.",
        ),
        Claim(
            "label_consistency",
            ">=",
            {"demo": 0.6, "full": 0.7},
            "At λ = 10 the judge reads the picture as the digit from which the patch was taken.",
        ),
        Claim(
            "consistency_ratio",
            ">=",
            {"demo": 3.0, "full": 3.0},
            "That is so many times as often as at λ = 0, or as by guessing where that is more.",
        ),
    ),
    run=run,
    evaluate=evaluate,
)
