"""Records of the matrix products."""

from __future__ import annotations

from typing import Any

import numpy as np

from reference import linalg
from reference.elementwise import Gradients
from reference.table.record import Call, Failure, Record, call

PRODUCTS = (
    *(((3,), (3,)), ((3,), (3, 4)), ((2, 3), (3,)), ((2, 3), (3, 4)), ((5, 2, 3), (3, 4)), ((5, 2, 3), (3,))),
    *(((3,), (5, 3, 4)), ((2, 3), (5, 3, 4)), ((6, 1, 2, 3), (5, 3, 4)), ((0, 3), (3, 4)), ((2, 0), (0, 3))),
)
SUMS = (
    *(("ij,jk->ik", (2, 3), (3, 4)), ("ij,jk", (2, 3), (3, 4)), ("ji", (2, 3)), ("ij->", (2, 3)), ("ij->j", (2, 3))),
    *(("ii", (3, 3)), ("ii->i", (3, 3)), ("iij->ij", (3, 3, 2)), ("iijj->ij", (2, 2, 3, 3))),
    ("iij,jkk->ik", (3, 3, 2), (2, 4, 4)),
    *(("i,i->", (3,), (3,)), (",->", (), ()), ("ij,k->k", (2, 3), (4,)), ("ab,cd->dbca", (2, 3), (4, 5))),
    *(("ij,jk,kl->il", (2, 3), (3, 4), (4, 5)), ("bij,bjk->bik", (5, 2, 3), (5, 3, 4)), ("ij,ij->ij", (1, 3), (2, 3))),
    *(("...ij,...jk->...ik", (6, 2, 3), (3, 4)), ("...ij, ...jk", (6, 1, 2, 3), (5, 3, 4)), ("i...->...", (2, 3, 4))),
    ("ij,j->i", (0, 3), (3,)),
)


def _pairs(rng: np.random.Generator) -> list[Call]:
    return [call(rng.normal(size=left), rng.normal(size=right)) for left, right in PRODUCTS]


def _sums(rng: np.random.Generator) -> list[Call]:
    return [call(text, *(np.asarray(rng.normal(size=shape)) for shape in operands)) for text, *operands in SUMS]


def _layers(rng: np.random.Generator) -> list[Call]:
    return [
        call(rng.normal(size=(*lead, 3)), rng.normal(size=(4, 3)), rng.normal(size=4) if bias else None)
        for lead, bias in (((5,), True), ((), True), ((2, 5), True), ((0,), True), ((5,), False), ((6, 1, 2), False))
    ]


def _linear(x: Any, weight: Any, bias: Any = None) -> Any:
    return np.matmul(x, weight.T) if bias is None else np.matmul(x, weight.T) + bias


def _hand_linear(g: Any, x: Any, weight: Any, bias: Any = None) -> Gradients:
    """dx = G W; dW = sum over all rows of the outer product of G and x; db = the sum of all rows of G."""
    rows, inputs = g.reshape(-1, weight.shape[0]), x.reshape(-1, weight.shape[1])
    d_weight = np.sum(rows[:, :, None] * inputs[:, None, :], axis=0)
    return (g @ weight, d_weight) if bias is None else (g @ weight, d_weight, rows.sum(axis=0))


RECORDS = [
    Record(
        "matmul",
        samples=_pairs,
        numpy=np.matmul,
        hand=linalg.hand_matmul,
        torch=lambda torch, a, b: torch.matmul(a, b),
        failures=(
            Failure(call(np.ones((2, 3)), np.ones((4, 5))), ValueError, "as many columns on the left as rows on"),
            Failure(call(np.ones((2, 2, 3)), np.ones((5, 3, 4))), ValueError, "leading axes"),
            Failure(call(np.ones((2, 3)), 2.0), ValueError, "at least one axis"),
        ),
    ),
    Record(
        "linear",
        samples=_layers,
        numpy=_linear,
        hand=_hand_linear,
        torch=lambda torch, x, weight, bias: torch.nn.functional.linear(x, weight, bias),
        failures=(
            Failure(call(np.ones((5, 3)), np.ones((3, 4))), ValueError, "expected x (..., in) and weight (out, in)"),
            Failure(call(np.ones((5, 3)), np.ones((4, 3)), np.ones(1)), ValueError, "expected bias (4,)"),
        ),
    ),
    Record(
        "outer",
        samples=lambda rng: [call(rng.normal(size=n), rng.normal(size=m)) for n, m in ((3, 4), (5, 1), (0, 3))],
        numpy=np.outer,
        hand=linalg.hand_outer,
        torch=lambda torch, a, b: torch.outer(a, b),
        failures=(Failure(call(np.ones((2, 3)), np.ones(3)), ValueError, "two vectors, got shapes (2, 3) and (3,)"),),
    ),
    Record(
        "einsum",
        samples=_sums,
        numpy=np.einsum,
        hand=lambda g, text, *operands: linalg.hand_einsum(g, text, *operands),
        torch=lambda torch, text, *operands: torch.einsum(text, *operands),
        failures=(
            Failure(call("ij,jk", np.ones((2, 3))), ValueError, "describes 2 operands, got 1"),
            Failure(call("ij,jk", np.ones((2, 3)), np.ones((4, 2))), ValueError, "index 'j' has size 3 in one operand"),
            Failure(call("ii", np.ones((2, 3))), ValueError, "axes of different size"),
            Failure(call("ijk", np.ones((2, 3))), ValueError, "gives 3 indices to an operand of shape (2, 3)"),
            Failure(call("i&->i", np.ones((2, 3))), ValueError, "malformed"),
        ),
    ),
]
