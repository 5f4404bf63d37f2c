"""Module and Parameter: names, the tree, the state dict, and mistakes that are found."""

from __future__ import annotations

import copy
import json
import pickle

import numpy as np
import pytest

import tinygrad_hw as tg
from tests import strict_backend
from tinygrad_hw import functional as F
from tinygrad_hw import nn, optim
from tinygrad_hw.random import Stream
from tinygrad_hw.serialization import load, save


class Norm(nn.Module):
    """A layer with a parameter, a buffer, a buffer that is not saved, and a setting."""

    def __init__(self, size: int) -> None:
        super().__init__()
        self.scale = nn.Parameter(np.ones(size, np.float32))
        self.register_buffer("mean", tg.zeros(size))
        self.register_buffer("cache", tg.zeros(size), persistent=False)
        self.register_buffer("nothing", None)
        self.size = size

    def forward(self, x):
        return (x - self.mean) * self.scale


class Net(nn.Module):
    def __init__(self, seed: int = 0) -> None:
        super().__init__()
        stream = Stream(seed, "init")
        self.first = nn.Linear(5, 4, stream=stream)
        self.norm = Norm(4)
        self.body = nn.Sequential(nn.Linear(4, 4, bias=False, stream=stream), nn.Identity(), Norm(4))
        self.tied = self.first
        self.bias = nn.Parameter([0.0, 0.5])

    def forward(self, x):
        return self.body(self.norm(self.first(x)))


KEYS = [
    "bias", "first.weight", "first.bias", "norm.scale", "norm.mean", "body.0.weight", "body.2.scale", "body.2.mean",
    "tied.weight", "tied.bias",
]  # fmt: skip


def snapshot(module: nn.Module) -> dict[str, bytes]:
    return {name: array.tobytes() for name, array in module.state_dict().items()}


# ------------------------------------------------------------------------------------------------------- the tree


def test_names_come_in_order_each_parameter_once():
    net = Net()
    assert [name for name, _ in net.named_parameters()] == [k for k in KEYS if "mean" not in k and "tied" not in k]
    assert [name for name, _ in net.named_buffers()] == [
        "norm.mean", "norm.cache", "body.2.mean", "body.2.cache",
    ]  # fmt: skip
    assert [name for name, _ in net.named_modules()] == [
        "", "first", "norm", "body", "body.0", "body.1", "body.2",
    ]  # fmt: skip
    assert [name for name, _ in net.named_children()] == ["first", "norm", "body"]
    assert list(net.children()) == [net.first, net.norm, net.body]
    assert all(isinstance(p, nn.Parameter) and p.requires_grad for p in net.parameters())
    assert len(list(net.parameters())) == 6 and len(list(net.buffers())) == 4 and len(list(net.modules())) == 7


def test_state_dict_has_pytorchs_keys_and_copies():
    net = Net()
    state = net.state_dict()
    assert list(state) == KEYS
    assert all(type(array) is np.ndarray for array in state.values())
    state["first.weight"][...] = 9
    assert (net.first.weight.detach().numpy() != 9).all()


def test_state_dict_keys_are_those_of_the_same_pytorch_network():
    torch = pytest.importorskip("torch")

    def build(m):
        class Block(m.Module):
            def __init__(self):
                super().__init__()
                self.layers = m.ModuleList([m.Linear(2, 3), m.Sequential(m.ReLU(), m.Linear(3, 3, bias=False))])
                self.table = m.Embedding(7, 2)
                self.heads = m.ModuleDict({"a": m.Bilinear(2, 3, 4), "b": m.Identity()})

        return Block()

    mine, reference = build(nn), build(torch.nn)
    theirs = reference.state_dict()
    assert list(mine.state_dict()) == list(theirs)
    assert {k: v.shape for k, v in mine.state_dict().items()} == {k: tuple(v.shape) for k, v in theirs.items()}
    assert [n for n, _ in mine.named_modules()] == [n for n, _ in reference.named_modules()]
    mine.load_state_dict(theirs)
    for key, tensor in theirs.items():
        np.testing.assert_array_equal(mine.state_dict()[key], tensor.numpy())


