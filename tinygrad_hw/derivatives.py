"""Derivatives as functions: ``grad``, ``vjp``, ``hvp``, ``jacobian``, and ``backward`` for several roots."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from tinygrad_hw.autograd import enable_grad
from tinygrad_hw.backend import Array, array_module, is_array
from tinygrad_hw.backward_pass import run_backward
from tinygrad_hw.functional.arithmetic import clone
from tinygrad_hw.tensor import Tensor


def _listed(value: Any) -> list[Any]:
    return list(value) if isinstance(value, (tuple, list)) else [value]


def _roots(
    name: str, outputs: Sequence[Tensor], gradients: Sequence[Any], create_graph: bool
) -> list[tuple[Tensor, Any]]:
    """Pairs of output and its gradient, checked, with 1 filled in for outputs of one element."""
    if len(gradients) != len(outputs):
        raise ValueError(f"{name}: expected {len(outputs)} output gradients, got {len(gradients)}")
    pairs = []
    for output, gradient in zip(outputs, gradients, strict=True):
        if not isinstance(output, Tensor):
            raise TypeError(f"{name}: expected a Tensor to differentiate, got {type(output).__name__}")
        if not output.requires_grad:
            raise RuntimeError(
                f"{name}: the output {output.dtype} {output.shape} does not depend on any tensor that requires a "
                "gradient (was it computed under no_grad, from detached tensors, or outside the engine?)"
            )
        if gradient is None:
            if output.size != 1:
                raise RuntimeError(
                    f"{name}: an output of shape {output.shape} needs a gradient of that shape; only an output of one "
                    "element has an implied gradient of 1"
                )
            one = array_module(output._data).array(1, output.dtype).reshape(output.shape)
            pairs.append((output, Tensor._make(one, None) if create_graph else one))
            continue
        if not isinstance(gradient, Tensor):
            gradient = Tensor(gradient if is_array(gradient) else array_module(output._data).asarray(gradient))
        if gradient.shape != output.shape:
            raise ValueError(f"{name}: expected an output gradient of shape {output.shape}, got {gradient.shape}")
        if gradient.dtype != output.dtype:
            gradient = gradient.to(output.dtype)
        pairs.append((output, gradient if create_graph else gradient._data))
    return pairs


def backward(
    outputs: Sequence[Tensor],
    gradients: Sequence[Any] | None = None,
    *,
    retain_graph: bool | None = None,
    create_graph: bool = False,
) -> None:
    """Add to every leaf's ``.grad`` the gradient of the sum of ``outputs``, each weighted by its gradient."""
    outputs = _listed(outputs)
    gradients = [None] * len(outputs) if gradients is None else _listed(gradients)
    pairs = _roots("backward", outputs, gradients, create_graph)
    keep = create_graph if retain_graph is None else retain_graph
    run_backward(pairs, retain_graph=keep, create_graph=create_graph)


def grad(
    outputs: Tensor | Sequence[Tensor],
    inputs: Tensor | Sequence[Tensor],
    grad_outputs: Any = None,
    *,
    retain_graph: bool | None = None,
    create_graph: bool = False,
    allow_unused: bool = False,
) -> Any:
    """The gradients of ``outputs`` with respect to ``inputs`` (leaves or computed tensors), leaving ``.grad`` alone.

    Args:
        outputs: one Tensor or several; those with more than one element need their entry of ``grad_outputs``.
        inputs: one Tensor or several.
        grad_outputs: the vector of the vector-Jacobian product, of the outputs' shapes.
        retain_graph: keep the tape for a further backward (default: as ``create_graph``).
        create_graph: record the pass, so that the result can be differentiated again.
        allow_unused: give None for an input that the outputs do not depend on, instead of raising.

    Returns:
        A Tensor for a single Tensor ``inputs``; a tuple of Tensors for a sequence.

    Raises:
        RuntimeError: an input is unused, requires no gradient, or the tape was freed.
    """
    outs, ins = _listed(outputs), _listed(inputs)
    for position, tensor in enumerate(ins):
        if not isinstance(tensor, Tensor) or not tensor.requires_grad:
            raise RuntimeError(f"grad: input {position} is not a tensor that requires a gradient")
    vectors = [None] * len(outs) if grad_outputs is None else _listed(grad_outputs)
    results = run_backward(
        _roots("grad", outs, vectors, create_graph),
        retain_graph=create_graph if retain_graph is None else retain_graph,
        create_graph=create_graph,
        targets=ins,
    )
    for position, result in enumerate(results):
        if result is None and not allow_unused:
            raise RuntimeError(
                f"grad: the outputs do not depend on input {position} (shape {ins[position].shape}); pass "
                "allow_unused=True to get None for it"
            )
    tensors = tuple(None if result is None else _own(result, ins[i]._data) for i, result in enumerate(results))
    return tensors[0] if isinstance(inputs, Tensor) else tensors


