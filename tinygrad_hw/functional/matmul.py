"""Matrix products: matmul, linear, outer, einsum."""

from __future__ import annotations

import math
from functools import lru_cache
from typing import Any

from tinygrad_hw.autograd import Function
from tinygrad_hw.backend import array_module
from tinygrad_hw.functional.arithmetic import expand, mul
from tinygrad_hw.functional.shape import reshape, transpose
from tinygrad_hw.kernels import column_sums, product

__all__ = ["einsum", "linear", "matmul", "outer"]

_LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"


def _flipped(x: Any) -> Any:
    """The last two axes exchanged; the property, for it costs the hot path nothing, where there are but two."""
    return x.T if x.ndim == 2 else transpose(x, -1, -2)


class Matmul(Function):
    """C = A B over the last two axes; Ā = C̄ Bᵀ, B̄ = Aᵀ C̄ (Giles 2008), batch axes broadcast."""

    broadcasts = True
    fresh = True

    @staticmethod
    def forward(ctx: Any, a: Any, b: Any) -> Any:
        wants_a, wants_b = ctx.needs_input_grad
        ctx.save_for_backward(a if wants_b else None, b if wants_a else None)
        try:
            ctx.a_shape, ctx.b_shape = a.shape, b.shape
            if b.ndim == 2 and a.ndim > 2:  # one large product instead of many small ones
                lead = a.shape[:-1]
                return product(a.reshape(math.prod(lead), a.shape[-1]), b).reshape(*lead, b.shape[-1])
            return product(a, b) if a.ndim == b.ndim == 2 else a @ b
        except (AttributeError, ValueError) as error:
            raise ValueError(
                "expected at least one axis each, as many columns on the left as rows on the right, and leading axes "
                "that broadcast"
            ) from error

    @staticmethod
    def backward(ctx: Any, grad: Any) -> Any:
        a, b = ctx.saved_tensors
        wants_a, wants_b = ctx.needs_input_grad
        a_shape, b_shape = ctx.a_shape, ctx.b_shape
        if len(a_shape) == len(b_shape) == 2:
            return product(grad, b.T) if wants_a else None, product(a.T, grad) if wants_b else None
        # a vector is a row on the left, a column on the right
        rows = (1, *a_shape) if len(a_shape) == 1 else a_shape
        columns = (*b_shape, 1) if len(b_shape) == 1 else b_shape
        batch = grad.shape[: grad.ndim - (len(a_shape) > 1) - (len(b_shape) > 1)]
        if len(columns) == 2:  # fold the batch into the rows
            rows = (math.prod(rows[:-1]), rows[-1])
            grad = grad.reshape(rows[0], columns[1])
        else:
            grad = grad.reshape(*batch, rows[-2], columns[-1])
        grad_a = grad_b = None
        if wants_a:
            grad_a = grad @ _flipped(b.reshape(columns))
            if len(columns) == 2:
                grad_a = grad_a.reshape(a_shape)
            elif len(a_shape) == 1:
                grad_a = grad_a.reshape(*batch, *a_shape)
        if wants_b:
            grad_b = _flipped(a.reshape(rows)) @ grad
            if len(b_shape) == 1:
                grad_b = grad_b.reshape(b_shape)
        return grad_a, grad_b


