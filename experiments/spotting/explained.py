"""The question, and each technique in a paragraph: what it does, why it helps, and where else it would."""

from typing import TYPE_CHECKING

from experiments.harness import Run

from .batches import TECHNIQUES

if TYPE_CHECKING:
    from experiments.keyword_spotting import Config


def question(run: "Run[Config]", source: str, classes: int) -> None:
    """What is asked, of which data."""
    report = run.report
    report.section("Question")
    report.text(
        """A device listens all the time for a few words, which anybody may say, anywhere, near or far, while other
        words are spoken and other things make noise. The recordings to learn from are short clips of single words, most
        of them without noise. The net can be made to cope by what it is shown: each mini-batch is made anew, and not of
        recordings alone. Which of nine usual techniques of making it help, and by how much, as recorded and in
        noise?""",
        f"""Data: {source}. There are {classes} classes: ten keywords, other words, and silence. The net is given
        {run.config.seconds:g} s of sound as its log-mel spectrum: 40 bands, a frame every 20 ms.""",
    )


def techniques(run: "Run[Config]") -> None:
    """A paragraph each."""
    config, report = run.config, run.report
    low, high = config.ratios
    paragraphs = {
        "augmentation": f"""Clips are played up to {config.speed:.0%} faster or slower, which moves pitch and formants
        as another speaker would, and a stripe of up to {config.masks[0]} bands and one of up to {config.masks[1]}
        frames of the spectrum are hidden, so that no single detail can be relied upon. More different examples than
        were recorded leave less to be learned by heart. Pictures are turned, mirrored and partly covered for the same
        reason; what matters is that the label stays true.""",
        "balancing": """Every class is drawn as often as any other, then a clip of it. Otherwise a net learns how common
        classes are in the collection, and prefers the common ones when in doubt, which is wrong where they are not
        common. It applies to any classifier, and where drawing is not possible the loss is weighted instead. Without
        it, every clip is drawn as often as any other.""",
        "shift": f"""Clips are moved by up to {1000 * config.shift:g} ms earlier or later. Recordings are cut so that
        the word stands in the middle; a device that listens to a running signal meets it anywhere in its window.
        Shifting teaches what convolution alone does not guarantee, since pooled maps are read by position in the end.
        For pictures it is random cropping.""",
        "padding": """What a clip does not fill, being shorter than the window or moved or played faster, is filled with
        zeros. The net needs inputs of one size, and silence before and after a word is what is there in truth. Without
        it, the clip goes round in a circle, and its end is heard before its beginning. Sentences of words and borders
        of pictures are padded likewise, best with a mark of what is padding.""",
        "scaling": f"""Clips are made up to {config.scaling:g} dB louder or softer: the speaker is nearer or farther,
        the microphone is another. What is said does not depend on it, but the logarithm of a spectrum is moved by it.
        In pictures this is brightness and contrast; wherever inputs have a scale that carries no meaning it helps, or
        normalising does.""",
        "noise": f"""A stretch of a background is added to {config.noise_share:.0%} of the examples, so that the net
        looks for what stands out from any background and not for silence around a word. Noise on inputs helps nets of
        all kinds, but noise as it occurs where the net is used helps more than white noise.""",
        "control": f"""The background is brought into a ratio to the clip that is drawn between {low:g} and {high:g}
        dB: soft clips get soft noise. So each example is hard, but not hopeless, and the range of what is met in use
        can be chosen. Without it, the background is as loud as it happens to have been recorded, times a random factor:
        a soft word can drown, and a loud one is hardly touched. Wherever two things are mixed, such as objects on
        backgrounds, the mixture has such a ratio, and it should not be left to chance.""",
        "unknown": """Other words are a class of their own. A net that has seen keywords alone must call everything one
        of them, often with confidence. Any classifier that is used in the open needs something for what belongs to no
        class: examples of it, or a threshold. Without it, other words are not in the batches.""",
        "silence": """Sounds in which nobody speaks are a class of their own, too: faint and loud backgrounds. Most of
        the time a device hears nothing else, and each false alarm is one too many. Detectors of all kinds need examples
        in which there is nothing to detect. Without it, there are none in the batches.""",
    }
    report.section("Nine techniques")
    for name, label in TECHNIQUES.items():
        report.text(f"{label.capitalize()}. {paragraphs[name]}")
    report.formula(
        r"\tilde{x}(t) = a \, x(v (t - t_0)) + b \, n(t), \quad"
        r" b = \sqrt{\frac{\overline{a^2 x^2}}{\overline{n^2}} \, 10^{-r / 10}}",
        note=r"""What becomes of a clip $x$: speed $v$, shift $t_0$, amplitude $a$, and noise $n$ in the ratio $r$
        (decibels; bars are means over the clip).""",
    )
