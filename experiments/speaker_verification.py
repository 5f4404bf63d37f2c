"""Speaker verification: do two recordings have one voice?

A Siamese net turns each of two utterances into a vector of fixed length; the inner product of the vectors, in a
sigmoid, is the probability that one person spoke both. It learns from pairs of utterances of training speakers, a
mini-batch for each of them with as many pairs of this speaker as pairs with others, and is tested on speakers whom it
has never heard. It learns twice: from 50 speakers, as many as the course has, and from all who are not test speakers.
The course's matrices are taken when the data folder has them, else those speakers of Speech Commands who have ten
clips, else the voices are synthetic.

Choices that the problem leaves open: the logistic regression on the inner product has an offset, and vectors have all
the same length, so that it is their angle that counts. One net learns from all training speakers but a fifth, five
times; what each net makes of the fifth that it left out says when it was best, and gives the threshold, so that every
training speaker serves both and no test speaker any. The five nets answer together, which is still one vector of fixed
length and one inner product. Utterances are made equally loud, as loudness is not a matter of voice.
"""

from typing import Annotated

import numpy as np
from pydantic import Field

from experiments.data.audio import corpus, speakers
from experiments.data.audio.speakers import Speakers
from experiments.harness import Claim, Experiment, Run, Settings, settings
from experiments.harness.errors import UserError
from experiments.verification import pages
from experiments.verification.baseline import Baseline
from experiments.verification.pairs import batches_of_all
from experiments.verification.results import Results, Scored
from experiments.verification.scores import Trial
from experiments.verification.spectra import recoloured, spectra
from experiments.verification.training import TRANSFORM, Learned, Verifier, learn, save, saved

RATE = 16_000
FIRST, ALL = "first", "all"  # the two sets of training speakers
SUFFIX = {FIRST: "", ALL: "_all"}
FEWEST = 2  # speakers of a fold, so that it has negative pairs

Size = Annotated[int, Field(ge=1, le=8192)]


@settings
class Config(Settings):
    """Settings of speaker_verification."""

    corpus: Annotated[
        str,
        Field(
            description="in the data folder: course, speech_commands, librispeech, a folder's name; any: the first "
            "of these that is there"
        ),
    ] = "any"
    speakers: Annotated[int, Field(ge=4, le=10_000, description="training speakers of the first verifier")] = 50
    test: Annotated[int, Field(ge=2, le=10_000, description="test speakers")] = 20
    utterances: Annotated[int, Field(ge=2, le=1000, description="of each speaker")] = 10
    seconds: Annotated[float, Field(ge=0.1, le=20, description="length of each utterance")] = 1.0
    drawn: Annotated[
        int, Field(ge=4, le=10_000, description="training speakers to synthesise where there is no data folder")
    ] = 80
    pairs: Annotated[int, Field(ge=1, le=10_000, description="positive and negative pairs of a mini-batch, each")] = 45
    batch: Annotated[int, Field(ge=1, description="speakers' mini-batches in a step")] = 1
    folds: Annotated[int, Field(ge=2, le=20, description="nets, each leaves out one part of the speakers")] = 5
    width: Annotated[Size, Field(description="units that see one frame")] = 128
    hidden: Annotated[int, Field(ge=0, le=8192, description="recurrent units of each direction; 0: none")] = 64
    embedding: Annotated[Size, Field(description="numbers of a net's vector")] = 64
    dropout: Annotated[float, Field(ge=0, lt=1, description="share of frequencies and pooled units left out")] = 0.2
    epochs: Annotated[int, Field(ge=1, le=100_000, description="mini-batches of each speaker")] = 30
    learning_rate: Annotated[float, Field(gt=0, description="of Adam at the start; falls to zero")] = 1e-3
    clip: Annotated[float, Field(gt=0, description="norm that a gradient is kept below")] = 5.0
    colour: Annotated[
        float, Field(ge=0, le=40, description="of another microphone's filter in a check of the test, dB")
    ] = 4.0


def run(run: Run[Config]) -> None:
    """Trains both verifiers, tests, and reports."""
    data = load(run)
    learned: dict[str, Learned] = {}
    for name, part in sets_of(run, data).items():
        x = spectra(part.reshape(-1, part.shape[-1]), TRANSFORM, run.device)
        learned[name] = learn(run, name, x, len(part))
        save(run, name, learned[name].verifier)
    results = judge(run, data, {name: each.verifier for name, each in learned.items()})
    pages.show(run, data, learned, results)