def test_weights_travel_to_pytorch_and_back(tmp_path):
    torch = pytest.importorskip("torch")
    from safetensors.torch import load_file, save_file

    net = nn.Sequential(nn.Linear(6, 5), nn.Sequential(nn.Linear(5, 3)))
    twin = torch.nn.Sequential(torch.nn.Linear(6, 5), torch.nn.Sequential(torch.nn.Linear(5, 3)))
    save(tmp_path / "ours.safetensors", net.state_dict())
    twin.load_state_dict(load_file(tmp_path / "ours.safetensors"))
    x = np.random.default_rng(0).standard_normal((4, 6)).astype(np.float32)
    np.testing.assert_allclose(net(x).detach().numpy(), twin(torch.tensor(x)).detach().numpy(), rtol=1e-5, atol=1e-6)
    torch.nn.init.normal_(twin[0].weight)
    save_file(twin.state_dict(), tmp_path / "theirs.safetensors")
    net.load_state_dict(load(tmp_path / "theirs.safetensors"))
    np.testing.assert_allclose(net(x).detach().numpy(), twin(torch.tensor(x)).detach().numpy(), rtol=1e-5, atol=1e-6)


def test_train_eval_apply_and_requires_grad_reach_every_module_once():
    net = Net()
    assert net.training and net.body[2].training
    assert net.eval() is net and not any(module.training for module in net.modules())
    assert net.train() is net and all(module.training for module in net.modules())
    visited = []
    assert net.apply(visited.append) is net
    assert len(visited) == 7 and visited[-1] is net and visited.index(net.body[0]) < visited.index(net.body)
    assert net.requires_grad_(False) is net and not any(p.requires_grad for p in net.parameters())
    assert not (net(np.ones((2, 5), np.float32))).requires_grad
    assert net.requires_grad_().bias.requires_grad


def test_zero_grad():
    net = Net()
    (net(np.ones((2, 5), np.float32)) * 1.0).backward(np.ones((2, 4), np.float32))
    assert net.first.weight.grad is not None and net.bias.grad is None
    net.zero_grad(set_to_none=False)
    assert not net.first.weight.grad.numpy().any() and net.bias.grad is None
    net.zero_grad()
    assert net.first.weight.grad is None


def test_calling_runs_forward_then_hooks():
    net, seen = Norm(2), []
    remove = net.register_forward_hook(lambda module, args, output: seen.append((module, args, output)))
    x = tg.tensor([1.0, 2.0])
    out = net(x)
    assert seen[0][0] is net and seen[0][1] == (x,) and seen[0][2] is out
    remove()
    double = net.register_forward_hook(lambda module, args, output: output * 2)
    np.testing.assert_array_equal(net(x).detach().numpy(), [2, 4])
    double()
    double()
    np.testing.assert_array_equal(net(x).detach().numpy(), [1, 2])
    assert len(seen) == 1
    with pytest.raises(NotImplementedError, match="Module does not define forward"):
        nn.Module()(x)


def test_repr_is_a_tree():
    class Outer(nn.Module):
        def __init__(self):
            super().__init__()
            self.net = nn.Sequential(nn.Linear(2, 3), nn.LeakyReLU())
            self.loss = nn.MSELoss()

    assert repr(Outer()) == (
        "Outer(\n"
        "  (net): Sequential(\n"
        "    (0): Linear(in_features=2, out_features=3, bias=True)\n"
        "    (1): LeakyReLU(negative_slope=0.01)\n"
        "  )\n"
        "  (loss): MSELoss(reduction='mean')\n"
        ")"
    )


# --------------------------------------------------------------------------------------------------------- attributes


def test_a_parameter_copies_what_it_is_given():
    source = np.ones(3, np.float32)
    p = nn.Parameter(source)
    source[0] = 5
    q = nn.Parameter(tg.tensor([1.0, 2.0], requires_grad=True) * 2)
    assert p.detach().numpy()[0] == 1 and q.is_leaf and q.requires_grad and q.dtype == np.float32
    assert nn.Parameter([1.5]).dtype == np.float32 and nn.Parameter([1.5]).numpy is not None
    assert not nn.Parameter(np.arange(3), requires_grad=False).requires_grad
    assert repr(nn.Parameter([1.5])) == "Parameter tensor([1.5], requires_grad=True)"
    with pytest.raises(TypeError, match="requires_grad: expected a real floating dtype, got int64"):
        nn.Parameter([1, 2])


