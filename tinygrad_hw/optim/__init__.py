"""Optimisers on flat buffers, gradient clipping, learning-rate schedules: PyTorch's names, formulas and defaults."""

from tinygrad_hw.optim.adam import Adam, AdamW
from tinygrad_hw.optim.adaptive import Adagrad, RMSprop
from tinygrad_hw.optim.clip import clip_grad_norm_, clip_grad_value_
from tinygrad_hw.optim.optimizer import Optimizer
from tinygrad_hw.optim.schedule import (
    CosineAnnealingLR,
    LinearLR,
    OneCycleLR,
    ReduceLROnPlateau,
    Schedule,
    SequentialLR,
    StepLR,
)
from tinygrad_hw.optim.sgd import SGD

__all__ = [
    "SGD",
    "Adagrad",
    "Adam",
    "AdamW",
    "CosineAnnealingLR",
    "LinearLR",
    "OneCycleLR",
    "Optimizer",
    "RMSprop",
    "ReduceLROnPlateau",
    "Schedule",
    "SequentialLR",
    "StepLR",
    "clip_grad_norm_",
    "clip_grad_value_",
]
