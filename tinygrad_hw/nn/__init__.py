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
from tinygrad_hw.nn.convolution import Conv1d, Conv2d, ConvTranspose1d, ConvTranspose2d, Fold, Unfold
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
from tinygrad_hw.nn.normalization import BatchNorm1d, BatchNorm2d, Dropout2d, GroupNorm, LayerNorm
from tinygrad_hw.nn.pooling import AdaptiveAvgPool1d, AdaptiveAvgPool2d, AvgPool1d, AvgPool2d, MaxPool1d, MaxPool2d
from tinygrad_hw.nn.recurrent import GRU, LSTM, RNN, GRUCell, LSTMCell, RNNCell
from tinygrad_hw.nn.truncated import truncated
from tinygrad_hw.nn.upsampling import Upsample

__all__ = [
    "ELU",
    "GELU",
    "GRU",
    "LSTM",
    "RNN",
    "AdaptiveAvgPool1d",
    "AdaptiveAvgPool2d",
    "AvgPool1d",
    "AvgPool2d",
    "BCELoss",
    "BCEWithLogitsLoss",
    "BatchNorm1d",
    "BatchNorm2d",
    "Bilinear",
    "Conv1d",
    "Conv2d",
    "ConvTranspose1d",
    "ConvTranspose2d",
    "CrossEntropyLoss",
    "Dropout",
    "Dropout2d",
    "Embedding",
    "Flatten",
    "Fold",
    "GRUCell",
    "GroupNorm",
    "HuberLoss",
    "Identity",
    "L1Loss",
    "LSTMCell",
    "LayerNorm",
    "LeakyReLU",
    "Linear",
    "LogSoftmax",
    "LowRankLinear",
    "MSELoss",
    "MaxPool1d",
    "MaxPool2d",
    "Module",
    "ModuleDict",
    "ModuleList",
    "NLLLoss",
    "Parameter",
    "RNNCell",
    "ReLU",
    "Sequential",
    "SiLU",
    "Sigmoid",
    "Softmax",
    "Softplus",
    "SubspaceProjection",
    "Tanh",
    "Unfold",
    "Upsample",
    "init",
    "parametrize",
    "truncated",
]