def test_super_init_may_come_late_or_never():
    class Late(nn.Module):
        def __init__(self):
            self.weight = nn.Parameter([1.0])
            self.layer = nn.Linear(1, 1)
            super().__init__()

    class Never(nn.Module):
        def __init__(self):
            self.weight = nn.Parameter([1.0])

        def forward(self, x):
            return self.weight * x

    assert list(Late().state_dict()) == ["weight", "layer.weight", "layer.bias"]
    never = Never()
    assert never.training and never(2.0).item() == 2.0 and len(list(never.parameters())) == 1


def test_a_parameter_is_not_silently_replaced_by_something_else():
    net = Net()
    for wrong in (tg.zeros(2), np.zeros(2), 3.0):
        with pytest.raises(TypeError, match=r"Net.bias is a Parameter and cannot become a .*: wrap it in nn.Parameter"):
            net.bias = wrong
    with pytest.raises(TypeError, match=r"Net.first is a Module and cannot become a function"):
        net.first = lambda x: x
    with pytest.raises(TypeError, match=r"Norm.mean is a buffer and takes a Tensor, got ndarray"):
        net.norm.mean = np.zeros(4)
    net.norm.mean = tg.ones(4)
    assert net.state_dict()["norm.mean"][0] == 1
    net.bias = None
    net.first = nn.Linear(5, 4, bias=False)
    del net.norm.mean, net.tied
    gone = ("bias", "first.bias", "norm.mean", "tied.weight", "tied.bias")
    assert list(net.state_dict()) == [key for key in KEYS if key not in gone]
    net.norm.mean = 3  # an ordinary attribute by now
    assert "norm.mean" not in net.state_dict()


def test_a_missing_attribute_suggests_the_nearest():
    net = nn.Linear(2, 3)
    with pytest.raises(AttributeError, match="Linear has no attribute 'wieght'; did you mean 'weight'"):
        net.wieght  # noqa: B018
    with pytest.raises(AttributeError, match=r"has no attribute 'xyzzy'$"):
        net.xyzzy  # noqa: B018
    assert not hasattr(net, "__array__")


@pytest.mark.parametrize(
    ("name", "value", "error"),
    [("a.b", None, KeyError), ("", None, KeyError), ("weight", None, KeyError), ("forward", None, KeyError),
     ("new", np.zeros(2), TypeError), ("new", nn.Parameter([1.0]), TypeError)],
)  # fmt: skip
def test_bad_buffers(name, value, error):
    with pytest.raises(error, match="register_buffer"):
        nn.Linear(2, 2).register_buffer(name, value)


# ---------------------------------------------------------------------------------------------------------- containers


def test_sequential():
    a, b, c = nn.Linear(3, 3), nn.Identity(), nn.Linear(3, 2)
    net = nn.Sequential(a, b, b)
    assert net.append(c) is net and len(net) == 4 and net[0] is a and net[-1] is c and list(net) == [a, b, b, c]
    part = net[1:]
    assert isinstance(part, nn.Sequential) and list(part) == [b, b, c]
    assert list(part.state_dict()) == ["3.weight", "3.bias"]
    assert list(net[::3].state_dict()) == ["0.weight", "0.bias", "3.weight", "3.bias"]
    x = np.ones((1, 3), np.float32)
    np.testing.assert_array_equal(net(x).detach().numpy(), c(a(x)).detach().numpy())
    net[0] = nn.Identity()
    assert list(net.state_dict()) == ["3.weight", "3.bias"]
    with pytest.raises(IndexError, match="Sequential: index 4 is out of range for 4 modules"):
        net[4]
    named = nn.Sequential({"fc": a, "out": c})
    assert list(named.state_dict()) == ["fc.weight", "fc.bias", "out.weight", "out.bias"] and named.fc is a
    assert nn.Sequential()(5) == 5
    for wrong in (lambda: nn.Sequential(F.linear), lambda: net.append(3), lambda: nn.Sequential({"a": 3})):
        with pytest.raises(TypeError, match="Sequential: expected a Module, got"):
            wrong()


