"""The question and the mathematics of `vae_sevens`, for its report."""

from experiments.harness import Run


def explain(run: Run) -> None:
    """What is asked, how a VAE answers, and how the effect is found in it."""
    report = run.report
    report.section("Question")
    report.text(
        """Thousands of sevens in as many hands, and somebody did something to all of them: the same kind of thing, to
        each by another amount. They differ in what was done and in how they were written, and nobody says which is
        which. Can a machine that has to put each picture into a few numbers, and to draw it again from these, set the
        effect apart in one of the numbers? Which one is it, and what was done? The machine is not told, and nobody
        looks at the pictures for it."""
    )
    report.section("A variational auto-encoder")
    report.text(
        r"""A picture $x$ with pixels between 0 and 1 is taken to be drawn from a code $z$ of $K$ numbers, which are
        independently normal; a net, the decoder, turns the code into the probability $g_i(z)$ that pixel $i$ is ink.
        How likely a picture is cannot be computed. A second net, the encoder, gives mean $\mu(x)$ and variance
        $\sigma^2(x)$ of a normal distribution $q$ of codes, and with it a bound that can:"""
    )
    report.formula(
        r"-\log p(x) \le \underbrace{E_{z \sim q} \left[ -\sum_i x_i \log g_i(z) + (1 - x_i) \log (1 - g_i(z)) "
        r"\right]}_{\text{reconstruction}} + \underbrace{D(q \| p)}_{\text{divergence}}",
        r"D(q \| p) = \frac{1}{2} \sum_{k=1}^{K} \left( \mu_k^2 + \sigma_k^2 - 1 - \log \sigma_k^2 \right)",
        note="Both nets make this bound small together (Kingma and Welling 2014).",
    )
    report.text(
        r"""A draw from $q$ has no derivative. So the randomness is drawn beforehand, and the code made from it by a
        function that has one (reparametrisation):"""
    )
    report.formula(
        r"z_k = \mu_k(x) + \sigma_k(x) \epsilon_k, \quad \epsilon_k \sim N(0, 1)",
        r"\frac{\partial z_k}{\partial \mu_k} = 1, \quad \frac{\partial z_k}{\partial \sigma_k} = \epsilon_k",
    )
    report.text(
        """Left to itself, a code may tangle: pictures turned to the left and to the right end up at the same end of a
        dimension, and no small step leads from there to better order. So one dimension learns alone first, from
        pictures that are blurred so much that turned ones look almost like their neighbours, and less and less then.
        Several such starts are made; the one with the least loss goes on with all dimensions.""",
        r"""The bound has no reason to keep what was done to the pictures apart from how they differ anyway: a code may
        well follow the sum of an applied rotation and the writer's own slant. What only differs among the treated
        pictures, though, is the effect. So at last untouched sevens $y$ learn beside them, with one dimension
        $d$ held at 0, that which is suspected of carrying the effect: how they differ must be said by the others, and
        what they do not differ in moves into this one (after Abid and Zou 2019).""",
    )
    report.formula(
        r"L = L_x(\mu, \sigma) + \lambda L_y(\mu', \sigma'), \quad \mu'_d = 0, \quad \sigma'_d = 0",
        note=r"$L_x$ and $L_y$ are the bounds on treated and untouched pictures; dimension $d$ of $y$ costs nothing.",
    )
    report.section("Finding the effect")
    report.text(
        r"""One dimension of the code moves, the others stay at 0, and what the decoder draws is measured: the drawing
        of the middle code is turned, moved, sized, slanted, widened and faded by parameters $p$ until it is most like
        each of the others (registration: least squares over all parameters together, from coarse to fine).
        Each quantity $m_q$ is compared with how much it differs by nature among untouched sevens, as the same decoder
        draws them. Handwriting differs in slant and in the width of the pen, hardly in blackness: what is remarkable
        in one is nothing in the other."""
    )
    report.formula(
        r"p(x) = \underset{p}{\text{argmin}} \sum_i \left( T_p g(0)_i - x_i \right)^2 + \rho \left( p \right)",
        r"s_{kq} = \frac{| m_q(g(b_k e_k)) - m_q(g(a_k e_k)) |}{\max(n_q, f_q)}",
        note=r"""$T_p$ changes a drawing by $p$, and $\rho$ restrains parameters that hardly show. $a_k$, $b_k$: codes
        that cut off the lowest and the highest twentieth of the pictures; $n_q$: the same span of $m_q$ among untouched
        sevens; $f_q$: a change that hardly shows in 28 x 28 pixels. The greatest score names dimension and effect.""",
    )
