"""A conditional GAN: handwritten digits of a wanted class, out of noise.

A generator of 110-200-400-784 units makes a digit out of 100 normal numbers and the wanted class; a discriminator of
794-400-200-100-1 units learns to tell such digits from real ones of the class, and the generator learns from it what
to mend. A classifier trained here as well, which neither of them ever sees, judges the result: are the digits what was
asked for, do they look real, and are they as various as real ones?

Choices that the problem leaves open: the discriminator's units are leaky below zero (0.2), so that it can teach the
generator about digits that it rejects; of every batch the generator makes equally many digits of each class, and both
nets learn from the same ones; the generator's target is that its digits are taken for real (non-saturating), Adam keeps
half of the gradient's mean from step to step; learning rates fall to zero in the second half; the generator that is
kept has the running mean of the weights. The class begins louder than the noise and the pixels beside it (see
`nets.amplify`), without which most runs never mind it. `--set loss=wgan-gp` trains a critic with a gradient penalty
instead, without dropout, and with generated digits of the classes of the real ones beside them.
"""

from dataclasses import dataclass
from typing import Annotated

import numpy as np
from pydantic import Field

from experiments.data import mnist
from experiments.gan import digits as digits_of
from experiments.gan import pages
from experiments.gan.assessment import Assessment, Draw, Examiner
from experiments.gan.judge import saved_judge, train_judge
from experiments.gan.losses import Loss
from experiments.gan.nets import Discriminator, Generator, amplify, spread
from experiments.gan.training import Adversaries, Rules, check_critic_steps
from experiments.harness import Claim, Experiment, Loop, Run, Settings, settings
from tinygrad_hw import no_grad
from tinygrad_hw.backend import Array, to_device, to_numpy
from tinygrad_hw.random import Stream

GENERATOR = (100, 200, 400, 784)
DISCRIMINATOR = (784, 400, 200, 100)
GENERATOR_GAIN, DISCRIMINATOR_GAIN = 7.0, 20.0  # of the class's first weights, see `amplify`
MOMENTS = 8  # epochs of which samples are shown


@settings
class Config(Settings):
    """Settings of conditional_gan."""

    epochs: Annotated[int, Field(ge=1, le=100_000, description="passes over the training digits")] = 100
    batch: Annotated[int, Field(ge=2, description="real digits a step, and as many generated ones")] = 100
    loss: Annotated[Loss, Field(description="non-saturating, or wgan-gp: a critic with gradient penalty")] = (
        "non-saturating"
    )
    learning_rate: Annotated[float, Field(gt=0, description="of both nets' Adam")] = 0.0005
    beta1: Annotated[float, Field(ge=0, lt=1, description="share of the gradient's mean that Adam keeps")] = 0.5
    dropout: Annotated[
        float, Field(ge=0, lt=1, description="share of the discriminator's units left out; none in wgan-gp")
    ] = 0.4
    smoothing: Annotated[float, Field(ge=0, lt=1, description="real digits have the target 1 minus this")] = 0.0
    penalty: Annotated[float, Field(ge=0, description="wgan-gp: λ of the gradient penalty")] = 10.0
    critic_steps: Annotated[int, Field(ge=1, description="the discriminator's, for one of the generator")] = 1
    average: Annotated[float, Field(ge=0, lt=1, description="share of the generator's mean weights kept a step")] = (
        0.999
    )
    judge_epochs: Annotated[int, Field(ge=1, description="of the judge's training")] = 20
    train_examples: Annotated[int, Field(ge=0, description="training digits, evenly taken; 0 takes all")] = 0
    test_examples: Annotated[int, Field(ge=0, description="test digits, likewise")] = 0
    samples: Annotated[int, Field(ge=10, description="generated digits of each class to judge")] = 300


@dataclass(frozen=True)
class Trained:
    """A finished training.

    Attributes:
        loop: with its history.
        generator: the averaged one.
        moments: epochs of which there are samples.
        samples: len(moments) x 10 x 784, one digit a class, always from the same noise.
    """

    loop: Loop
    generator: Generator
    moments: np.ndarray
    samples: np.ndarray