def load(run: Run[Config]) -> Speakers:
    """The utterances of all speakers. Raises DataError, or UserError where there are too few speakers for the folds."""
    config, data_dir = run.config, run.data_dir
    found = config.corpus
    if found == "any" and data_dir is not None:
        # Before LibriSpeech, most of whose speakers have a single recording here.
        if speakers.find_course(data_dir):
            found = "course"
        elif corpus.find(data_dir, speakers.CORPORA["speech_commands"]):
            found = "speech_commands"
    data = speakers.load(
        data_dir,
        train=config.drawn if data_dir is None else 0,
        test=config.test,
        utterances=config.utterances,
        seconds=config.seconds,
        seed=run.seed,
        rate=RATE,
        corpus=found,
    )
    least = min(len(data.train), config.speakers)
    if least < FEWEST * config.folds:
        raise UserError(
            f"setting folds={config.folds}: {least} training speakers, expected {FEWEST} at least for each fold"
        )
    run.uses("speakers", data.source, data.digest)
    return data


def sets_of(run: Run[Config], data: Speakers) -> dict[str, np.ndarray]:
    """Utterances of the training speakers of each verifier; one set where there are no more speakers than asked for."""
    if len(data.train) <= run.config.speakers:
        run.cannot_judge("test_accuracy_all", reason=f"there are {len(data.train)} training speakers, and no others")
        return {FIRST: data.train}
    chosen = np.sort(run.stream("speakers").permutation(len(data.train))[: run.config.speakers])
    return {FIRST: data.train[chosen], ALL: data.train}


def judge(run: Run[Config], data: Speakers, verifiers: dict[str, Verifier]) -> Results:
    """The metrics, on the test speakers."""
    count, samples = len(data.test), data.test.shape[-1]
    signals = data.test.reshape(-1, samples)
    other = recoloured(signals, run.stream("colours"), run.config.colour)
    x, y = (spectra(each, TRANSFORM, run.device) for each in (signals, other))
    batches = batches_of_all(count, data.test.shape[1], run.config.pairs, run.stream("test pairs"))
    plain = {name: Baseline(part, data.rate, TRANSFORM) for name, part in sets_of(run, data).items()}
    results = Results(
        batches,
        {name: Scored(*(Trial.of(nets.gram(each), count) for each in (x, y))) for name, nets in verifiers.items()},
        {name: Scored(*(Trial.of(each.gram(s), count) for s in (signals, other))) for name, each in plain.items()},
        {name: verifier.vectors(x) for name, verifier in verifiers.items()},
    )
    for kind, scored in (("test", results.nets), ("baseline", results.baseline)):
        for name, each in scored.items():
            numbers = {
                "accuracy": each.plain.right(batches).mean(),
                "balanced_accuracy": each.plain.balanced_accuracy,
                "recoloured_accuracy": each.recoloured.right(batches).mean(),
                "auc": each.plain.auc,
            }
            run.metric(**{f"{kind}_{key}{SUFFIX[name]}": value for key, value in numbers.items()})
            start = "" if kind == "test" else "baseline_"
            run.metric(**{f"{start}eer{SUFFIX[name]}": each.plain.eer})
    return results


def evaluate_saved(run: Run[Config]) -> None:
    """Tests the saved verifiers."""
    data = load(run)
    judge(run, data, {name: saved(run, name) for name in sets_of(run, data)})


EXPERIMENT = Experiment(
    name="speaker_verification",
    title="Speaker verification: do two recordings have one voice?",
    profiles={
        "smoke": Config(
            speakers=4,
            test=3,
            utterances=4,
            seconds=0.3,
            drawn=6,
            pairs=6,
            folds=2,
            width=16,
            hidden=8,
            embedding=8,
            epochs=2,
        ),
        "demo": Config(speakers=20, test=12, drawn=40, folds=3, epochs=8, pairs=20),
        "full": Config(),
    },
    claims=(
        Claim(
            "test_accuracy",
            ">=",
            {"demo": 0.75, "full": 0.75},
            "Share of right verdicts on pairs of unseen speakers, with the first set of training speakers.",
        ),
        Claim(
            "test_accuracy_all",
            ">=",
            {"demo": 0.75, "full": 0.8},
            "The same, with all speakers who are no test speakers.",
        ),
    ),
    run=run,
    evaluate=evaluate_saved,
)
