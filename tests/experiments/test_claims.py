"""Claims: judged by profile, missing and NaN metrics fail."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from experiments.harness.claims import RELATIONS, Claim, judge, printed

NUMBERS = st.floats(allow_nan=False)


@given(measured=NUMBERS, target=NUMBERS)
def test_relations_agree_with_each_other(measured: float, target: float) -> None:
    held = {r: judge((Claim("m", r, {"demo": target}, ""),), "demo", {"m": measured})[0].passed for r in RELATIONS}
    assert held[">="] == (held[">"] or held["=="])
    assert held["<="] == (held["<"] or held["=="])
    assert held[">"] + held["<"] + held["=="] == 1


@pytest.mark.parametrize("relation", list(RELATIONS))
def test_nan_and_missing_fail(relation: str) -> None:
    claims = (Claim("a", relation, {"demo": 1.0}, ""), Claim("b", relation, {"demo": 1.0}, ""))
    verdicts = judge(claims, "demo", {"a": math.nan})
    assert [verdict.passed for verdict in verdicts] == [False, False]
    assert verdicts[1].measured is None


def test_profiles_without_target_make_no_claim() -> None:
    claim = Claim("a", ">=", {"full": 1.0}, "")
    assert judge((claim,), "demo", {"a": 0.0}) == []
    assert not judge((claim,), "full", {"a": 0.0})[0].passed


def test_unknown_relation_is_refused() -> None:
    with pytest.raises(ValueError, match="relation '=>', expected one of >="):
        Claim("a", "=>", {}, "")


def test_printed_table() -> None:
    claims = (Claim("accuracy", ">=", {"demo": 0.9}, ""), Claim("error", "<=", {"demo": 1e-9}, ""))
    lines = printed(judge(claims, "demo", {"accuracy": 0.95, "error": 1e-3})).splitlines()
    assert [line.split() for line in lines] == [
        ["claim", "measured", "required", "result"],
        ["accuracy", "0.95", "≥", "0.9", "pass"],
        ["error", "0.001", "≤", "1e-09", "FAIL"],
    ]
