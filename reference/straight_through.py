"""Rounding and its kin: value, and the derivative that training uses in place of the true one (0 almost everywhere).

The straight-through estimator (Bengio, Leonard & Courville 2013, "Estimating or propagating gradients through
stochastic neurons") passes the gradient as if the function were the identity; where the function also saturates, it
passes nothing outside the range (Hubara et al. 2016, "Binarized neural networks", eq. 4). No numeric oracle can confirm
these, as they are not derivatives: they are checked against the identity or the clipped identity that they stand for.
"""

from __future__ import annotations

from reference.elementwise import Gradients
from tinygrad_hw.backend import Array, array_module


def sign(x: Array) -> Array:
    """+1 where x >= 0, else -1 (Courbariaux et al. 2016: two values, none of them 0)."""
    return array_module(x).where(x >= 0, 1.0, -1.0).astype(x.dtype)


def hand_sign(g: Array, x: Array) -> Gradients:
    """Derivative of clip(x, -1, 1): g where |x| <= 1, else 0."""
    return (g * (array_module(x).abs(x) <= 1),)


def round(x: Array) -> Array:
    """To the nearest whole number, halves to even."""
    return array_module(x).rint(x)


def hand_round(g: Array, x: Array) -> Gradients:
    """Derivative of the identity."""
    return (g * 1,)


def clip(x: Array, min: float, max: float) -> Array:
    """x limited to [min, max]."""
    return array_module(x).clip(x, min, max)


def hand_clip(g: Array, x: Array, min: float, max: float) -> Gradients:
    """Derivative of the identity: entries out of range keep learning."""
    return (g * 1,)


def quantize(x: Array, bits: int) -> Array:
    """The nearest of 2^bits equidistant values in [0, 1]: round(clip(x, 0, 1) n) / n, n = 2^bits - 1.

    Zhou et al. 2016, "DoReFa-Net", eq. 5.
    """
    steps = 2**bits - 1
    return array_module(x).rint(array_module(x).clip(x, 0, 1) * steps) / steps


def hand_quantize(g: Array, x: Array, bits: int) -> Gradients:
    """Derivative of clip(x, 0, 1): g where 0 <= x <= 1, else 0."""
    return (g * ((x >= 0) & (x <= 1)),)


def binarize(w: Array) -> Array:
    """mean|w| sign(w), the nearest array of two values +-a (Rastegari et al. 2016, "XNOR-Net", eq. 6)."""
    return array_module(w).abs(w).mean() * sign(w)


def hand_binarize(g: Array, w: Array) -> Gradients:
    """Derivative of the identity (BinaryConnect, Courbariaux et al. 2015)."""
    return (g * 1,)


def ternarize(w: Array) -> Array:
    """a sign(w) where |w| > 0.7 mean|w|, else 0; a is the mean of |w| over the entries kept.

    Li, Zhang & Liu 2016, "Ternary weight networks", eqs. 3 to 6.
    """
    xp = array_module(w)
    size = xp.abs(w)
    kept = size > 0.7 * size.mean()
    scale = (size * kept).sum() / xp.maximum(kept.sum(), 1).astype(w.dtype)
    return scale * xp.sign(w) * kept


def hand_ternarize(g: Array, w: Array) -> Gradients:
    """Derivative of the identity."""
    return (g * 1,)