def run(run: Run[Config]) -> None:
    """Trains the judge, then the two nets, examines the generator and reports."""
    config = run.config
    digits = digits_of.load(run, config.train_examples, config.test_examples, config.batch)
    check_critic_steps(config.critic_steps, len(digits.train), config.batch)
    judge = train_judge(run, digits.train, digits.test, config.judge_epochs)
    examiner = Examiner(judge, digits)
    trained = train(run, digits, examiner)
    found = assess(run, examiner, trained.generator)
    run.save_model("judge", judge.net)
    run.save_model("generator", trained.generator)
    report(run, examiner, trained, found)


def one_hot(labels: Array, device: str) -> Array:
    """int64, N -> float32, N x 10."""
    return to_device(np.eye(mnist.CLASSES, dtype=np.float32), device)[labels]


def new_generator(run: Run[Config]) -> Generator:
    """A generator with its first weights."""
    stream = run.stream("generator/init")
    generator = Generator(GENERATOR, mnist.CLASSES, stream)
    spread(generator, stream)
    amplify(generator, mnist.CLASSES, GENERATOR_GAIN)
    return generator.to(device=run.device)


def new_discriminator(run: Run[Config], masks: Stream) -> Discriminator:
    """A discriminator with its first weights."""
    init = run.stream("discriminator/init")
    # A critic's slope is held near 1, which makes sense for one function, not for one with other units every time.
    dropout = 0.0 if run.config.loss == "wgan-gp" else run.config.dropout
    discriminator = Discriminator(DISCRIMINATOR, mnist.CLASSES, dropout, init, masks)
    amplify(discriminator, mnist.CLASSES, DISCRIMINATOR_GAIN)
    return discriminator.to(device=run.device)


def drawing(run: Run[Config], generator: Generator) -> Draw:
    """Makes digits of the wanted classes, from the same noise every time, noise that training never sees."""

    def draw(wanted: np.ndarray) -> Array:
        noise = run.stream("test noise").normal((len(wanted), generator.noise), device=run.device)
        with no_grad():
            return generator(noise, one_hot(to_device(wanted, run.device), run.device)).data

    return draw


def train(run: Run[Config], digits: digits_of.Digits, examiner: Examiner) -> Trained:
    """Trains both nets, and looks at the averaged generator after every epoch."""
    config, masks, labels = run.config, run.stream("discriminator/dropout"), run.stream("fake labels")
    rules = Rules.of(config)
    nets = Adversaries(run, "gan", new_generator(run), new_generator(run), new_discriminator(run, masks), rules)
    moments = np.unique(np.geomspace(1, config.epochs, MOMENTS).round().astype(np.int64))
    samples = np.zeros((len(moments), mnist.CLASSES, digits_of.PIXELS), np.float32)
    track = {**nets.tracked(), "dropout": masks, "labels": labels, "samples": samples}
    loop = run.loop("gan", track, epochs=config.epochs, examples=len(digits.train), batch=config.batch)
    draw, train = drawing(run, nets.average), digits.train
    for step in loop:
        chosen = to_device(step.indices, run.device)
        real, known = train.pixels[chosen], one_hot(train.labels[chosen], run.device)
        if config.loss == "wgan-gp":  # its penalty looks between a real digit and a generated one: of the same class
            wanted = known
        else:  # equally many of each class in random order; chance decides where the batch is no multiple of ten
            wanted = one_hot(labels.permutation(config.batch, device=run.device) % mnist.CLASSES, run.device)
        values = nets.step(step.index / loop.steps, step.index, (real, known), wanted, wanted)
        step.mean(**values)
        if step.ends_epoch:
            accuracy, distance = examiner.look(draw)
            step.log(conditional_accuracy=accuracy, frechet_distance=distance)
            samples[moments == step.epoch] = to_numpy(draw(np.arange(mnist.CLASSES)))
    return Trained(loop, nets.average, moments, samples)


def assess(run: Run[Config], examiner: Examiner, generator: Generator) -> Assessment:
    """Examines a generator and sets the metrics."""
    found = examiner.assess(drawing(run, generator), run.config.samples)
    run.metric(**found.metrics())
    return found


def evaluate_saved(run: Run[Config]) -> None:
    """Examines the saved generator with the saved judge."""
    config = run.config
    digits = digits_of.load(run, config.train_examples, config.test_examples, config.batch)
    judge, generator = saved_judge(run, digits.test), new_generator(run)
    run.load_model("generator", generator)
    assess(run, Examiner(judge, digits), generator)


