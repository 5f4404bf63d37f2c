"""Speech denoising: a recurrent net takes the noise out of recordings.

A net hears speech in noise, as the magnitudes of a spectrogram, and says for each of 513 frequencies in each frame
whether it belongs to the speech: the ideal binary mask is its target. A recurrent net, which remembers the frames
before, is held against a fully connected one, which sees a single frame, and against the ideal mask itself. The
course's recordings are taken when the data folder has them, else LibriSpeech and real noises are mixed at 0 dB, else
everything is synthetic.

Choices that the problem leaves open: the recurrent net looks back alone, so that it can work while the sound comes in
(`python -m experiments denoise`), though one that looks ahead, too, would be better. Bins are weighted by what a wrong
mask costs there, and the last epochs improve the signal-to-noise ratio itself, through the inverse transform. Sentences
are mixed anew each time: other stretches of the training noises, other ratios, speeds and colours, so that neither is
learned by heart. Both nets get the same sentences, features, losses and number of epochs. The net that is kept is the
best on the validation mixtures; what is claimed is measured on the test mixtures, except where their sources are
unknown.
"""

from collections.abc import Iterator, Sequence
from dataclasses import fields
from typing import Annotated, Literal

import numpy as np
from pydantic import Field

from experiments.audio.transform import Transform
from experiments.data.audio import denoising
from experiments.denoising import pages
from experiments.denoising.assessment import Scores, assess, recovered_signals
from experiments.denoising.batches import Batch, Changes, Mixer, pair_of
from experiments.denoising.nets import Denoiser
from experiments.denoising.training import Learner, Rules, scale_of
from experiments.harness import Best, Claim, Clip, Experiment, Loop, Run, Settings, settings
from experiments.harness.errors import UserError

NETS = {"fc": "fully connected", "recurrent": "recurrent"}
TRANSFORM = Transform()
RATE = 16_000
SCALED = 100  # training mixtures that mean and deviation of the features are taken from

Count = Annotated[int, Field(ge=0, le=100_000)]
Share = Annotated[float, Field(ge=0, lt=1)]


@settings
class Config(Settings):
    """Settings of speech_denoising."""

    source: Annotated[
        Literal["any", "course", "built"],
        Field(description="of the mixtures in the data folder; any: the course's when they are there"),
    ] = "any"
    train: Annotated[
        Count, Field(description="sentences to learn from, each with every noise; 0: the usual number")
    ] = 0
    validation: Annotated[Count, Field(description="sentences to choose by; 0: the usual number")] = 0
    test: Annotated[Count, Field(description="sentences to test with; 0: the usual number")] = 0
    noises: Annotated[int, Field(ge=1, le=100, description="kinds of noise")] = 10
    snr: Annotated[float, Field(ge=-60, le=60, description="of speech to noise in mixtures made here, dB")] = 0.0
    seconds: Annotated[float, Field(ge=0, description="longest sentence in mixtures made here; 0: whole ones")] = 4.0
    kind: Annotated[Literal["gru", "lstm"], Field(description="of recurrent units")] = "gru"
    hidden: Annotated[int, Field(ge=1, le=8192, description="recurrent units of a layer")] = 512
    layers: Annotated[int, Field(ge=1, le=8, description="recurrent layers")] = 1
    fc_hidden: Annotated[int, Field(ge=1, le=8192, description="units of a layer of the fully connected net")] = 1024
    fc_layers: Annotated[int, Field(ge=1, le=8, description="its hidden layers")] = 2
    dropout: Annotated[Share, Field(description="share of inputs and hidden units left out")] = 0.1
    epochs: Annotated[int, Field(ge=1, le=100_000, description="passes over the training mixtures")] = 60
    by_ratio: Annotated[
        float, Field(ge=0, le=1, description="share of the epochs, the last, that improve the signal-to-noise ratio")
    ] = 0.5
    batch: Annotated[int, Field(ge=1, description="sentences a step")] = 10
    truncate: Annotated[int, Field(ge=0, description="frames of the pieces sentences are cut into; 0: whole ones")] = 0
    learning_rate: Annotated[float, Field(gt=0, description="of Adam at the start; falls to zero")] = 1e-3
    clip: Annotated[float, Field(gt=0, description="norm that a gradient is kept below")] = 5.0
    weighting: Annotated[
        float, Field(ge=0, le=2, description="exponent of a bin's cost in the cross-entropy; 0: all bins alike")
    ] = 0.5
    anew: Annotated[bool, Field(description="whether training sentences are mixed anew each time")] = True
    spread: Annotated[float, Field(ge=0, le=40, description="new mixtures: other ratio by up to so many dB")] = 3.0
    speed: Annotated[float, Field(ge=0, le=0.5, description="new mixtures: faster, slower by up to this share")] = 0.1
    level: Annotated[float, Field(ge=0, le=40, description="new mixtures: louder, softer by up to so many dB")] = 6.0
    noise_speed: Annotated[
        float, Field(ge=0, le=0.5, description="new mixtures: noise faster, slower by up to this share, or backwards")
    ] = 0.3
    colour: Annotated[
        float, Field(ge=0, le=0.49, description="new mixtures: greatest coefficient of the filters; 0: none")
    ] = 0.375

    def rules(self) -> Rules:
        """How to learn."""
        return Rules(**{key: getattr(self, key) for key in Rules.__dataclass_fields__})