def test_module_list():
    layers = nn.ModuleList(nn.Linear(2, 2) for _ in range(3))
    layers.append(nn.Identity()).extend([nn.Linear(2, 1)])
    assert len(layers) == 5 and isinstance(layers[1:3], nn.ModuleList) and layers[1:3][0] is layers[1]
    assert [k for k in layers.state_dict() if "weight" in k] == ["0.weight", "1.weight", "2.weight", "4.weight"]
    layers[-1] = nn.Identity()
    assert "4.weight" not in layers.state_dict() and [type(m).__name__ for m in layers][3:] == ["Identity"] * 2
    with pytest.raises(TypeError, match="ModuleList: expected a Module, got int"):
        nn.ModuleList([3])


def test_module_dict():
    heads = nn.ModuleDict({"a": nn.Linear(2, 1)})
    heads["b"] = nn.Identity()
    assert list(heads) == heads.keys() == ["a", "b"] and len(heads) == 2 and "a" in heads and "training" not in heads
    assert heads.items() == [("a", heads["a"]), ("b", heads["b"])] and heads.values() == [heads["a"], heads["b"]]
    heads["a"] = nn.Identity()
    assert not heads.state_dict()
    with pytest.raises(KeyError, match="c"):
        heads["c"]
    with pytest.raises(KeyError, match="'forward' is the name of a method or attribute"):
        heads["forward"] = nn.Identity()
    with pytest.raises(TypeError, match="ModuleDict: expected a Module, got str"):
        heads["c"] = "x"


# ----------------------------------------------------------------------------------------------------------- state dict


def test_loading_restores_every_value_in_place():
    net, other = Net(0), Net(1)
    weight = other.first.weight._data
    assert snapshot(net) != snapshot(other)
    assert other.load_state_dict(net.state_dict()) == ([], [])
    assert snapshot(net) == snapshot(other) and other.first.weight._data is weight
    wide = {name: array.astype(np.float64) for name, array in Net(2).state_dict().items()}
    other.load_state_dict(wide)
    assert snapshot(other) == snapshot(Net(2))


def test_one_error_lists_everything_and_changes_nothing():
    net = Net()
    before = snapshot(net)
    state = {name: array * 0 + 5 for name, array in net.state_dict().items()}
    del state["bias"], state["body.0.weight"]
    state |= {"extra": np.zeros(1), "first.weight": np.zeros((4, 6)), "norm.scale": np.zeros(4, np.complex64)}
    with pytest.raises(RuntimeError) as caught:
        net.load_state_dict(state)
    assert str(caught.value) == (
        "Net.load_state_dict: missing 'bias', 'body.0.weight'; unexpected 'extra'; misshapen 'first.weight' (expected "
        "(4, 5), got (4, 6)), 'norm.scale' (expected float32, got complex64)"
    )
    with pytest.raises(RuntimeError, match=r"Net.load_state_dict: misshapen 'first.weight' \(expected"):
        net.load_state_dict(state, strict=False)
    assert snapshot(net) == before
    del state["first.weight"], state["norm.scale"]
    skipped = net.load_state_dict(state, strict=False)
    assert skipped.missing_keys == ["bias", "first.weight", "norm.scale", "body.0.weight"]
    assert skipped.unexpected_keys == ["extra"]
    assert (net.first.bias.detach().numpy() == 5).all() and (net.norm.mean.numpy() == 5).all()


def test_loading_between_forward_and_backward_is_found():
    net = Net()
    out = net(np.ones((1, 5), np.float32))
    net.load_state_dict(Net(1).state_dict())
    with pytest.raises(RuntimeError, match="was changed in place"):
        out.backward(np.ones((1, 4), np.float32))