def report(run: Run[Config], examiner: Examiner, trained: Trained, found: Assessment) -> None:
    """The page."""
    config = run.config
    explain(run)
    if config.loss == "wgan-gp":
        pages.explain_critic(run.report)
    pages.explain_judge(run.report)
    pages.show_convergence(run.report, trained.loop, config.loss)
    show_digits(run, found)
    pages.show_progress(run.report, trained.loop, found.floor)
    show_moments(run, trained)
    show_classes(run, found)
    show_neighbours(run, examiner, found)
    comment(run, trained.loop, found)


def explain(run: Run[Config]) -> None:
    """The question and the mathematics."""
    report, config = run.report, run.config
    report.section("Question")
    report.text(
        """A generator is to write digits that nobody has written: given a class, such as 7, and 100 random numbers, it
        makes 784 grey values that should look like a handwritten 7, another one for other numbers. No one tells it
        what a 7 looks like. It learns from a second net, the discriminator, which sees digits beside their class and
        tries to tell written from generated ones. Do the two come to rest? Are the digits of the class that was asked
        for, and as various as real ones?"""
    )
    report.section("The two nets")
    report.text(
        r"""A digit is 784 numbers from −1 (paper) to 1 (ink), a class $c$ ten numbers of which one is 1. The generator
        $G$ takes 100 normal numbers $z$ and $c$, through layers of 200 and 400 rectified units, to 784 outputs
        (hyperbolic tangent). The discriminator $D$ takes a digit and $c$ through layers of 400, 200 and 100 units
        (leaky rectifiers, dropout) to one number; the sigmoid $\sigma$ makes it the probability that the digit is real.
        Every step has a batch of real digits $x$ with their classes, and as many generated ones, equally many of each
        class:"""
    )
    report.formula(
        r"L_D = - \frac{1}{2} \mathrm{E} [ \log \sigma(D(x, c)) ] "
        r"- \frac{1}{2} \mathrm{E} [ \log (1 - \sigma(D(G(z, c), c))) ]",
        r"L_G = - \mathrm{E} [ \log \sigma(D(G(z, c), c)) ]",
        note="Goodfellow and others 2014; with the class, Mirza and Osindero 2014. $D$ descends on $L_D$ with $G$ held "
        "fixed, then $G$ on $L_G$ with $D$ held fixed. $L_G$ is not $- L_D$: where $D$ rejects a digit with certainty, "
        "$\\log (1 - \\sigma(D))$ is flat, and $G$ would learn nothing.",
    )
    report.text(
        rf"""If $D$ is as good as it can be, $\sigma(D) = p / (p + q)$ for the densities $p$ of real and $q$ of
        generated digits; if $G$ is, too, $q = p$ and $D$ can only guess. Adam moves both nets with a learning rate of
        {config.learning_rate:g}, which falls to zero in the second half. The digits below come from a generator with
        the running mean of the weights, $\bar{{w}} \leftarrow \beta \bar{{w}} + (1 - \beta) w$ with $\beta =
        {config.average:g}$: the two nets keep circling each other, and the mean is nearer to the centre (Yazıcı and
        others 2019)."""
    )


def show_digits(run: Run[Config], found: Assessment) -> None:
    """Ten generated digits a class in a row, and real ones."""
    made = digits_of.pictures(found.pixels).reshape(mnist.CLASSES, -1, mnist.SIDE, mnist.SIDE)[:, :10]
    run.report.section("Digits to order")
    run.report.figure(
        "digits",
        pages.rows(made, [str(digit) for digit in range(mnist.CLASSES)], "Ten generated digits of each class"),
        caption="The class that was asked for at the left. The first ten of each: none was chosen.",
        alt="Ten rows of ten generated handwritten digits, 0 to 9",
        raster=True,
    )


def show_moments(run: Run[Config], trained: Trained) -> None:
    """The same noise after some epochs."""
    shape = (len(trained.moments), mnist.CLASSES, mnist.SIDE, mnist.SIDE)
    labels = [f"epoch {moment}" for moment in trained.moments]
    run.report.figure(
        "moments",
        pages.rows(trained.samples.reshape(shape), labels, "One digit of each class while learning"),
        caption="What the averaged generator makes of the same ten draws of noise after some epochs.",
        alt="Rows of ten digits that grow out of noise from epoch to epoch",
        raster=True,
    )


