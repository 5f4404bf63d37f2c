"""Differentiable operations, one file per family. Each takes Tensors (recorded) or plain arrays (plain arrays back)."""

import importlib
import importlib.util

__all__: list[str] = []
for _family in ("arithmetic elementwise activation comparison reduction softmax shape indexing matmul linalg decomposition "
                "spectral loss dropout straight_through").split():
    if importlib.util.find_spec(f"{__name__}.{_family}") is None:
        continue
    _module = importlib.import_module(f"{__name__}.{_family}")
    _names = getattr(_module, "__all__", None) or [n for n, v in vars(_module).items() if getattr(v, "__module__", "") == _module.__name__ and n[0].islower()]
    for _name in _names:
        globals()[_name] = getattr(_module, _name)
        __all__.append(_name)
