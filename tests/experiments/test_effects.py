"""Effects on pictures: applying more of one raises its measure, and the finder names what a decoder was made to do."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from experiments.data import mnist
from experiments.effects.apply import EFFECTS, Outline, change, mapped, stroke_width
from experiments.effects.find import REACH, Finding, find, linear, traversal
from experiments.effects.measure import QUANTITIES, UNITS, Template
from tinygrad_hw.random import Stream

# Amounts that leave a seven inside its picture.
WITHIN = {
    "rotation": (-50.0, 50.0),
    "shift": (-4.0, 4.0),
    "shift_y": (-4.0, 4.0),
    "scale": (0.7, 1.35),
    "shear": (-0.8, 0.8),
    "thickness": (0.0, 4.0),
    "brightness": (0.35, 1.0),
}


@pytest.fixture(scope="module")
def sevens() -> np.ndarray:
    digits = mnist.load(None)
    return digits.train_images[digits.train_labels == 7] / 255.0


@pytest.fixture(scope="module")
def mean_seven(sevens: np.ndarray) -> np.ndarray:
    """A seven of medium width of stroke, as the template."""
    widths = [stroke_width(seven) for seven in sevens]
    return np.asarray(sevens[np.argsort(widths)[len(widths) // 2]])


def test_names_agree() -> None:
    assert set(EFFECTS) == set(QUANTITIES) == set(UNITS) == set(WITHIN)


@pytest.mark.parametrize("name", EFFECTS)
def test_no_change(name: str, sevens: np.ndarray) -> None:
    """The amount that changes nothing; a pen that is no wider redraws the strokes, hence the loose bound."""
    neutral = 1.0 if name in ("scale", "brightness") else 0.0
    for seven in sevens[:5]:
        tolerance = 0.5 if name == "thickness" else 1e-9
        assert np.abs(EFFECTS[name].apply(seven, neutral) - seven).max() <= tolerance


@pytest.mark.parametrize("name", EFFECTS)
@given(st.integers(0, 399), st.floats(0, 1))
def test_pictures_stay_pictures(name: str, sevens: np.ndarray, number: int, where: float) -> None:
    low, high = WITHIN[name]
    changed = EFFECTS[name].apply(sevens[number], low + where * (high - low))
    assert changed.shape == (28, 28)
    assert 0 <= changed.min() <= changed.max() <= 1


@pytest.mark.parametrize("name", EFFECTS)
@settings(max_examples=12)
@given(number=st.integers(0, 399), ends=st.tuples(st.floats(0, 1), st.floats(0, 1)))
def test_more_of_an_effect_measures_more(name: str, sevens: np.ndarray, number: int, ends: tuple[float, float]) -> None:
    """Any seven, two amounts at least a tenth of the range apart; each seven is its own template."""
    low, high = WITHIN[name]
    less, more = sorted(ends)
    if more - less < 0.1:
        less, more = 0.2, 0.7
    seven = sevens[number]
    pictures = [EFFECTS[name].apply(seven, low + at * (high - low)) for at in np.linspace(less, more, 4)]
    neutral = EFFECTS[name].apply(seven, {"scale": 1.0, "brightness": 1.0}.get(name, 0.0))
    measured = Template(neutral).measure(np.array(pictures))[name]
    assert (np.diff(measured) > 0).all(), measured


@pytest.mark.parametrize("name", ["rotation", "shift", "shift_y", "scale", "shear"])
def test_measures_are_in_their_units(name: str, mean_seven: np.ndarray) -> None:
    """Followed from the template outwards, as the finder does; the other measures stay where they are."""
    neutral, span = (1.0 if name == "scale" else 0.0), WITHIN[name][1] - WITHIN[name][0]
    template = Template(mean_seven)
    for end in WITHIN[name]:
        amounts = np.linspace(neutral, end, 7)
        pictures = np.array([EFFECTS[name].apply(mean_seven, amount) for amount in amounts])
        measured = template.measure(pictures, chained=True)
        assert measured[name] == pytest.approx(amounts, abs=0.08 * span)
        for other in ("rotation", "shift", "shift_y", "scale", "shear"):
            if other != name:
                reach = np.ptp(linear(other, np.array(WITHIN[other])))
                assert np.ptp(linear(other, measured[other])) < 0.1 * reach, other


def test_directions() -> None:
    """A dot to the right of the centre: counter-clockwise is up, and so on."""
    dot = np.zeros((29, 29))
    dot[14, 20] = 1.0

    def at(name: str, amount: float) -> tuple[int, int]:
        changed = EFFECTS[name].apply(dot, amount)
        row, column = np.unravel_index(changed.argmax(), changed.shape)
        return int(row), int(column)

    assert at("rotation", 90.0) == (8, 14)
    assert at("shift", 3.0) == (14, 23)
    assert at("shift_y", 3.0) == (17, 20)
    assert at("scale", 2.0) == (14, 26)
    assert at("shear", 1.0) == (14, 20), "at the height of the centre nothing moves"
    np.testing.assert_allclose(EFFECTS["brightness"].apply(dot, 0.25), 0.25 * dot)
    above = np.zeros((29, 29))
    above[8, 14] = 1.0
    assert np.unravel_index(EFFECTS["shear"].apply(above, 1.0).argmax(), (29, 29)) == (8, 20), "the top goes right"


def test_stroke_width_of_a_bar() -> None:
    for width in (2, 4, 6):
        bar = np.zeros((60, 60))
        bar[5:55, 20 : 20 + width] = 1.0
        assert stroke_width(bar) == pytest.approx(width * 50 / (50 + width), rel=0.06)
        assert stroke_width(0.3 * bar) == pytest.approx(stroke_width(bar))
        assert stroke_width(Outline(bar).drawn(2.0)) == pytest.approx(stroke_width(bar) + 2, abs=0.6)


def test_blank_picture() -> None:
    blank = np.zeros((28, 28))
    for effect in EFFECTS.values():
        assert not effect.apply(blank, 1.0).any()
    assert stroke_width(blank) == 0


def test_mapping_and_back(mean_seven: np.ndarray) -> None:
    lean = np.array([[1.0, 0.0], [-0.3, 1.0]])
    there = mapped(mean_seven, lean, right=2.0)
    back = mapped(there, np.linalg.inv(lean), right=-2.0)
    assert np.abs(back - mean_seven).mean() < 0.01


@pytest.mark.parametrize("name", EFFECTS)
def test_amounts_are_drawn_within_the_extent(name: str) -> None:
    effect = EFFECTS[name]
    amounts = effect.draw(Stream(0, "a"), effect.usual, 2000)
    bounds = {"scale": (1 / effect.usual, effect.usual), "thickness": (0, effect.usual)}
    low, high = bounds.get(name, (1 - effect.usual, 1.0) if name == "brightness" else (-effect.usual, effect.usual))
    assert low <= amounts.min() < low + 0.02 * (high - low)
    assert high - 0.02 * (high - low) < amounts.max() <= high
    assert effect.least < effect.usual <= effect.most


def test_change_is_a_function_of_the_seed(sevens: np.ndarray) -> None:
    effect = EFFECTS["rotation"]
    one, two, other = (change(sevens[:6].astype(np.float32), effect, 30.0, Stream(s, "a")) for s in (4, 4, 5))
    np.testing.assert_array_equal(one[0], two[0])
    np.testing.assert_array_equal(one[1], two[1])
    assert one[0].dtype == np.float32
    assert one[1].dtype == np.float64
    assert not np.isclose(one[1], other[1]).any()
    np.testing.assert_allclose(one[0][3], effect.apply(sevens[3], one[1][3]), atol=1e-6)


class Decoder:
    """A decoder whose dimensions do known things to one seven: the finder's test bench."""

    def __init__(self, seven: np.ndarray, hidden: str, dimension: int, latent: int) -> None:
        self.seven, self.hidden, self.dimension, self.latent = seven, hidden, dimension, latent

    def __call__(self, codes: np.ndarray) -> np.ndarray:
        return np.array([self.one(code) for code in codes])

    def one(self, code: np.ndarray) -> np.ndarray:
        """What sevens differ in by nature, slant and pen, is drawn by the other dimensions."""
        low, high = WITHIN[self.hidden]
        share = 1 / (1 + np.exp(-1.5 * code[self.dimension]))
        slant, pen = (code[k] for k in range(self.latent) if k != self.dimension)
        picture = EFFECTS["thickness"].apply(self.seven, float(np.clip(0.7 + 0.5 * pen, 0, 4)))
        picture = EFFECTS["shear"].apply(picture, float(np.clip(0.18 * slant, -0.5, 0.5)))
        return EFFECTS[self.hidden].apply(picture, low + share * (high - low))


