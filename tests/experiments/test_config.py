"""Settings from the command line: right ones are taken, wrong ones are named with what was expected."""

from typing import Annotated, Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import Field

from experiments.harness.config import Settings, allowed, as_dict, changed, describe, from_dict, settings
from experiments.harness.errors import UserError

from .toy import ToyConfig


@given(
    epochs=st.integers(1, 1000),
    rate=st.floats(min_value=1e-300, max_value=1e300),
    widths=st.lists(st.integers(), min_size=1),
    shout=st.booleans(),
)
def test_what_is_printed_can_be_set(epochs: int, rate: float, widths: list[int], shout: bool) -> None:
    config = ToyConfig(epochs=epochs, rate=rate, widths=tuple(widths), shout=shout)
    assignments = [f"epochs={epochs}", f"rate={rate!r}", f"widths={','.join(map(str, widths))}", f"shout={shout}"]
    assert changed(ToyConfig(), assignments) == config
    assert changed(ToyConfig(), [*assignments[:2], f"widths={widths}", assignments[3]]) == config
    assert from_dict(ToyConfig, as_dict(config)) == config


@given(number=st.integers().filter(lambda number: not 1 <= number <= 1000))
def test_range_is_kept(number: int) -> None:
    with pytest.raises(UserError, match="setting epochs="):
        changed(ToyConfig(), [f"epochs={number}"])


@pytest.mark.parametrize(
    ("assignment", "message"),
    [
        ("epoch=3", "--set epoch=3: no setting 'epoch'; did you mean 'epochs'?"),
        ("zzz=3", "--set zzz=3: no setting 'zzz'; known: checkpoint_seconds, checkpoint_steps, epochs, rate"),
        ("epochs", "--set epochs: expected key=value"),
        ("epochs=many", "setting epochs=many: input should be a valid integer"),
        ("epochs=2.5", "setting epochs=2.5: input should be a valid integer"),
        (
            "epochs=0",
            "setting epochs=0: input should be greater than or equal to 1; expected a whole number from 1 to 1000 "
            "(passes over the examples)",
        ),
        ("epochs=1001", "setting epochs=1001: input should be less than or equal to 1000"),
        ("rate=nan", "setting rate=nan: input should be a finite number"),
        ("rate=-1", "setting rate=-1: input should be greater than 0; expected a number above 0 (learning rate)"),
        ("rate=", "setting rate=: input should be a valid number"),
        ("widths=1,two", "setting widths=1,two: input should be a valid integer"),
        ("widths=[1,", "setting widths=[1,"),
        ("shout=perhaps", "setting shout=perhaps: input should be a valid boolean"),
    ],
)
def test_wrong_settings_are_named(assignment: str, message: str) -> None:
    with pytest.raises(UserError) as caught:
        changed(ToyConfig(), [assignment])
    assert str(caught.value).startswith(message)
    assert "\n" not in str(caught.value)


def test_dashes_and_later_ones_win() -> None:
    assert changed(ToyConfig(), ["checkpoint-steps=3", "epochs=2", "epochs=3"]) == ToyConfig(
        checkpoint_steps=3, epochs=3
    )


def test_settings_cannot_be_changed_or_misspelt() -> None:
    with pytest.raises(Exception, match=r"frozen|cannot assign"):
        ToyConfig().epochs = 3  # type: ignore[misc]
    with pytest.raises(UserError, match="no setting 'epoch'; did you mean 'epochs'"):
        from_dict(ToyConfig, {"epoch": 3})


def test_every_setting_is_explained() -> None:
    assert describe(ToyConfig)["epochs"] == "passes over the examples"
    assert describe(ToyConfig)["checkpoint_steps"]


def test_what_a_setting_may_be_is_said_in_words() -> None:
    @settings
    class Varied(Settings):
        kind: Literal["a", "b"] = "a"
        pair: tuple[Annotated[float, Field(gt=0, le=0.5)], Annotated[float, Field(gt=0, le=0.5)]] = (0.1, 0.2)
        some: Annotated[tuple[Annotated[int, Field(ge=2)], ...], Field(min_length=1)] = (2,)
        limit: Annotated[int | None, Field(ge=0)] = None
        name: str = "x"

    assert {key: words for key, words in allowed(Varied).items() if not key.startswith("checkpoint")} == {
        "kind": "a or b",
        "pair": "a list of 2, each a number above 0 to 0.5",
        "some": "a list of at least 1, each a whole number from 2",
        "limit": "a whole number from 0 or none",
        "name": "text",
    }