def _own(gradient: Any, like: Array) -> Tensor:
    """A gradient that the caller may keep and change: passes may share one array among several results."""
    return clone(gradient) if isinstance(gradient, Tensor) else Tensor(array_module(like).array(gradient))


def _fresh_inputs(inputs: Any) -> list[Tensor]:
    """A tensor of its own for each input, to differentiate with respect to: a leaf, or a copy on the input's tape."""
    return [clone(t) if t.requires_grad else t.detach().requires_grad_() for t in map(_as_tensor, _listed(inputs))]


def _as_tensor(value: Any) -> Tensor:
    return value if isinstance(value, Tensor) else Tensor(value)


def _one_output(name: str, output: Any) -> Tensor:
    if not isinstance(output, Tensor):
        raise TypeError(f"{name}: the function must return one Tensor, got {type(output).__name__}")
    return output


def vjp(func: Callable[..., Tensor], inputs: Any, v: Any = None, *, create_graph: bool = False) -> tuple[Tensor, Any]:
    """``func(*inputs)`` and the vector-Jacobian product vᵀJ with respect to each input.

    ``v`` has the output's shape (1 if omitted and the output has one element). Returns (output, gradients), the
    gradients a Tensor or a tuple as ``inputs`` is.
    """
    with enable_grad():
        tensors = _fresh_inputs(inputs)
        output = _one_output("vjp", func(*tensors))
    gradients = grad(output, tensors, v, create_graph=create_graph)
    return (output if create_graph else output.detach()), (
        gradients if isinstance(inputs, (tuple, list)) else gradients[0]
    )


def hvp(func: Callable[..., Tensor], inputs: Any, v: Any) -> tuple[Tensor, Any]:
    """``func(*inputs)``, a scalar, and its Hessian-vector product Hv, by differentiating gᵀv (Pearlmutter 1994).

    ``v`` has the shapes of ``inputs``. An input that the gradient does not depend on gives zeros.
    """
    several = isinstance(inputs, (tuple, list))
    with enable_grad():
        tensors = _fresh_inputs(inputs)
        output = _one_output("hvp", func(*tensors))
        found = grad(output, tensors, create_graph=True, allow_unused=True)
        gradients = [clone(t) * 0.0 if g is None else g for g, t in zip(found, tensors, strict=True)]
        vectors = [_as_tensor(vector).detach() for vector in _listed(v)]
        for i, (vector, tensor) in enumerate(zip(vectors, tensors, strict=True)):
            if vector.shape != tensor.shape:
                raise ValueError(f"hvp: vector {i} has shape {vector.shape}, expected {tensor.shape}")
        product = sum((g * vector).sum() for g, vector in zip(gradients, vectors, strict=True))
    if not product.requires_grad:  # a linear function: its gradient is constant
        products: Sequence[Tensor | None] = [None] * len(tensors)
    else:
        products = grad(product, tensors, allow_unused=True)
    zeros = [Tensor(array_module(t._data).zeros_like(t._data)) for t in tensors]
    results = [zero if r is None else r for r, zero in zip(products, zeros, strict=True)]
    return output.detach(), (tuple(results) if several else results[0])


def jacobian(func: Callable[..., Tensor], inputs: Any, *, create_graph: bool = False) -> Any:
    """The Jacobian of ``func`` at ``inputs``, of shape output.shape + input.shape.

    Takes one backward pass for each element of the output. Returns a Tensor for a single input, a tuple for several.
    """
    from tinygrad_hw import functional as F

    several = isinstance(inputs, (tuple, list))
    with enable_grad():
        tensors = _fresh_inputs(inputs)
        output = _one_output("jacobian", func(*tensors))
    xp = array_module(output._data)
    rows: list[list[Tensor]] = []
    for k in range(output.size):
        unit = xp.zeros(output.size, output.dtype)
        unit[k] = 1
        row = grad(
            output, tensors, unit.reshape(output.shape), retain_graph=True, create_graph=create_graph, allow_unused=True
        )
        rows.append([Tensor(xp.zeros(t.shape, t.dtype)) if g is None else g for g, t in zip(row, tensors, strict=True)])
    jacobians = tuple(
        F.stack([row[i] for row in rows]).reshape(*output.shape, *t.shape)
        if rows
        else Tensor(xp.zeros((*output.shape, *t.shape), t.dtype))
        for i, t in enumerate(tensors)
    )
    return jacobians if several else jacobians[0]
