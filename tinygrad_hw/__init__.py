"""tinygrad_hw: reverse-mode automatic differentiation on NumPy and CuPy, small enough to read in an evening.

``import tinygrad_hw as tg`` and ``from tinygrad_hw import functional as F, nn, optim`` is all that most programs need.
"""

# isort: off
from tinygrad_hw import backend  # first of all: it sets up the BLAS before NumPy is imported
from tinygrad_hw.tensor import Tensor

# isort: on
from tinygrad_hw import functional, nn, optim, random, serialization
from tinygrad_hw.anomaly import AnomalyError, detect_anomaly
from tinygrad_hw.autograd import (
    Function,
    NotTwiceDifferentiableError,
    OperationEvent,
    enable_grad,
    is_grad_enabled,
    no_grad,
    operation_hook,
    set_grad_enabled,
)
from tinygrad_hw.backend import DeviceError, show_config, synchronize
from tinygrad_hw.creation import ones, tensor, zeros
from tinygrad_hw.derivatives import backward, grad, hvp, jacobian, vjp
from tinygrad_hw.gradcheck import GradcheckError, gradcheck
from tinygrad_hw.operands import get_default_dtype, set_default_dtype
from tinygrad_hw.random import manual_seed
from tinygrad_hw.serialization import SerializationError, load, save

__all__ = [
    "AnomalyError",
    "DeviceError",
    "Function",
    "GradcheckError",
    "NotTwiceDifferentiableError",
    "OperationEvent",
    "SerializationError",
    "Tensor",
    "backend",
    "backward",
    "detect_anomaly",
    "enable_grad",
    "functional",
    "get_default_dtype",
    "grad",
    "gradcheck",
    "hvp",
    "is_grad_enabled",
    "jacobian",
    "load",
    "manual_seed",
    "nn",
    "no_grad",
    "ones",
    "operation_hook",
    "optim",
    "random",
    "save",
    "serialization",
    "set_default_dtype",
    "set_grad_enabled",
    "show_config",
    "synchronize",
    "tensor",
    "vjp",
    "zeros",
]
