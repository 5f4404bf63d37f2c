"""Layers, losses and starting values under PyTorch's names."""

from tinygrad_hw.nn import init, parametrize
from tinygrad_hw.nn.activation import (
    ELU,
    GELU,
    LeakyReLU,
    LogSoftmax,
    ReLU,
    Sigmoid,
    SiLU,
    Softmax,
    Softplus,
    Tanh,
)
from tinygrad_hw.nn.container import ModuleDict, ModuleList, Sequential
from tinygrad_hw.nn.linear import Bilinear, Dropout, Embedding, Flatten, Identity, Linear
from tinygrad_hw.nn.loss import (
    BCELoss,
    BCEWithLogitsLoss,
    CrossEntropyLoss,
    HuberLoss,
    L1Loss,
    MSELoss,
    NLLLoss,
)
from tinygrad_hw.nn.low_rank import LowRankLinear, SubspaceProjection
from tinygrad_hw.nn.module import Module, Parameter

__all__ = [
    "ELU",
    "GELU",
    "BCELoss",
    "BCEWithLogitsLoss",
    "Bilinear",
    "CrossEntropyLoss",
    "Dropout",
    "Embedding",
    "Flatten",
    "HuberLoss",
    "Identity",
    "L1Loss",
    "LeakyReLU",
    "Linear",
    "LogSoftmax",
    "LowRankLinear",
    "MSELoss",
    "Module",
    "ModuleDict",
    "ModuleList",
    "NLLLoss",
    "Parameter",
    "ReLU",
    "Sequential",
    "SiLU",
    "Sigmoid",
    "Softmax",
    "Softplus",
    "SubspaceProjection",
    "Tanh",
    "init",
    "parametrize",
]
