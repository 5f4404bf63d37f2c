"""Starting values of weights, written in place: ``init.kaiming_uniform_(layer.weight)``.

Every function takes a floating Tensor (usually a Parameter), fills it from a Stream (default:
``default_stream("init")``) and returns it. The same seed gives the same values on every device.
"""

from __future__ import annotations

import math

import numpy as np

from tinygrad_hw.autograd import no_grad
from tinygrad_hw.backend import Array, to_device
from tinygrad_hw.random import Stream, default_stream
from tinygrad_hw.tensor import Tensor


def _write(tensor: Tensor, values: Array | float) -> Tensor:
    with no_grad():
        return tensor.copy_(values if isinstance(values, (int, float)) else to_device(values, tensor.device))


def _draw_dtype(tensor: Tensor) -> np.dtype:
    """What to draw in: streams draw float32 and float64."""
    return tensor.dtype if tensor.dtype.itemsize >= 4 else np.dtype(np.float32)


def uniform_(tensor: Tensor, a: float = 0.0, b: float = 1.0, *, stream: Stream | None = None) -> Tensor:
    """Fill with U(a, b)."""
    draw = (stream or default_stream("init")).uniform
    return _write(tensor, draw(tensor.shape, a, b, dtype=_draw_dtype(tensor)))


def normal_(tensor: Tensor, mean: float = 0.0, std: float = 1.0, *, stream: Stream | None = None) -> Tensor:
    """Fill with N(mean, std²)."""
    draw = (stream or default_stream("init")).normal
    return _write(tensor, draw(tensor.shape, mean, std, dtype=_draw_dtype(tensor)))


def constant_(tensor: Tensor, val: float) -> Tensor:
    """Fill with ``val``."""
    return _write(tensor, float(val))


def zeros_(tensor: Tensor) -> Tensor:
    """Fill with 0 and return the tensor."""
    return _write(tensor, 0.0)


def ones_(tensor: Tensor) -> Tensor:
    """Fill with 1 and return the tensor."""
    return _write(tensor, 1.0)


def eye_(tensor: Tensor) -> Tensor:
    """Fill a matrix with ones on its diagonal, zeros elsewhere. Raises ValueError without two axes."""
    if tensor.ndim != 2:
        raise ValueError(f"eye_: expected a matrix, got shape {tensor.shape}")
    return _write(tensor, np.eye(*tensor.shape, dtype=tensor.dtype))


def calculate_gain(nonlinearity: str, param: float | None = None) -> float:
    """The factor by which a nonlinearity's layer before it should be larger: PyTorch's values.

    1 for ``"linear"``, ``"conv1d"`` ..., ``"sigmoid"``; 5/3 for ``"tanh"``; √2 for ``"relu"``; √(2 / (1 + a²)) for
    ``"leaky_relu"`` with slope ``a = param`` (0.01 if None), He et al. 2015, eq. 15; 3/4 for ``"selu"``.
    Raises ValueError for another name.
    """
    if nonlinearity == "leaky_relu":
        return math.sqrt(2 / (1 + (0.01 if param is None else param) ** 2))
    gains = {"linear": 1.0, "sigmoid": 1.0, "tanh": 5 / 3, "relu": math.sqrt(2), "selu": 3 / 4}
    gains |= {f"conv{kind}{n}d": 1.0 for kind in ("", "_transpose") for n in (1, 2, 3)}
    if nonlinearity not in gains:
        raise ValueError(f"calculate_gain: expected one of leaky_relu, {', '.join(gains)}, got {nonlinearity!r}")
    return gains[nonlinearity]


def _fans(name: str, tensor: Tensor) -> tuple[int, int]:
    """How many inputs each output has, and how many outputs each input: weights are (out, in, kernel...)."""
    if tensor.ndim < 2:
        raise ValueError(f"{name}: expected a weight of at least two axes (out, in, ...), got shape {tensor.shape}")
    field = math.prod(tensor.shape[2:])
    return tensor.shape[1] * field, tensor.shape[0] * field