class Linear(Function):
    """y = x Wᵀ + b; x̄ = ȳ W, W̄ = ȳᵀ x, b̄ = the sum of ȳ over every axis but the last."""

    floating = True
    fresh = True
    writes_in_place = True

    @staticmethod
    def forward(ctx: Any, x: Any, weight: Any, bias: Any) -> Any:
        if weight.ndim != 2 or x.ndim == 0 or x.shape[-1] != weight.shape[1]:
            raise ValueError("expected x (..., in) and weight (out, in)")
        if bias is not None and bias.shape != weight.shape[:1]:
            raise ValueError(f"expected bias ({weight.shape[0]},)")
        wants_x, wants_weight, _ = ctx.needs_input_grad
        ctx.save_for_backward(x if wants_weight else None, weight if wants_x else None)
        ctx.shape = x.shape
        if x.ndim != 2:
            x = x.reshape(math.prod(x.shape[:-1]), x.shape[-1])
        out = product(x, weight.T, bias=bias)
        return out if len(ctx.shape) == 2 else out.reshape(*ctx.shape[:-1], weight.shape[0])

    @staticmethod
    def backward(ctx: Any, grad: Any) -> Any:
        x, weight = ctx.saved_tensors
        wants_x, wants_weight, wants_bias = ctx.needs_input_grad
        shape = ctx.shape
        if len(shape) != 2:
            rows = math.prod(shape[:-1])
            grad = grad.reshape(rows, grad.shape[-1])
            x = x.reshape(rows, shape[-1]) if wants_weight else None
        grad_x = grad_weight = grad_bias = None
        if wants_x:
            grad_x = product(grad, weight)
            if len(shape) != 2:
                grad_x = grad_x.reshape(shape)
        if wants_weight:
            grad_weight = product(grad.T, x, ctx.place(1))
        if wants_bias:
            grad_bias = column_sums(grad, ctx.place(2))
        return grad_x, grad_weight, grad_bias


class Einsum(Function):
    """Einstein summation. The gradient of an operand is the einsum of the output's gradient with the other operands.

    What that cannot give is added afterwards: an index summed within one operand alone repeats its gradient; an axis of
    size 1 that was broadcast is summed; an index that occurs twice in one operand puts its gradient on the diagonal.
    """

    broadcasts = True

    @staticmethod
    def forward(ctx: Any, plan: tuple[tuple[str, ...], str], *operands: Any) -> Any:
        xp = array_module(*operands)
        ctx.plan, ctx.shapes, ctx.xp = plan, [operand.shape for operand in operands], xp
        wanted = ctx.needs_input_grad[1:]
        ctx.save_for_backward(*(x if any(wanted[:i] + wanted[i + 1 :]) else None for i, x in enumerate(operands)))
        terms, output = plan
        # several operands go pairwise to BLAS; for a single one there is no order to choose
        return xp.einsum(f"{','.join(terms)}->{output}", *operands, optimize=len(operands) > 1)

    @staticmethod
    def backward(ctx: Any, grad: Any) -> Any:
        operands = ctx.saved_tensors
        wanted = ctx.needs_input_grad[1:]
        return None, *(_operand_gradient(ctx, grad, operands, i) if wanted[i] else None for i in range(len(operands)))


def _operand_gradient(ctx: Any, grad: Any, operands: tuple[Any, ...], position: int) -> Any:
    """The gradient of operand ``position`` of an einsum."""
    terms, output = ctx.plan
    term, shape = terms[position], ctx.shapes[position]
    others = [i for i in range(len(terms)) if i != position]
    sizes = dict(zip(term, shape, strict=True))
    outside = set(output).union(*(terms[i] for i in others))
    full = _sizes(terms, ctx.shapes)
    kept = [label for label in sizes if label in outside and sizes[label] == full[label]]
    equation = ",".join([output, *(terms[i] for i in others)]) + "->" + "".join(kept)
    grad = einsum(equation, grad, *(operands[i] for i in others))
    found = dict(zip(kept, grad.shape, strict=True))
    first = {label: term.index(label) for label in sizes}
    laid_out = [found.get(label, 1) if first[label] == axis else 1 for axis, label in enumerate(term)]
    spread = [sizes[label] if first[label] == axis else 1 for axis, label in enumerate(term)]
    grad = expand(grad.reshape(laid_out), spread)
    for axis, label in enumerate(term):
        if first[label] != axis:
            corner = [sizes[label] if i in (first[label], axis) else 1 for i in range(len(term))]
            grad = mul(grad, ctx.xp.eye(sizes[label], dtype=grad.dtype).reshape(corner))
    return grad


def _sizes(terms: tuple[str, ...], shapes: Any) -> dict[str, int]:
    """The size of every index: the largest of its axes, for an axis of size 1 is broadcast."""
    sizes: dict[str, int] = {}
    for term, shape in zip(terms, shapes, strict=True):
        for label, size in zip(term, shape, strict=True):
            known = sizes.get(label, 1)
            if known != size and 1 not in (known, size):
                raise ValueError(f"einsum: index {label!r} has size {known} in one operand and {size} in another")
            sizes[label] = size if known == 1 else known
    return sizes


