"""The question and the mathematics of speech_denoising, for its report."""

from typing import Any

from experiments.audio.transform import Transform
from experiments.harness.report import Report


def explain(report: Report, config: Any, transform: Transform, *, synthetic: bool) -> None:
    """What is asked, what the mask is, what is learned, and why that is the signal-to-noise ratio."""
    report.section("The question")
    report.text(
        rf"""Somebody speaks where it is noisy. Can a net, which has only heard other voices in other stretches of such
        noises, give back the speech alone? It works on the short-time Fourier transform of the mixture, frames of
        {transform.n_fft:,} samples every {transform.hop}, and answers with a mask: how much of each of
        {transform.bins} frequencies is to pass in each frame. How much does a net gain that remembers the frames
        before, compared with one that sees a single frame, and how far is it from the best that a mask can do?"""
    )
    if synthetic:
        report.text(
            """All that is heard here is synthetic, speech as well as noise: voices that speak no language, and kinds
            of sound made by formulas. With real recordings (`--data-dir`) the numbers are others, and lower."""
        )
    report.section("The mathematics")
    report.text(
        "The mixture $X = S + N$ of speech and noise is known as a spectrum, at frequency $f$ and frame $t$; so are "
        "$S$ and $N$ while the net learns. The target is the ideal binary mask:"
    )
    report.formula(
        r"M_{f,t} = 1 \; \text{where} \; | S_{f,t} | > | N_{f,t} | , \; \text{else} \; 0",
        r"\hat{S} = M \odot X",
        r"\mathrm{SNR} = 10 \log_{10} \frac{\sum_i s_i^2}{\sum_i ( s_i - \hat{s}_i )^2}",
        note="The signal $\\hat{s}$ is the inverse transform of $\\hat{S}$: the mixture's magnitudes times the mask, "
        "with the mixture's phases. The ratio is what counts in the end.",
    )
    report.text(
        rf"""The net gets $x_t = ( \log ( | X_t | + 0.01 ) - \mu ) / d$, mean $\mu$ and deviation $d$ of each frequency
        taken from training mixtures: loudness is heard in ratios, and so are voices against noises. The recurrent net
        has {config.layers} layer{"s" * (config.layers > 1)} of {config.hidden} {config.kind.upper()} units; the fully
        connected one {config.fc_layers} of {config.fc_hidden} rectified units. Both end in {transform.bins} logits $y$,
        and $\sigma ( y )$ is the soft mask."""
    )
    gru = [
        r"r_t = \sigma ( W_r x_t + U_r h_{t-1} + b_r ) , \quad z_t = \sigma ( W_z x_t + U_z h_{t-1} + b_z )",
        r"n_t = \tanh ( W_n x_t + b_n + r_t \odot ( U_n h_{t-1} + c_n ) ) , \quad "
        r"h_t = ( 1 - z_t ) \odot n_t + z_t \odot h_{t-1}",
    ]
    lstm = [
        r"i_t , f_t , o_t = \sigma ( W x_t + U h_{t-1} + b ) , \quad g_t = \tanh ( W_g x_t + U_g h_{t-1} + b_g )",
        r"c_t = f_t \odot c_{t-1} + i_t \odot g_t , \quad h_t = o_t \odot \tanh ( c_t )",
    ]
    if config.kind == "gru":
        note = "Gated recurrent unit (Cho and others 2014): the gates $z_t$ say what of its memory $h$ it keeps."
    else:
        note = "Long short-term memory (Hochreiter and Schmidhuber 1997): the gate $f_t$ says what of $c$ is kept."
    report.formula(*(gru if config.kind == "gru" else lstm), note=note)
    report.text(
        rf"""A wrong mask does not cost the same everywhere. With mask 1 the error of a bin has the energy $| N |^2$,
        with mask 0 it has $| S |^2$; so a wrong one costs $w = \left| | S |^2 - | N |^2 \right|$ more than the right
        one. The cross-entropy of each sentence is weighted by $w^p$ with $p = {config.weighting:g}$: for $p = 1$ the
        mask that is most probable by weight is the one with the least expected energy of error, for $p = 0$ silence
        counts as much as speech."""
    )
    report.formula(
        r"L_1 = - \frac{\sum_{f,t} w_{f,t}^p ( M_{f,t} \log \sigma ( y_{f,t} ) + ( 1 - M_{f,t} ) \log "
        r"( 1 - \sigma ( y_{f,t} ) ) )}{\sum_{f,t} w_{f,t}^p}",
        r"L_2 = - \mathrm{SNR} \left( s , \mathrm{STFT}^{-1} ( \sigma ( y ) \odot X ) \right)",
        note="$L_1$ in the first epochs; $L_2$ in the last ones, through the inverse transform, which is linear and so "
        "easily differentiated.",
    )
    report.text(
        r"""$L_2$ does not forget the binary mask. The best real mask for expected energy of error is
        $m = \mathrm{E} [ \mathrm{Re} ( S X^{*} ) ] / | X |^2$ (Erdogan and others 2015), and as
        $2 \, \mathrm{Re} ( S X^{*} ) = | X |^2 + | S |^2 - | N |^2$, it exceeds one half exactly where
        $\mathrm{E} | S |^2 > \mathrm{E} | N |^2$: where a binary mask should be 1. One net serves both masks."""
    )
    pieces = f"in pieces of {config.truncate} frames" if config.truncate else "whole"
    anew = (
        f"Each time, a sentence is mixed anew: with another stretch of the same noise, at a ratio of up to "
        f"{config.spread:g} dB more or less, up to {config.level:g} dB louder or softer, spoken up to "
        f"{config.speed:.0%} faster or slower, voice included. The noise is played up to {config.noise_speed:.0%} "
        "faster or slower, or backwards, and both go through random filters of second order (Valin 2018), so that "
        "neither a stretch of noise nor a microphone is learned by heart."
        if config.anew
        else "The training mixtures are always the same."
    )
    report.text(
        f"""A step takes {config.batch} sentences, {pieces}, padded to one length; what is padded counts nowhere. {anew}
        Adam's learning rate falls from {config.learning_rate:g} to zero along half a cosine; {config.dropout:.0%} of
        the inputs and of the hidden units are left out. The net of the epoch with the best binary masks on the
        validation mixtures is kept. The recurrent net knows no later frame: it can work while the
        sound comes in, with the delay of one frame."""
    )