def run(run: Run[Config]) -> None:
    """Trains both nets, measures, and reports."""
    data = load(run)
    places = np.linspace(0, len(data.train) - 1, min(SCALED, len(data.train))).round().astype(int)
    scale = scale_of(as_they_are(run, [data.train[place] for place in places]))
    nets, loops = {}, {}
    for name in NETS:
        nets[name], loops[name] = learn(run, name, data, scale)
        run.save_model(name, nets[name])
    scores = judge(run, nets, data)
    clips = recovered_signals(nets["recurrent"], data.test, TRANSFORM, run.device)
    run.save_sounds("recovered", (Clip(name, signal, RATE) for name, signal in clips))
    pages.show(run, data, nets, loops, scores, TRANSFORM)


def load(run: Run[Config]) -> denoising.Denoising:
    """The mixtures. Raises DataError, or UserError for a batch that is larger than there are."""
    config = run.config
    chosen = {key: getattr(config, key) for key in ("train", "validation", "test", "noises", "snr", "seconds")}
    data = denoising.load(run.data_dir, source=config.source, seed=run.seed, rate=RATE, **chosen)
    if config.batch > len(data.train):
        raise UserError(f"setting batch={config.batch}: there are {len(data.train):,} training mixtures")
    run.uses("denoising", data.source, data.digest)
    return data


def new_net(run: Run[Config], name: str) -> Denoiser:
    """One of NETS with its first weights."""
    config = run.config
    sizes = (config.hidden, config.layers) if name == "recurrent" else (config.fc_hidden, config.fc_layers)
    kind: Literal["gru", "lstm", "dense"] = config.kind if name == "recurrent" else "dense"
    init, masks = run.stream(f"init {name}"), run.stream(f"dropout {name}")
    net = Denoiser(kind, TRANSFORM.bins, *sizes, config.dropout, init=init, masks=masks)
    return net.to(device=run.device)


def as_they_are(run: Run[Config], examples: Sequence[denoising.Example]) -> Iterator[Batch]:
    """Mini-batches of examples in order."""
    for start in range(0, len(examples), run.config.batch):
        pairs = [pair_of(example) for example in examples[start : start + run.config.batch]]
        yield Batch.of(pairs, TRANSFORM, run.device)


def learn(
    run: Run[Config], name: str, data: denoising.Denoising, scale: tuple[np.ndarray, np.ndarray]
) -> tuple[Denoiser, Loop]:
    """Trains one net and returns it as it was after its best epoch."""
    config = run.config
    net = new_net(run, name)
    net.learn_scale(*scale)
    # One name for both: they hear the same mixtures.
    mixing, changes = run.stream("mixing"), Changes(**{f.name: getattr(config, f.name) for f in fields(Changes)})
    mixer = Mixer(data.train, mixing, changes, RATE)
    learner = Learner(net, config.rules(), TRANSFORM, config.epochs * -(-len(data.train) // config.batch))
    best = Best("validation_snr", {"net": net}, higher=True)
    tracked = {**learner.tracked(), "mixing": mixing, "dropout": net.masks}
    loop = run.loop(name, tracked, epochs=config.epochs, examples=len(data.train), batch=config.batch, best=best)
    turn = config.epochs - round(config.by_ratio * config.epochs)
    for step in loop:
        pairs = mixer.anew(step.indices) if config.anew else mixer.as_they_are(step.indices)
        batch = Batch.of(pairs, TRANSFORM, run.device)
        step.mean(train_loss=learner.step(batch, by_ratio=step.epoch > turn))
        if step.ends_epoch:
            step.log(**learner.validate(as_they_are(run, data.validation)))
    best.restore()
    return net, loop


def judge(run: Run[Config], nets: dict[str, Denoiser], data: denoising.Denoising) -> Scores:
    """The metrics: on the test mixtures, or on the validation mixtures where nobody knows the sources of the others."""
    known = all(example.speech is not None for example in data.test)
    scores = assess(nets, data.test if known else data.validation, TRANSFORM, run.device)
    means = scores.means()
    run.metric(
        snr_db=means["recurrent"],
        snr_db_soft=means["recurrent_soft"],
        snr_db_fc=means["fc"],
        snr_db_fc_soft=means["fc_soft"],
        snr_db_ideal=means["ideal"],
        snr_db_mixture=means["mixture"],
        snr_db_above_fc=means["recurrent"] - means["fc"],
        clipped=scores.clipped,
        shift=scores.shift,
        softest=scores.level.min(),
    )
    return scores


def evaluate_saved(run: Run[Config]) -> None:
    """Tests the saved nets."""
    data = load(run)
    nets = {name: new_net(run, name) for name in NETS}
    for name, net in nets.items():
        run.load_model(name, net)
    judge(run, nets, data)


EXPERIMENT = Experiment(
    name="speech_denoising",
    title="Speech denoising: a recurrent net takes the noise out of recordings",
    profiles={
        "smoke": Config(
            train=2, validation=1, test=1, noises=3, seconds=1.0, hidden=32, fc_hidden=32, epochs=2, batch=3
        ),
        "demo": Config(
            train=60,
            validation=10,
            test=10,
            seconds=3.0,
            hidden=256,
            fc_hidden=256,
            epochs=9,
            by_ratio=0.7,
            learning_rate=2e-3,
            noise_speed=0.0,
            colour=0.0,
        ),
        "full": Config(epochs=60),
    },
    claims=(
        Claim(
            "snr_db",
            ">=",
            {"demo": 10.0},
            "The recurrent net's binary mask brings synthetic mixtures from 0 dB to 10 dB.",
        ),
        Claim(
            "snr_db_above_fc",
            ">=",
            {"full": 0.5},
            "Memory helps: by how many dB the recurrent net's binary mask is better than the fully connected net's.",
        ),
        Claim("snr_db_soft", ">=", {"full": 8.0}, "With the soft mask real mixtures come from 0 dB to 8 dB."),
    ),
    run=run,
    evaluate=evaluate_saved,
)
