"""The question and the mathematics of source_separation, for its report."""

from typing import Any

from experiments.audio.transform import Transform
from experiments.harness.report import Report


def explain(report: Report, config: Any, transform: Transform, rate: int) -> None:
    """What is asked, what is learned, how gradients are truncated, and what is measured."""
    seconds = transform.hop / rate
    report.section("The question")
    report.text(
        rf"""A song is the sum of a voice and of everything that plays along. Can a net take them apart that gets the
        sum alone? It works on the short-time Fourier transform, frames of {transform.n_fft:,} samples every
        {transform.hop} ({1e3 * seconds:.0f} ms), and answers with a mask: how much of each of {transform.bins}
        frequencies in each frame is sung. A song has thousands of frames, and what the net remembers of them is its
        state; but to learn, the gradient has to go back through time, which takes memory for every frame. How much is
        lost when it goes back {config.piece} frames ({config.piece * seconds:.2g} s) at most, when the state is carried
        over these cuts or is not, and when the state to begin from is learned as well?"""
    )
    report.section("The mathematics")
    report.text(
        "The mixture $X = V + A$ of vocals and accompaniment is known as a spectrum, at frequency $f$ and frame $t$; "
        "so are $V$ and $A$ while a net learns. Among real masks the one with the least error in each bin, within 0 "
        "and 1, is the target (Erdogan and others 2015):"
    )
    report.formula(
        r"M_{f,t} = \min \left( 1 , \max \left( 0 , \frac{\mathrm{Re} ( V_{f,t} X_{f,t}^{*} )}{| X_{f,t} |^2} \right) "
        r"\right)",
        r"\hat{V} = \sigma ( y ) \odot X , \quad \hat{a} = x - \hat{v}",
        note="The vocals $\\hat{v}$ are the inverse transform of $\\hat{V}$, with the mixture's phases; the "
        "accompaniment $\\hat{a}$ is what remains.",
    )
    layers = f"{config.layers} layer{'s' * (config.layers > 1)}"
    report.text(
        rf"""The net gets $u_t = ( \log ( | X_t | + 0.01 ) - \mu ) / d$, mean $\mu$ and deviation $d$ of each frequency
        taken from the training songs. It is a long short-term memory of {layers} of {config.hidden} units (Hochreiter
        and Schmidhuber 1997), and a linear layer makes {transform.bins} logits $y_t$ of its output $h_t$:"""
    )
    report.formula(
        r"i_t , f_t , o_t = \sigma ( W u_t + U h_{t-1} + b ) , \quad g_t = \tanh ( W_g u_t + U_g h_{t-1} + b_g )",
        r"c_t = f_t \odot c_{t-1} + i_t \odot g_t , \quad h_t = o_t \odot \tanh ( c_t )",
    )
    report.text("The loss of an excerpt is the cross-entropy with the target, loud bins counting more:")
    report.formula(
        rf"L = \sum_{{f,t}} w_{{f,t}} \left( - M_{{f,t}} \log \sigma ( y_{{f,t}} ) - ( 1 - M_{{f,t}} ) \log ( 1 - "
        rf"\sigma ( y_{{f,t}} ) ) \right) , \quad w_{{f,t}} = \frac{{| X_{{f,t}} |^p}}{{\sum | X |^p}} , \quad "
        rf"p = {config.weighting:g}",
        note="Whatever $w$, the best answer to what cannot be known is the mean of $M$; $w$ says where a limited net "
        "is to be accurate.",
    )
    report.text(
        r"Let $L = \sum_t L_t$ and $s_t = ( h_t , c_t )$. By the chain rule the gradient is a sum over pairs of "
        r"frames, the error at $t$ and the use of the weights at $k \leq t$:"
    )
    report.formula(
        r"\frac{\partial L}{\partial W} = \sum_t \sum_{k \leq t} \frac{\partial L_t}{\partial s_t} "
        r"\left( \prod_{j=k+1}^{t} \frac{\partial s_j}{\partial s_{j-1}} \right) \frac{\partial^{+} s_k}{\partial W}",
        note=r"$\partial^{+}$ is the derivative with $s_{k-1}$ held fixed.",
    )
    report.text(
        rf"""Truncated backpropagation (Williams and Peng 1990) cuts an excerpt of {config.excerpt} frames into pieces
        of $\tau = {config.piece}$ and keeps the pairs within a piece alone: each is differentiated as it comes, and its
        memory is given back before the next. *Stateful*: a piece begins with the values of the state in which the one
        before ended. *Stateless*: it begins with $s_0$, as if nothing had been heard before. $s_0$ is zero, or it is
        learned, like a weight: stateful pieces change it by the first one alone, stateless ones by each. The gradients
        of all pieces are added up before an update, so that every way makes the same number of updates; what
        differs is how far the gradient reaches and what a piece begins with.""".replace("*", "")
    )
    report.text(
        r"""What is measured is BSS Eval (Vincent, Gribonval and Févotte 2006): a recovered source $\hat{s}$ is
        projected on what filters of 512 taps can make of the source, and then of both sources; the rest are
        interference and artefacts."""
    )
    report.formula(
        r"\hat{s} = s_{\mathrm{target}} + e_{\mathrm{interf}} + e_{\mathrm{artif}}",
        r"\mathrm{SDR} = 10 \log_{10} \frac{\| s_{\mathrm{target}} \|^2}"
        r"{\| e_{\mathrm{interf}} + e_{\mathrm{artif}} \|^2} , \quad "
        r"\mathrm{SIR} = 10 \log_{10} \frac{\| s_{\mathrm{target}} \|^2}{\| e_{\mathrm{interf}} \|^2} , \quad "
        r"\mathrm{SAR} = 10 \log_{10} \frac{\| s_{\mathrm{target}} + e_{\mathrm{interf}} \|^2}"
        r"{\| e_{\mathrm{artif}} \|^2}",
        note="In dB, over a whole song; SDR is what counts, SIR says how much of the other source is left, SAR how "
        "much there is that belongs to neither.",
    )
    report.text(
        f"""An update takes {config.batch} excerpts, cut anywhere out of the training songs; {config.remix:.0%} of them
        have vocals of one place and accompaniment of another, and each source is up to {config.level:g} dB louder or
        softer. An epoch is {config.excerpts} excerpts. Adam's learning rate falls from {config.learning_rate:g} to zero
        along half a cosine, and {config.dropout:.0%} of inputs and outputs of the memory are left out. The net of the
        epoch with the least loss on the validation songs is kept. All nets begin with the same weights and get the
        same excerpts. A song to be judged is heard from its beginning to its end, with the state carried."""
    )