@lru_cache(maxsize=1024)
def _plan(subscripts: str, shapes: tuple[tuple[int, ...], ...]) -> tuple[tuple[str, ...], str]:
    """A term for each operand and the output's term, the ellipsis written out; raises ValueError if malformed."""
    text = subscripts.replace(" ", "")
    left, arrow, output = text.partition("->")
    terms = left.split(",")
    if len(terms) != len(shapes):
        raise ValueError(f"einsum: {subscripts!r} describes {len(terms)} operands, got {len(shapes)}")
    strange = set(text.replace("->", "", 1).replace("...", "")) - set(_LETTERS + ",")
    if strange or any(term.count("...") > 1 for term in (*terms, output)):
        raise ValueError(f"einsum: {subscripts!r} is malformed: expected letters, commas, one '->', one '...' a term")
    hidden = [len(shape) - len(term) + 3 if "..." in term else 0 for term, shape in zip(terms, shapes, strict=True)]
    fill = "".join([letter for letter in _LETTERS if letter not in text][: max(0, *hidden)])
    terms = [term.replace("...", fill[len(fill) - count :]) for term, count in zip(terms, hidden, strict=True)]
    for term, shape in zip(terms, shapes, strict=True):
        if len(term) != len(shape):
            raise ValueError(f"einsum: {subscripts!r} gives {len(term)} indices to an operand of shape {shape}")
        for label, size in zip(term, shape, strict=True):
            if shape[term.index(label)] != size:
                raise ValueError(f"einsum: index {label!r} stands for axes of different size in shape {shape}")
    _sizes(tuple(terms), shapes)
    joined = "".join(terms)
    if arrow:
        output = output.replace("...", fill)
    else:
        output = fill + "".join(sorted(c for c in set(joined) if joined.count(c) == 1 and c not in fill))
    if len(set(output)) != len(output) or not set(output) <= set(joined):
        raise ValueError(f"einsum: {subscripts!r}: each index of the output must occur there once, and in some operand")
    return tuple(terms), output


def matmul(a: Any, b: Any) -> Any:
    """The matrix product ``a @ b``.

    Shapes: (n, k) (k, m) → (n, m). A vector is a row on the left and a column on the right, and its axis disappears:
    (k) (k) → (), (k) (k, m) → (m), (n, k) (k) → (n). Axes before the last two broadcast: (b, n, k) (k, m) → (b, n, m).
    Operands are promoted to their common dtype. Raises ValueError where shapes do not fit.
    """
    return Matmul.apply(a, b)


def linear(x: Any, weight: Any, bias: Any = None) -> Any:
    """x Wᵀ + b.

    Shapes: ``x`` (..., in), ``weight`` (out, in), ``bias`` (out,) or None → (..., out). Raises ValueError where they do
    not fit.
    """
    return Linear.apply(x, weight, bias)


def outer(a: Any, b: Any) -> Any:
    """a bᵀ of two vectors: (n) (m) → (n, m). Raises ValueError when an operand has not exactly one axis."""
    if a.ndim != 1 or b.ndim != 1:
        raise ValueError(f"outer: expected two vectors, got shapes {tuple(a.shape)} and {tuple(b.shape)}")
    return mul(reshape(a, -1, 1), b)


def einsum(subscripts: str, *operands: Any) -> Any:
    """Einstein summation: ``einsum("bij,bjk->bik", a, b)`` is a batch of matrix products.

    One letter names each axis of each operand; letters missing from the output are summed over. Without ``->`` the
    output has, in alphabetical order, the letters that occur once. ``...`` stands for axes that broadcast. A letter
    twice in one operand takes its diagonal ("ii->i"; "ii" is the trace). An ellipsis missing from an explicit output is
    summed over, as in PyTorch. Raises ValueError for malformed subscripts and sizes that disagree.
    """
    if not isinstance(subscripts, str):
        raise TypeError(f"einsum: expected subscripts as a string, got {type(subscripts).__name__}")
    return Einsum.apply(_plan(subscripts, tuple(tuple(operand.shape) for operand in operands)), *operands)
