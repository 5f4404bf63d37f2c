"""tinygrad_hw: reverse-mode automatic differentiation on NumPy and CuPy, small enough to read in an evening."""

from tinygrad_hw import backend  # first: it sets up the BLAS before NumPy is imported
from tinygrad_hw.tensor import Tensor, ones, tensor, zeros  # isort: skip
from tinygrad_hw import functional
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
from tinygrad_hw.derivatives import backward, grad, hvp, jacobian, vjp
from tinygrad_hw.gradcheck import GradcheckError, gradcheck
from tinygrad_hw.operands import get_default_dtype, set_default_dtype