def test_a_network_in_training_resumes_equal_to_the_bit(tmp_path):
    def train(net, optimizer, steps):
        for step in steps:
            x = np.random.default_rng(step).standard_normal((8, 5)).astype(np.float32)
            optimizer.zero_grad()
            out = net(x)
            (out * out).backward(np.ones((8, 4), np.float32))
            optimizer.step()

    straight = Net()
    train(straight, optim.Adam(straight.parameters(), lr=0.01), range(30))
    first = Net()
    optimizer = optim.Adam(first.parameters(), lr=0.01)
    train(first, optimizer, range(13))
    state = optimizer.state_dict()
    scalars = json.dumps(state["scalars"])
    save(tmp_path / "run.safetensors", {**first.state_dict(), **state["arrays"]}, {"optimizer": scalars})

    arrays, second = load(tmp_path / "run.safetensors"), Net(7)
    second.load_state_dict({name: arrays.pop(name) for name in second.state_dict()})
    optimizer = optim.Adam(second.parameters(), lr=0.5)
    optimizer.load_state_dict({"arrays": arrays, "scalars": json.loads(scalars)})
    train(second, optimizer, range(13, 30))
    assert snapshot(second) == snapshot(straight)


# ------------------------------------------------------------------------------------------------------ moving, copying


def test_to_another_dtype():
    net = Net()
    net.register_buffer("count", tg.tensor([1, 2]))
    (net(np.ones((1, 5), np.float32)) * 1.0).backward(np.ones((1, 4), np.float32))
    parameters = list(net.parameters())
    before = net.state_dict()
    assert net.to(np.float64) is net
    assert all(a is b for a, b in zip(net.parameters(), parameters, strict=True))
    assert {array.dtype for name, array in net.state_dict().items() if name != "count"} == {np.dtype(np.float64)}
    assert net.count.dtype == np.int64 and net.first.weight.grad.dtype == np.float64
    for name, array in net.to(dtype="float32").state_dict().items():
        np.testing.assert_array_equal(array, before[name], strict=True)
    with pytest.raises(TypeError, match=r"Net.to: expected a floating dtype, got int32"):
        net.to(np.int32)
    with pytest.raises(tg.DeviceError, match="unknown device 'cuda:x'"):
        net.to("cuda:x")


def test_to_another_device_and_back():
    strict_backend.install()
    net = Net()
    net.first.weight.grad = tg.tensor(np.ones((4, 5), np.float32))
    before = snapshot(net)
    net.to(device="strict")
    assert {held.device for held in [*net.parameters(), *net.buffers(), net.first.weight.grad]} == {"strict:0"}
    assert snapshot(net) == before
    net.load_state_dict(Net(1).state_dict())
    assert snapshot(net) == snapshot(Net(1)) and net.first.weight.device == "strict:0"
    assert net.to("cpu").first.weight.device == "cpu" and snapshot(net) == snapshot(Net(1))


def test_moving_after_the_optimiser_was_made():
    net = Net()
    optimizer = optim.SGD(net.parameters(), lr=0.1)
    net.to(np.float64)
    (net(np.ones((1, 5))) * 1.0).backward(np.ones((1, 4)))
    assert net.first.weight.grad.dtype == np.float64
    with pytest.raises(RuntimeError, match=r"make the optimiser after module.to\(...\)"):
        optimizer.step()
    net.to(np.float32)  # back where the optimiser wants it
    optimizer.step()
    optimizer.zero_grad()
    (net(np.ones((1, 5), np.float32)) * 1.0).backward(np.ones((1, 4), np.float32))
    optimizer.step()


@pytest.mark.parametrize("how", [copy.deepcopy, lambda net: pickle.loads(pickle.dumps(net))])
def test_copies_are_independent(how):
    net = Net()
    optimizer = optim.SGD(net.parameters(), lr=1.0)
    twin = how(net.eval())
    assert snapshot(twin) == snapshot(net) and not twin.training and isinstance(twin.bias, nn.Parameter)
    assert twin.tied is twin.first and twin.bias.requires_grad and list(twin.state_dict()) == list(net.state_dict())
    before = snapshot(twin)
    (net(np.ones((1, 5), np.float32)) * 1.0).backward(np.ones((1, 4), np.float32))
    optimizer.step()
    assert snapshot(net) != before and snapshot(twin) == before and twin.first.weight.grad is None
    (twin(np.ones((1, 5), np.float32)) * 1.0).backward(np.ones((1, 4), np.float32))
    gradient = twin.first.weight.grad.numpy().copy()
    net.zero_grad()
    (net(np.ones((1, 5), np.float32)) * 7.0).backward(np.ones((1, 4), np.float32))
    np.testing.assert_array_equal(twin.first.weight.grad.numpy(), gradient)
