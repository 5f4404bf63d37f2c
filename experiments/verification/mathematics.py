"""The question and the mathematics of speaker_verification, for its report."""

from typing import Any

from experiments.audio.transform import Transform
from experiments.harness.report import Report


def ask(report: Report, transform: Transform) -> None:
    """What is asked."""
    report.section("The question")
    report.text(
        rf"""Two short recordings: did one person speak both? A net that is to answer this about anybody cannot have a
        class for each voice; it must learn what makes two recordings be of one voice, from the voices of some people,
        and say it about people whom it has never heard. It gets the short-time Fourier transform of both recordings,
        {transform.bins} frequencies every {transform.hop} samples, and answers with a probability. How often is it
        right, how much do more training voices help, and is it the voice that it hears, or the microphone?"""
    )


def explain(report: Report, config: Any, transform: Transform) -> None:
    """The net, its loss, its mini-batches, its threshold."""
    report.section("The mathematics")
    report.text(
        r"""The two halves of a Siamese net are one net with one set of weights (Bromley and others 1993): whatever it
        makes of the first recording, it would make of the second. It turns the spectrum $X$ of a recording of any
        length into a vector of fixed length, and the inner product of two vectors goes into a sigmoid:"""
    )
    recurrent = (
        rf"""A GRU of {config.hidden} units in each direction runs over $u$; $h$ has its states, and what the first
        layer made of the frame, side by side. """
        if config.hidden
        else r"Here $h_t = u_t$: this net has no recurrent layer. "
    )
    report.formula(
        r"u_t = \max \left( 0 , W_1 \frac{\log ( | X_t | + 0.1 ) - \mu}{d} + b_1 \right)",
        r"h = \left[ u , \mathrm{GRU} ( u ) \right]" if config.hidden else r"h = u",
        r"v = W_2 \left[ \mathrm{mean}_t \, h_t , \mathrm{std}_t \, h_t \right] + b_2",
        r"e = s \, \frac{v}{\| v \|}",
        r"p ( \text{one speaker} ) = \sigma ( e^T e' + b )",
        note=rf"""$X$ is that of the recording at a root mean square of 1. $u_t$ has {config.width} units. {recurrent}
        Mean and deviation over the frames $t$ make a fixed length of any number of frames; $e$ has {config.embedding}
        numbers. The length $s$ and the offset $b$ are learned, so that the inner product is $s^2$ times the cosine of
        the angle.""",
    )
    report.text(
        r"""The offset is needed. Without it, vectors of different speakers must have a negative inner product to be
        told apart, all of them with each other; but among $n$ vectors of length $s$ the mean inner product of two
        different ones is never below $- s^2 / ( n - 1 )$, since
        $\| \sum_i e_i \|^2 = n s^2 + \sum_{i \ne j} e_i^T e_j \ge 0$.
        With many speakers most pairs are at right angles, and it takes $b < 0$ to say no to them.""",
        f"""A mini-batch belongs to one training speaker: $L = {config.pairs}$ pairs of this speaker's utterances, out
        of the {config.utterances * (config.utterances - 1) // 2} that there are, and as many pairs of one of this
        speaker's utterances with one that is drawn from everybody else's. One epoch has a mini-batch of each training
        speaker in random order; each step takes {config.batch}. The loss is the binary cross-entropy over the $2 L$
        pairs:""",
    )
    report.formula(
        r"C = - \frac{1}{2 L} \sum_{i = 1}^{2 L} \left( y_i \log p_i + ( 1 - y_i ) \log ( 1 - p_i ) \right)",
        note=f"""$y_i$ is 1 for a pair of one speaker, else 0. Adam makes it smaller, at a rate that falls from
        {config.learning_rate:g} to zero along half a cosine; {config.dropout:.0%} of the frequencies and of the pooled
        units are left out at random.""",
    )
    report.text(
        rf"""A net knows its training speakers too well, so its probabilities are wrong for others. The training
        speakers are dealt into {config.folds} parts; net $k$ learns from all but part $k$, is kept as it was after the
        epoch with the least cross-entropy on all pairs of part $k$, and judges the pairs of part $k$. A logistic
        regression on what all {config.folds} nets say about the parts that they have left out gives a slope $a$ and an
        offset $c$ (Platt 1999), positive and negative pairs weighing the same. The verdict on a test pair is the sign
        of the calibrated mean of the nets' logits,"""
    )
    report.formula(
        r"\frac{a}{K} \sum_{k = 1}^{K} \left( e_k^T e_k' + b_k \right) + c = E^T E' + B , \qquad "
        r"E = \sqrt{\frac{a}{K}} \, [ e_1 , \dots , e_K ]",
        note="""the inner product of two vectors $E$ of fixed length, and an offset: together the nets are one Siamese
        net. No test speaker has a part in any of this.""",
    )
