"""The same mathematics without a tape: numeric derivatives, and gradients derived by hand on plain arrays.

Two numeric oracles (:mod:`reference.finite_differences`, :mod:`reference.complex_step`) and hand derivations, one file
per family. Every hand derivation has the form ``hand_<operation>(g, *args, **kwargs) -> tuple``: ``g`` is the gradient
of a scalar with respect to the operation's value (a tuple of them where the operation returns a tuple), ``args`` and
``kwargs`` are the operation's own, and the tuple holds one gradient for each argument that has one, in order (integer
indices, masks and settings have none). All of it runs on NumPy and CuPy arrays.
"""