def codes(count: int, latent: int, without: int | None = None) -> np.ndarray:
    drawn = Stream(1, "codes").normal((count, latent), dtype=np.float64)
    if without is not None:
        drawn[:, without] = 0
    return drawn


@pytest.mark.parametrize("dimension", [0, 2])
@pytest.mark.parametrize("hidden", EFFECTS)
def test_finder_names_effect_and_dimension(hidden: str, dimension: int, mean_seven: np.ndarray) -> None:
    finding = find(Decoder(mean_seven, hidden, dimension, 3), codes(500, 3), codes(60, 3, without=dimension))
    assert (finding.effect, finding.dimension) == (hidden, dimension), np.round(finding.scores, 2)
    assert finding.score == finding.scores.max()
    assert finding.second[2] < 0.8 * finding.score
    assert finding.second[1] != hidden


def test_finder_is_not_led_astray_by_what_sevens_differ_in_anyway(mean_seven: np.ndarray) -> None:
    """A weak rotation beside strong natural slant and width of pen."""

    class Weak(Decoder):
        def one(self, code: np.ndarray) -> np.ndarray:
            pen, slant = float(np.clip(1.5 + 0.8 * code[0], 0, 4)), float(np.clip(0.3 * code[1], -0.7, 0.7))
            picture = EFFECTS["shear"].apply(EFFECTS["thickness"].apply(self.seven, pen), slant)
            return EFFECTS["rotation"].apply(picture, 14 * code[2])

    finding = find(Weak(mean_seven, "rotation", 2, 3), codes(500, 3), codes(60, 3, without=2))
    assert (finding.effect, finding.dimension) == ("rotation", 2), np.round(finding.scores, 2)
    changes = finding.scores * finding.natural
    assert changes[0, QUANTITIES.index("thickness")] > 1.5, "though the pen differs widely"


def test_unused_dimensions_score_nothing(mean_seven: np.ndarray) -> None:
    def draw(at: np.ndarray) -> np.ndarray:
        return np.array([EFFECTS["shift"].apply(mean_seven, 2 * np.tanh(code[1])) for code in at])

    finding = find(draw, codes(200, 2), codes(20, 2, without=1))
    assert (finding.dimension, finding.effect) == (1, "shift")
    assert finding.scores[0].max() < 1e-3
    assert isinstance(finding, Finding)
    assert finding.curves.shape == (2, len(QUANTITIES), len(finding.values))
    assert (finding.values[0], finding.values[-1]) == (-REACH, REACH)


def test_traversal() -> None:
    made = traversal(3, np.array([-5.0, 0.0, 5.0]))
    assert made.shape == (3, 3, 3)
    np.testing.assert_array_equal(made[1], [[0, -5, 0], [0, 0, 0], [0, 5, 0]])
