"""The judge and its measures: known values, other formulas, and that it judges without chance."""

from types import SimpleNamespace

import numpy as np
import pytest
from scipy.linalg import sqrtm

from experiments.data import mnist
from experiments.gan.digits import scaled
from experiments.gan.judge import FEATURES, SHIFT, Judge, Labelled, diversity, frechet_distance, shifted
from tests import strict_backend
from tinygrad_hw.backend import to_device, to_numpy
from tinygrad_hw.random import Stream

DRAW = np.random.default_rng(0)


def cloud(count: int = 400, size: int = 6) -> np.ndarray:
    return DRAW.normal(size=(count, size)) @ DRAW.normal(size=(size, size))


def test_frechet_distance_of_equal_and_of_shifted_clouds() -> None:
    features, by = cloud(), np.array([3.0, 0, -4, 0, 0, 0])
    assert frechet_distance(features, features) == pytest.approx(0, abs=1e-9)
    assert frechet_distance(features, features + by) == pytest.approx(25, rel=1e-9)


def test_frechet_distance_of_scaled_clouds() -> None:
    """tr(Σ + s² Σ - 2 s Σ) = (s - 1)² tr Σ about the same mean."""
    features = cloud()
    features -= features.mean(axis=0)
    total = np.trace(np.cov(features, rowvar=False))
    assert frechet_distance(features, 3 * features) == pytest.approx(4 * total, rel=1e-9)


@pytest.mark.parametrize("count", [300, 5], ids=["many rows", "fewer rows than features"])
def test_frechet_distance_against_the_product_that_is_not_symmetric(count: int) -> None:
    first, second = cloud(), cloud(count)
    covariances = [np.cov(features, rowvar=False) for features in (first, second)]
    apart = first.mean(axis=0) - second.mean(axis=0)
    product = covariances[0] @ covariances[1]
    root = np.sqrt(np.maximum(np.linalg.eigvals(product).real, 0)).sum()
    if count > 6:
        assert root == pytest.approx(np.trace(sqrtm(product)).real, rel=1e-9)
    expected = apart @ apart + np.trace(covariances[0] + covariances[1]) - 2 * root
    assert frechet_distance(first, second) == pytest.approx(expected, rel=1e-6)
    assert frechet_distance(second, first) == pytest.approx(frechet_distance(first, second), rel=1e-6)


@pytest.mark.parametrize("shapes", [((5, 3), (5, 4)), ((1, 3), (5, 3)), ((5,), (5,))])
def test_frechet_distance_of_wrong_shapes(shapes: tuple[tuple[int, ...], tuple[int, ...]]) -> None:
    with pytest.raises(ValueError, match="frechet_distance: features of shapes"):
        frechet_distance(*(np.zeros(shape) for shape in shapes))


def test_diversity() -> None:
    labels = np.repeat(np.arange(10), 20)
    real = Labelled(DRAW.normal(size=(200, 4)), labels)
    np.testing.assert_allclose(diversity(real, real), 1)
    np.testing.assert_allclose(diversity(real, Labelled(0.5 * real.vectors + 7, labels)), 0.5)
    collapsed = real.vectors.copy()
    collapsed[labels == 3] = 1.0
    found = diversity(real, Labelled(collapsed, labels))
    np.testing.assert_allclose(found, [1, 1, 1, 0, 1, 1, 1, 1, 1, 1])
    few = (labels != 5) | (np.cumsum(labels == 5) == 1)
    assert diversity(real, Labelled(real.vectors[few], labels[few]))[5] == 0
    with pytest.raises(ValueError, match="1 real pictures of class 5"):
        diversity(Labelled(real.vectors[few], labels[few]), real)


def test_diversity_of_two_points_by_hand() -> None:
    labels = np.repeat(np.arange(10), 3)
    real = Labelled(np.tile([[0.0, 0], [3, 4], [0, 0]], (10, 1)), labels)  # distances 5, 0, 5
    fake = Labelled(np.tile([[0.0, 0], [1, 0], [2, 0]], (10, 1)), labels)  # 1, 2, 1
    np.testing.assert_allclose(diversity(real, fake), (4 / 3) / (10 / 3))
    np.testing.assert_allclose(diversity(real, fake, most=2), 1 / 5)


def test_shifted_pictures_are_the_old_ones_elsewhere() -> None:
    pixels = scaled(mnist.load(None).train_images[::40], "cpu")
    moved = shifted(pixels, Stream(0, "shifts"), "cpu").reshape(-1, 28, 28)
    assert moved.dtype == np.float32
    wide = np.pad(pixels.reshape(-1, 28, 28), ((0, 0), (SHIFT, SHIFT), (SHIFT, SHIFT)), constant_values=-1)
    places = [(row, column) for row in range(2 * SHIFT + 1) for column in range(2 * SHIFT + 1)]
    seen = set()
    for old, new in zip(wide, moved, strict=True):
        fitting = [(r, c) for r, c in places if np.array_equal(old[r : r + 28, c : c + 28], new)]
        assert fitting
        seen.update(fitting)
    assert seen == set(places), "every shift comes up"


def test_judge_looks_without_chance() -> None:
    masks = Stream(0, "masks")
    judge = Judge("cpu", Stream(0, "init"), masks)
    pixels = scaled(mnist.load(None).test_images[:30], "cpu")
    features = judge.features(pixels)
    assert features.shape == (30, FEATURES)
    assert features.dtype == np.float64
    np.testing.assert_array_equal(features, judge.features(pixels))
    np.testing.assert_array_equal(judge.predictions(pixels), judge.logits(pixels).argmax(axis=1))
    np.testing.assert_allclose(
        judge.logits(pixels),
        features @ judge.head.weight.detach().numpy().T + judge.head.bias.detach().numpy(),
        atol=1e-5,
    )
    assert judge.accuracy(pixels, judge.predictions(pixels)) == 1
    assert masks.counter == 0
    assert judge.net.training


def test_on_a_device_that_refuses_to_mix_with_numpy() -> None:
    strict_backend.install()
    images = mnist.load(None).test_images[:20]
    made = SimpleNamespace(cpu=None, strict=None)
    for device in ("cpu", "strict"):
        pixels = shifted(scaled(images, device), Stream(0, "shifts"), device)
        judge = Judge(device, Stream(0, "init"), Stream(0, "masks"))
        setattr(made, device, (to_numpy(pixels), judge.features(pixels)))
        assert 0 <= judge.accuracy(pixels, to_device(np.zeros(20, np.int64), device)) <= 1
    np.testing.assert_array_equal(made.cpu[0], made.strict[0])
    np.testing.assert_allclose(made.cpu[1], made.strict[1], atol=1e-5)