def show_classes(run: Run[Config], found: Assessment) -> None:
    """Accuracy and diversity of each class, and what wrong ones are read as."""
    read = found.read.reshape(mnist.CLASSES, -1)
    rows = []
    for digit in range(mnist.CLASSES):
        counts = np.bincount(read[digit], minlength=mnist.CLASSES)
        counts[digit] = 0
        mistaken = f"{counts.argmax()} ({counts.max() / read.shape[1]:.1%})" if counts.any() else "-"
        various = f"{found.diversity[digit]:.2f}", f"{found.pixel_diversity[digit]:.2f}"
        rows.append((str(digit), f"{found.accuracy[digit]:.1%}", mistaken, *various))
    various = f"{found.diversity.mean():.2f}", f"{found.pixel_diversity.mean():.2f}"
    rows.append(("mean", f"{found.accuracy.mean():.1%}", "-", *various))
    run.report.section("Class by class")
    run.report.table(
        ("Class", "Read as it", "Else mostly as", "Diversity", "in pixels"),
        rows,
        caption=f"""{read.shape[1]:,} generated digits of each class. Diversity in the judge's features, which is what
        the claim is about, and in pixels: 1 is as various as the test digits.""",
    )


def show_neighbours(run: Run[Config], examiner: Examiner, found: Assessment) -> None:
    """Generated digits above the training digits that are nearest to them."""
    per_class = len(found.pixels) // mnist.CLASSES
    chosen = found.pixels[to_device(np.arange(mnist.CLASSES) * per_class, run.device)]
    _, numbers = examiner.nearest(chosen)
    train = examiner.digits.train.pixels[to_device(numbers, run.device)]
    pair = np.stack([digits_of.pictures(chosen), digits_of.pictures(train)])
    run.report.section("Are they copies?")
    run.report.figure(
        "neighbours",
        pages.rows(pair, ["generated", "nearest"], "Generated digits and the nearest training digits"),
        caption=f"""The first generated digit of each class, and below it the training digit at the smallest distance
        in pixels. Over many digits, the mean distance to the nearest training digit is {found.copying:.2f} times that
        of unseen real digits; a generator that copies would have 0.""",
        alt="Ten generated digits, and below each the training digit nearest to it",
        raster=True,
    )


def comment(run: Run[Config], loop: Loop, found: Assessment) -> None:
    """What came out, in words with the numbers of this run."""
    real, fake = (float(loop.history(f"{which}_accuracy")[-1]) for which in ("real", "fake"))
    worst = int(found.accuracy.argmin())
    run.report.section("Comment")
    run.report.text(
        f"""In the last epoch the discriminator takes {real:.0%} of the real and {fake:.0%} of the generated digits for
        what they are, {(real + fake) / 2:.0%} of all, where guessing gives 50 %. The nearer that is to 50 %, the nearer
        the two nets are to the equilibrium, in which neither can gain by a change of its own.""",
        f"""Of the generated digits, {found.accuracy.mean():.1%} are read as the class that was asked for, the fewest
        ({found.accuracy.min():.1%}) of class {worst}. Their Fréchet distance is {found.frechet:.1f},
        {found.frechet / found.floor:.1f} times that between two sets of real digits. Two generated digits of a class
        are on average {found.diversity.mean():.2f} times as far apart as two real ones.""",
    )


EXPERIMENT = Experiment(
    name="conditional_gan",
    title="A conditional GAN: handwritten digits of a wanted class, out of noise",
    profiles={
        "smoke": Config(epochs=2, judge_epochs=2, batch=50, train_examples=300, test_examples=100, samples=10),
        "demo": Config(epochs=150),
        "full": Config(epochs=80, samples=1000),
    },
    claims=(
        Claim(
            "judge_accuracy",
            ">=",
            {"demo": 0.95, "full": 0.98},
            "The judge can be trusted: the share of unseen real digits that it reads rightly.",
        ),
        Claim(
            "conditional_accuracy",
            ">=",
            {"demo": 0.85, "full": 0.95},
            "The generator makes what it is asked for: the share of its digits that the judge reads as that class.",
        ),
        Claim(
            "diversity",
            ">=",
            {"demo": 0.6, "full": 0.6},
            "It does not make the same digit again and again: mean distance between two digits of a class in the "
            "judge's features, over that of real ones, mean over the classes.",
        ),
    ),
    run=run,
    evaluate=evaluate_saved,
)
