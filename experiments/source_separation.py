"""Source separation: a recurrent net takes the voice out of a song.

A net hears a song as the magnitudes of a spectrogram, and says for each of 513 frequencies in each frame how much of it
is sung. It is an LSTM, which learns from excerpts far longer than what it is unrolled over at once: truncated
backpropagation cuts them into pieces, and the state is carried from piece to piece (stateful) or each piece begins anew
(stateless), from zero or from a state that is learned like a weight. All of these are compared with each other and with
backpropagation through whole excerpts: how they learn, how well they take songs apart (SDR, SIR and SAR by `mir_eval`),
and what an update costs in time and memory. Below them are the mixture itself and an equaliser, one mask for all
frames; above them the ideal mask.

Choices that the problem leaves open: a soft mask of the vocals, whose target is the phase-sensitive one, the best real
mask for the signal; loud bins count more; the accompaniment is what remains. Excerpts are cut anywhere out of the
training songs, and vocals and accompaniment of different places are put together, each louder or softer. Gradients of
all pieces of an excerpt are added up before an update, so that every way makes as many updates of the same loss. All
nets get the same excerpts and first weights. The net that is kept is the best on the validation songs, and
what is claimed is measured on the test songs: `DSD100` or a folder of stems when the data folder has them, else songs
that are synthetic.
"""

from typing import Annotated

import numpy as np
from pydantic import Field

from experiments.audio.transform import Transform
from experiments.data.audio import music
from experiments.harness import Best, Claim, Clip, Experiment, Loop, Run, Settings, settings
from experiments.harness.errors import UserError
from experiments.separation import cost, pages
from experiments.separation.assessment import Scores, assess, can_be_judged, fixed_mask, recovered
from experiments.separation.excerpts import Cutter, Excerpts
from experiments.separation.nets import Separator
from experiments.separation.training import MAIN, WAYS, Learner, Rules, scale_of, validate

TRANSFORM = Transform()
RATE = 16_000

Songs = Annotated[int, Field(ge=0, le=10_000)]


@settings
class Config(Settings):
    """Settings of source_separation."""

    train: Annotated[Songs, Field(description="songs to learn from; 0: all, and 8 synthetic ones")] = 0
    validation: Annotated[Songs, Field(description="songs to choose by; 0: all, and 2 synthetic ones")] = 0
    test: Annotated[Songs, Field(description="songs to test with; 0: all, and 2 synthetic ones")] = 0
    seconds: Annotated[float, Field(ge=0, description="of each song, from its middle; 0: whole songs")] = 30.0
    hidden: Annotated[int, Field(ge=1, le=8192, description="LSTM units of a layer")] = 256
    layers: Annotated[int, Field(ge=1, le=8, description="LSTM layers")] = 1
    dropout: Annotated[float, Field(ge=0, lt=1, description="share of inputs and hidden units left out")] = 0.1
    excerpt: Annotated[int, Field(ge=2, le=100_000, description="frames of an excerpt")] = 160
    piece: Annotated[int, Field(ge=1, description="frames that truncated backpropagation goes back at most")] = 20
    batch: Annotated[int, Field(ge=1, description="excerpts an update")] = 8
    excerpts: Annotated[int, Field(ge=1, le=1_000_000, description="excerpts an epoch")] = 64
    epochs: Annotated[int, Field(ge=1, le=100_000, description="of every net")] = 60
    learning_rate: Annotated[float, Field(gt=0, description="of Adam at the start; falls to zero")] = 2e-3
    clip: Annotated[float, Field(gt=0, description="norm that a gradient is kept below")] = 5.0
    weighting: Annotated[
        float, Field(ge=0, le=2, description="a bin counts by its magnitude to this power; 0: all alike")
    ] = 1.0
    remix: Annotated[
        float, Field(ge=0, le=1, description="share of the excerpts with vocals and accompaniment of different places")
    ] = 0.5
    level: Annotated[float, Field(ge=0, le=40, description="both louder or softer by up to so many dB")] = 4.0

    def rules(self) -> Rules:
        """How to learn."""
        return Rules(self.learning_rate, self.clip, self.piece)