def _xavier_std(name: str, tensor: Tensor, gain: float) -> float:
    fans = sum(_fans(name, tensor))
    return gain * math.sqrt(2 / fans) if fans else 0.0


def xavier_uniform_(tensor: Tensor, gain: float = 1.0, *, stream: Stream | None = None) -> Tensor:
    """Fill with U(-b, b), b = gain √(6 / (fan_in + fan_out)).

    Glorot and Bengio, "Understanding the difficulty of training deep feedforward neural networks", AISTATS 2010,
    eq. 16. Raises ValueError without two axes.
    """
    bound = math.sqrt(3) * _xavier_std("xavier_uniform_", tensor, gain)
    return uniform_(tensor, -bound, bound, stream=stream)


def xavier_normal_(tensor: Tensor, gain: float = 1.0, *, stream: Stream | None = None) -> Tensor:
    """Fill with N(0, σ²), σ = gain √(2 / (fan_in + fan_out)): Glorot and Bengio 2010, eq. 12.

    Raises ValueError without two axes.
    """
    return normal_(tensor, 0.0, _xavier_std("xavier_normal_", tensor, gain), stream=stream)


def _kaiming_std(name: str, tensor: Tensor, a: float, mode: str, nonlinearity: str) -> float:
    fans = dict(zip(("fan_in", "fan_out"), _fans(name, tensor), strict=True))
    if mode not in fans:
        raise ValueError(f"{name}: mode must be 'fan_in' or 'fan_out', got {mode!r}")
    return calculate_gain(nonlinearity, a) / math.sqrt(fans[mode]) if fans[mode] else 0.0


def kaiming_uniform_(
    tensor: Tensor,
    a: float = 0.0,
    mode: str = "fan_in",
    nonlinearity: str = "leaky_relu",
    *,
    stream: Stream | None = None,
) -> Tensor:
    """Fill with U(-b, b), b = gain √(3 / fan), gain = calculate_gain(nonlinearity, a).

    He, Zhang, Ren, Sun, "Delving deep into rectifiers", ICCV 2015, eq. 10 (``mode="fan_in"``) and 14 (``"fan_out"``),
    with a uniform distribution of the same variance. Raises ValueError without two axes or for an unknown name.
    """
    bound = math.sqrt(3) * _kaiming_std("kaiming_uniform_", tensor, a, mode, nonlinearity)
    return uniform_(tensor, -bound, bound, stream=stream)


def kaiming_normal_(
    tensor: Tensor,
    a: float = 0.0,
    mode: str = "fan_in",
    nonlinearity: str = "leaky_relu",
    *,
    stream: Stream | None = None,
) -> Tensor:
    """Fill with N(0, gain² / fan): He et al. 2015, eq. 10 and 14; arguments and errors as :func:`kaiming_uniform_`."""
    return normal_(tensor, 0.0, _kaiming_std("kaiming_normal_", tensor, a, mode, nonlinearity), stream=stream)


def orthogonal_(tensor: Tensor, gain: float = 1.0, *, stream: Stream | None = None) -> Tensor:
    """Fill with ``gain`` times a random matrix whose rows or columns (the fewer) are orthonormal.

    Saxe, McClelland, Ganguli, "Exact solutions to the nonlinear dynamics of learning in deep linear neural networks",
    ICLR 2014; uniformly distributed by Mezzadri's choice of signs ("How to generate random matrices from the classical
    compact groups", Notices of the AMS 54, 2007). Axes after the first count as one. Raises ValueError without two
    axes.
    """
    _fans("orthogonal_", tensor)
    rows, columns = tensor.shape[0], math.prod(tensor.shape[1:])
    tall = (max(rows, columns), min(rows, columns))
    q, r = np.linalg.qr((stream or default_stream("init")).normal(tall, dtype=np.float64))
    q *= np.where(np.diagonal(r) < 0, -gain, gain)
    return _write(tensor, (q if rows >= columns else q.T).reshape(tensor.shape))
