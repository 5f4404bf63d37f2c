"""The question and the derivation of the bound, in words and formulas."""

from experiments.harness.report import Report


def explain(report: Report) -> None:
    """Step by step, after Pascanu, Mikolov and Bengio (2013)."""
    report.section("Question")
    report.text(
        r"""A recurrent net reads a sequence $x_1, \ldots, x_T$ and carries a state from step to step, $h_t = \varphi(W
        h_{t-1} + U x_t + b)$, with the same weights in every step. A cost $C$ judges the last state. To learn from it
        that something long ago mattered, the gradient must come all the way back to that step. When does it die out on
        the way, when does it grow beyond all measure, which nets carry it further, and what is lost when it is cut off
        on purpose?"""
    )
    report.section("The bound")
    report.text(
        r"""Norms of vectors are Euclidean; the norm of a matrix is its largest singular value, the most by which it can
        stretch a vector. Derivatives of a vector by a vector have a row for each component of the upper one.""",
        r"""First, what is to be found. The weights take part in every step, so the derivative by them is a sum over the
        steps, in which $\partial^+ h_t / \partial W$ is what $W$ does to $h_t$ in step $t$ alone, with $h_{t-1}$ held
        fixed:""",
    )
    report.formula(
        r"\frac{\partial C}{\partial W} = \sum_{t=1}^{T} \frac{\partial C}{\partial h_t}"
        r" \frac{\partial^+ h_t}{\partial W}"
    )
    report.text(
        r"""The contribution of step $t$ is as large as $\partial C / \partial h_t$ allows. Second, the chain rule, step
        by step back from the last one:"""
    )
    report.formula(
        r"\frac{\partial C}{\partial h_t} = \frac{\partial C}{\partial h_T} \frac{\partial h_T}{\partial h_{T-1}}"
        r" \frac{\partial h_{T-1}}{\partial h_{T-2}} \cdots \frac{\partial h_{t+1}}{\partial h_t}"
        r" = \frac{\partial C}{\partial h_T} \prod_{k=T}^{t+1} \frac{\partial h_k}{\partial h_{k-1}}"
    )
    report.text(
        r"""Third, a single step. With $a_k = W h_{k-1} + U x_k + b$, component $i$ of $h_k$ is $\varphi(a_{k,i})$, and
        its derivative by component $j$ of $h_{k-1}$ is $\varphi'(a_{k,i}) W_{ij}$:"""
    )
    report.formula(
        r"\frac{\partial h_k}{\partial h_{k-1}} = D_k W, \quad D_k = \operatorname{diag}(\varphi'(a_k))",
        r"\frac{\partial C}{\partial W} = \sum_{t=1}^{T} D_t g_t h_{t-1}^{\top}, \quad"
        r" g_t = \left( \frac{\partial C}{\partial h_t} \right)^{\top}",
        note="The second line writes out the sum of the first step; it is checked below, too.",
    )
    report.text(
        r"""Fourth, norms. Since $\| M N x \| \le \| M \| \| N \| \| x \|$, and since the norm of a diagonal matrix is
        its largest magnitude, the product falls apart:"""
    )
    report.formula(
        r"\left\| \frac{\partial C}{\partial h_t} \right\| \le \left\| \frac{\partial C}{\partial h_T} \right\|"
        r" \prod_{k=t+1}^{T} \| D_k \| \| W \|, \quad \| D_k \| = \max_i | \varphi'(a_{k,i}) |",
        note="This is what is checked below, with all norms measured.",
    )
    report.text(
        r"""Fifth, what many steps do. Let $\gamma$ be the greatest slope: 1 for tanh, for rectified and for linear
        units. All factors of a deep net may differ; here $W$ is the same in each, so the bound is a power:"""
    )
    report.formula(
        r"\left\| \frac{\partial C}{\partial h_t} \right\| \le (\gamma \| W \|)^{T-t}"
        r" \left\| \frac{\partial C}{\partial h_T} \right\|"
    )
    report.text(
        r"""If $\| W \| < 1 / \gamma$ the gradient must vanish, exponentially in the number of steps: this is
        sufficient. Turned round, it can only explode if $\| W \| > 1 / \gamma$: this is necessary, and not sufficient.
        The norm is what can happen in one step; what happens in many is told by the spectral radius $\rho$, the largest
        magnitude of an eigenvalue of $W$, which is never above the norm. For linear units the gradient is multiplied by
        the power $W^{T-t}$ itself, and""",
    )
    report.formula(
        r"\lim_{n \to \infty} \| W^n \|^{1/n} = \rho(W) \le \| W \|",
        note=r"""Gelfand's formula: a linear net's gradient vanishes when $\rho < 1$ and explodes when $\rho > 1$,
        however large the norm is. For a multiple of an orthogonal matrix both are the same, and the bound is
        reached.""",
    )