def run(run: Run[Config]) -> None:
    """Trains a net in every way, measures, and reports."""
    data = load(run)
    scale = scale_of(data.train, TRANSFORM)
    nets, loops = {}, {}
    for name in WAYS:
        nets[name], loops[name] = learn(run, name, data, scale)
        run.save_model(name, nets[name])
    scores = judge(run, nets, data)
    frames = [run.config.excerpt // 2, run.config.excerpt, 2 * run.config.excerpt]
    costs = cost.measure(nets, run.config.rules(), frames, run.config.batch, run.stream("cost"), run.device)
    report_costs(run, costs)
    clips = recovered(nets[MAIN], data.test, TRANSFORM, run.device)
    run.save_sounds("recovered", (Clip(label, signal, RATE) for label, signal in clips))
    pages.show(run, data, nets, loops, scores, costs, TRANSFORM)


def load(run: Run[Config]) -> music.Music:
    """The songs. Raises DataError, or UserError for settings that do not go together or songs that nobody sings in."""
    config = run.config
    if config.batch > config.excerpts:
        raise UserError(f"setting batch={config.batch}: there are {config.excerpts:,} excerpts in an epoch")
    if config.piece > config.excerpt:
        raise UserError(f"setting piece={config.piece}: an excerpt has {config.excerpt:,} frames")
    counts = {part: getattr(config, part) for part in ("train", "validation", "test")}
    data = music.load(run.data_dir, **counts, seconds=config.seconds, seed=run.seed, rate=RATE)
    if not any(map(can_be_judged, data.test)):
        raise UserError(f"no test song with both vocals and accompaniment in {data.source}")
    run.uses("music", data.source, data.digest)
    return data


def new_net(run: Run[Config], name: str) -> Separator:
    """The net of one of WAYS with its first weights, which are the same for all."""
    config = run.config
    sizes = TRANSFORM.bins, config.hidden, config.layers, config.dropout
    init, masks = run.stream("init"), run.stream("dropout")
    return Separator(*sizes, learned=WAYS[name].learned, init=init, masks=masks).to(device=run.device)


def learn(
    run: Run[Config], name: str, data: music.Music, scale: tuple[np.ndarray, np.ndarray]
) -> tuple[Separator, Loop]:
    """Trains one net and returns it as it was after its best epoch."""
    config = run.config
    net = new_net(run, name)
    net.learn_scale(*scale)
    cuts = run.stream("cuts")  # one name for all: they hear the same excerpts
    samples = TRANSFORM.hop * (config.excerpt - 1)
    cutter = Cutter(data.train, samples, cuts, remix=config.remix, level=config.level)
    learner = Learner(net, WAYS[name], config.rules(), config.epochs * -(-config.excerpts // config.batch))
    best = Best("validation_loss", {"net": net})
    tracked = {**learner.tracked(), "cuts": cuts}
    loop = run.loop(name, tracked, epochs=config.epochs, examples=config.excerpts, batch=config.batch, best=best)
    for step in loop:
        excerpts = Excerpts.of(*cutter.cut(len(step.indices)), config.weighting, TRANSFORM, run.device)
        step.mean(train_loss=learner.step(excerpts))
        if step.ends_epoch:
            step.log(**validate(net, data.validation, config.batch, config.weighting, TRANSFORM, run.device))
    best.restore()
    return net, loop


def judge(run: Run[Config], nets: dict[str, Separator], data: music.Music) -> Scores:
    """The metrics, on the test songs in which both sources can be heard."""
    tracks = [track for track in data.test if can_be_judged(track)]
    scores = assess(nets, fixed_mask(data.train, TRANSFORM), tracks, run.config.piece, TRANSFORM, run.device)
    for name in ("mixture", "fixed", "ideal_binary", "ideal"):
        run.metric(**{f"sdr_{name}": scores.of(name).mean()})
    for name in nets:
        run.metric(
            **{
                f"sdr_{name}": scores.of(name).mean(),
                f"sdr_{name}_restarted": scores.of(f"{name}_restarted").mean(),
                f"sdr_gain_{name}": scores.gain(name).mean(),
            }
        )
    carried = [scores.of(name).mean() for name in ("stateful", "stateful_learned")]
    anew = [scores.of(name).mean() for name in ("stateless", "stateless_learned")]
    run.metric(
        sdr=scores.of(MAIN).mean(),
        sir=scores.of(MAIN, "sir").mean(),
        sar=scores.of(MAIN, "sar").mean(),
        sdr_gain=scores.gain(MAIN).mean(),
        sdr_gain_accompaniment=scores.gain(MAIN, "accompaniment").mean(),
        sdr_gain_ideal=scores.gain("ideal").mean(),
        sdr_above_fixed=(scores.of(MAIN) - scores.of("fixed")).mean(),
        stateful_above_stateless=np.mean(carried) - np.mean(anew),
        carried_above_restarted=(scores.of(MAIN) - scores.of(f"{MAIN}_restarted")).mean(),
        clipped=max(each.clipped for each in scores.heard),
        shift=max((each.shift for each in scores.heard), key=abs),
        softest=min(each.level for each in scores.heard),
    )
    return scores


def report_costs(run: Run[Config], costs: cost.Costs) -> None:
    """The metrics of an update's cost, for excerpts as long as those that were learned from."""
    place = costs.frames.index(run.config.excerpt)
    for name in costs.seconds:
        run.metric(
            **{
                f"step_seconds_{name}": costs.seconds[name][place],
                f"step_mib_{name}": costs.peak[name][place] / 2**20,
            }
        )
    run.metric(memory_full_over_truncated=costs.peak["full"][-1] / costs.peak["stateful"][-1])


def evaluate_saved(run: Run[Config]) -> None:
    """Tests the saved nets."""
    data = load(run)
    nets = {name: new_net(run, name) for name in WAYS}
    for name, net in nets.items():
        run.load_model(name, net)
    judge(run, nets, data)


EXPERIMENT = Experiment(
    name="source_separation",
    title="Source separation: a recurrent net takes the voice out of a song",
    profiles={
        "smoke": Config(
            train=2, validation=1, test=1, seconds=2.0, hidden=16, excerpt=24, piece=6, batch=2, excerpts=4, epochs=2
        ),
        "demo": Config(train=32, seconds=12.0, hidden=128, batch=4, epochs=12, learning_rate=5e-3),
        "full": Config(dropout=0.3),
    },
    claims=(
        Claim(
            "sdr_gain",
            ">=",
            {"demo": 8.5, "full": 8.5},
            "By so many dB the SDR of the recovered vocals exceeds the mixture's.",
        ),
        Claim(
            "sdr_above_fixed",
            ">=",
            {"demo": 3.0, "full": 1.5},
            "By so many dB it exceeds that of the best equaliser, which gets far, since BSS Eval forgives filtering.",
        ),
        Claim(
            "stateful_above_stateless",
            ">=",
            {"demo": -0.5, "full": -0.5},
            "Carrying the state over the cuts while learning costs half a dB at most: mean SDR of both stateful nets "
            "above that of both stateless ones.",
        ),
        Claim(
            "memory_full_over_truncated",
            ">=",
            {"demo": 1.8, "full": 2.2},
            "Without truncation an update takes so many times the memory, with the longest excerpts.",
        ),
    ),
    run=run,
    evaluate=evaluate_saved,
)
