"""The checks are checked: a wrong rule is caught by every oracle, nothing is left blank, and the exit status tells."""

from __future__ import annotations

import gc
import json
import math
import re

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import tinygrad_hw as tg
from reference import __main__ as command
from reference import agreement, cases, check, mutation, report
from reference.agreement import COLUMNS, MOST, Cell, digits
from reference.table import Record, call
from tinygrad_hw import functional as F


class Cubic(tg.Function):
    """z = x^3 + x m for a matrix m of ones on and above the diagonal: a rule that no transposition leaves alone."""

    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        return x**3 + x @ np.triu(np.ones((x.shape[-1], x.shape[-1])))

    @staticmethod
    def backward(ctx, grad):
        (x,) = ctx.saved_tensors
        upper = np.triu(np.ones((x.shape[-1], x.shape[-1])))
        return grad * x * x * 3.0 + F.matmul(grad, upper.T)


def upper(n):
    return np.triu(np.ones((n, n)))


RECORD = Record(
    "cubic",
    samples=lambda rng: [call(rng.standard_normal((2, 3))), call(rng.standard_normal((3, 3))), call(np.ones((0, 2)))],
    numpy=lambda x: x**3 + x @ upper(x.shape[-1]),
    hand=lambda g, x: (3 * x**2 * g + g @ upper(x.shape[-1]).T,),
    torch=lambda torch, x: x**3 + x @ torch.from_numpy(upper(x.shape[-1])),
)


def altered(**fields) -> Record:
    return Record(**{**{name: getattr(RECORD, name) for name in RECORD.__dataclass_fields__}, **fields})


@pytest.fixture
def cubic(monkeypatch):
    """The operation ``cubic``, made by a subclass of Cubic if one is given."""

    def install(operation=Cubic, record=RECORD):
        monkeypatch.setattr(F, "cubic", operation.apply, raising=False)
        monkeypatch.setattr(command, "records", lambda: {"cubic": record})
        monkeypatch.setattr(command, "public_operations", lambda: ["cubic"])
        return agreement.row(record, cases.cases(record))

    return install


def wrong(rule):
    """Cubic with its gradient changed by ``rule(grad, gradient, x, recording)``."""

    class Wrong(Cubic):
        @staticmethod
        def backward(ctx, grad):
            (x,) = ctx.saved_tensors
            return rule(grad, Cubic.backward(ctx, grad), x, ctx.recording)

    return Wrong


def test_a_right_rule_agrees_with_every_oracle(cubic):
    row = cubic()
    assert row.ok and list(row.cells) == list(COLUMNS)
    assert all(cell.digits > 9 for column, cell in row.cells.items())


@pytest.mark.parametrize(
    "rule",
    [
        lambda g, z, x, recording: z * 1.001,
        lambda g, z, x, recording: -z,
        lambda g, z, x, recording: z + 1e-5 * g,
        lambda g, z, x, recording: z * 0.0,
        lambda g, z, x, recording: F.mul(z, 1.0 + 0.001 * np.eye(*x.shape)),
        lambda g, z, x, recording: g * x * x * 3.0 + F.matmul(g, upper(x.shape[-1])),
        lambda g, z, x, recording: z * math.nan,
    ],
    ids=["one part in a thousand", "sign", "a small term", "zero", "the diagonal", "transposed", "nan"],
)
def test_a_wrong_rule_is_caught_by_every_oracle(cubic, rule):
    row = cubic(wrong(rule))
    assert row.cells["forward"].ok
    assert [column for column in COLUMNS[1:-1] if row.cells[column].ok] == []
    assert row.cells["finite differences"].digits < RECORD.tolerance


def test_a_rule_wrong_under_create_graph_alone_is_caught_by_the_second_derivative(cubic):
    def second_order(g, z, x, recording):
        return z + (g * x - (g * x).detach()) * 1e-3 if recording else z

    def first_order(g, z, x, recording):
        return z * 1.0001 if recording else z

    for rule in (second_order, first_order):
        row = cubic(wrong(rule))
        assert [column for column in COLUMNS if not row.cells[column].ok] == ["second"]


def test_a_wrong_value_is_caught(cubic):
    class Off(Cubic):
        @staticmethod
        def forward(ctx, x):
            return Cubic.forward(ctx, x) * (1 + 1e-9)

    row = cubic(Off)
    assert not row.cells["forward"].ok and not row.cells["PyTorch"].ok


def test_an_operation_that_claims_to_refuse_a_second_derivative_must_refuse(cubic):
    assert not cubic(record=altered(second="fused")).cells["second"].ok

    class Fused(Cubic):
        @staticmethod
        def backward(ctx, grad):
            if ctx.recording:
                raise tg.NotTwiceDifferentiableError("Fused: fused")
            return Cubic.backward(ctx, grad)

    cell = cubic(Fused, altered(second="fused")).cells["second"]
    assert cell.ok and str(cell) == "n/a: raises: fused"


def test_an_oracle_that_raises_or_compares_nothing_fails(cubic):
    def broken(g, x):
        raise IndexError("no such thing\nat all")

    cell = cubic(record=altered(hand=broken)).cells["hand"]
    assert not cell.ok and cell.reason == "sample 0 raised IndexError: no such thing"
    empty = altered(samples=lambda rng: [call(np.ones((0, 2)))])
    cell = cubic(record=empty).cells["finite differences"]
    assert not cell.ok and cell.reason == "no sample has anything to compare"
    assert not cubic(record=altered(torch=lambda torch, x: NotImplemented)).cells["PyTorch"].ok


def test_reasons_stand_where_an_oracle_does_not_apply(cubic, monkeypatch):
    monkeypatch.setattr(agreement, "torch_missing", lambda: "not installed")
    row = cubic(record=altered(complex_step="not analytic", finite_differences="straight through", hand="too long"))
    assert str(row.cells["complex step"]) == "n/a: not analytic" and str(row.cells["PyTorch"]) == "n/a: not installed"
    assert str(row.cells["finite differences"]) == "n/a: straight through" and row.ok
    row = cubic(record=altered(gradient="a comparison"))
    assert {str(row.cells[c]) for c in COLUMNS[1:] if c != "PyTorch"} == {"n/a: a comparison"}


def test_a_cell_cannot_be_blank():
    for reason in ("", "  "):
        with pytest.raises(ValueError, match="must say why"):
            Cell(None, reason=reason)


@given(st.floats(1.0, 14.0), st.integers(-20, 20))
def test_digits_count_decimal_places_whatever_the_size(places, exponent):
    expected = np.array([1.0, -0.5, 0.25]) * 10.0**exponent
    actual = expected + np.array([0.0, 0.0, 10.0 ** (exponent - places)])
    assert digits(actual, expected, 1e-30) == pytest.approx(places, abs=0.2)


def test_digits_at_the_edges():
    assert digits(np.array([1.0, np.inf]), np.array([1.0, np.inf])) == MOST
    assert digits(np.array([np.nan]), np.array([1.0])) == digits(np.array([1.0]), np.array([np.nan])) == 0.0
    assert digits(np.ones(3), np.ones(4)) == digits((np.ones(3),), (np.ones(3), np.ones(3))) == 0.0
    assert digits(np.zeros(3), np.zeros(3)) == digits(np.ones((0, 2)), np.ones((0, 2))) == digits((), ()) == MOST
    assert digits(np.full(3, 1e-17), np.zeros(3)) == MOST and digits(np.full(3, 1e-12), np.zeros(3)) == 0.0
    assert digits(np.array([1, 2]), np.array([1, 2])) == MOST and digits(np.array([1, 2]), np.array([1, 3])) == 0.0


# ------------------------------------------------------------------------------------------------------------- mutation


def test_every_fault_in_a_right_rule_is_caught_and_the_rule_is_put_back(cubic):
    cubic()
    before = Cubic.__dict__["backward"].__func__
    score = mutation.score(RECORD, cases.cases(RECORD))
    assert (score.caught, score.total, score.ok, str(score)) == (4, 4, True, "4/4")
    assert Cubic.__dict__["backward"].__func__ is before
    mutant = mutation.Mutant(Cubic, 0, "negated")
    with pytest.raises(ZeroDivisionError), mutation.fault(mutant):
        raise ZeroDivisionError
    assert Cubic.__dict__["backward"].__func__ is before

    class Inherits(Cubic):
        pass

    with mutation.fault(mutation.Mutant(Inherits, 0, "negated")):
        assert "backward" in vars(Inherits)
    assert "backward" not in vars(Inherits)


@pytest.mark.parametrize("kind", mutation.UNCHANGED)
def test_each_kind_of_fault_does_what_it_says(cubic, kind):
    cubic()
    x, g = np.arange(1.0, 10.0).reshape(3, 3), np.arange(9.0).reshape(3, 3)
    right = cases.run(F.cubic, call(x), (g,)).gradients[0]
    with mutation.fault(mutation.Mutant(Cubic, 0, kind)) as changes:
        faulty = cases.run(F.cubic, call(x), (g,)).gradients[0]
        recorded, second = cases.second_gradients(F.cubic, call(x), (g,), (g,))
    expected = {"scaled": 1.001 * right, "negated": -right, "transposed": right.T, "second order": right}[kind]
    np.testing.assert_allclose(faulty, expected, rtol=1e-14)
    np.testing.assert_allclose(recorded.gradients[0], right, rtol=1e-14)
    factor = 1.001 if kind == "second order" else 1.0
    np.testing.assert_allclose(second[0], factor * 6 * x * g * g, rtol=1e-12)
    assert changes


def test_a_blind_check_lets_faults_survive_and_the_command_fails(cubic, capsys):
    cubic(record=altered(tolerance=1.0))
    assert command.main(["--only", "cubic"]) == 1
    out = capsys.readouterr().out
    assert "FAIL  cubic: a fault was not noticed: Cubic, gradient of argument 0, scaled" in out
    assert "2/4!" in out and "mutation score: 2 of 4 faults caught (50 %)" in out


def test_without_any_check_every_fault_survives(cubic):
    record = altered(finite_differences="no", hand="no", second="no")
    cubic(record=record)
    score = mutation.score(record, cases.cases(record))
    assert score.caught == 0 and [m.kind for m in score.survivors] == ["scaled", "negated", "transposed"]


@pytest.mark.parametrize(
    ("sample", "rule", "excluded"),
    [
        ((2, 3), lambda g, z, x, r: z * 0.0, {"scaled", "negated", "transposed"}),
        ((1, 1), lambda g, z, x, r: z, {"transposed"}),
        ((3, 3), lambda g, z, x, r: F.expand(g[0, 0] * 2.0, 3, 3), {"transposed"}),
        ((3, 3), lambda g, z, x, r: z + F.transpose(z), set()),
    ],
    ids=["zero", "one entry", "equal entries", "symmetric, but not when reversed"],
)
def test_a_fault_that_changes_nothing_is_told_from_one_that_does(cubic, sample, rule, excluded):
    cubic(wrong(rule))
    x = np.random.default_rng(0).standard_normal(sample)
    for kind in ("scaled", "negated", "transposed"):
        mutant = mutation.Mutant(F.cubic.__self__, 0, kind)
        with mutation.fault(mutant) as changes:
            cases.run(F.cubic, call(x), (np.ones(sample),))
        assert bool(changes) == (kind not in excluded)


def test_equivalent_faults_count_by_reason_and_not_as_caught(cubic):
    class Flat(tg.Function):
        @staticmethod
        def forward(ctx, x):
            return np.sign(x)

        @staticmethod
        def backward(ctx, grad):
            return grad * 0.0

    record = altered(
        numpy=np.sign, hand=lambda g, x: (0 * x,), complex_step="a step", torch=lambda torch, x: torch.sign(x)
    )
    assert cubic(Flat, record).ok
    score = mutation.score(record, cases.cases(record))
    assert score.total == 0 and score.ok and sum(score.excluded.values()) == 4
    assert str(score).startswith("n/a: the gradient is zero in every sample")


def test_an_operation_that_no_record_runs_is_named():
    class Forgotten(tg.Function):
        @staticmethod
        def forward(ctx, x):
            return x

        @staticmethod
        def backward(ctx, grad):
            return grad

    Forgotten.__module__ = "tinygrad_hw.functional.somewhere"
    assert "Forgotten" in mutation.unexercised([])
    assert "Forgotten" in mutation.unexercised([mutation.Used(forward={Forgotten})])
    assert "Forgotten" not in mutation.unexercised([mutation.Used(forward={Forgotten}, backward={Forgotten: {0}})])
    del Forgotten
    gc.collect()
    assert "Forgotten" not in mutation.unexercised([])


# ---------------------------------------------------------------------------------------------------------- the command


def test_the_command_prints_a_row_without_blanks_and_succeeds(cubic, capsys):
    cubic()
    assert command.main(["--only", "cubic"]) == 0
    header, _, line, *rest = capsys.readouterr().out.splitlines()
    assert re.split(r"  +", header) == ["operation", *COLUMNS, "worst", "faults caught"]
    assert len(re.split(r"  +", line)) == len(COLUMNS) + 3 and line.startswith("cubic") and line.endswith("4/4")
    assert "1 of 1 operations agree" in "\n".join(rest) and "(100 %)" in "\n".join(rest)


def test_json_is_well_formed_and_says_something_in_every_cell(cubic, capsys):
    cubic(record=altered(complex_step="not analytic"))
    assert command.main(["--json", "--only", "cubic"]) == 0
    found = json.loads(capsys.readouterr().out)
    (operation,) = found["operations"]
    assert found["ok"] and operation["ok"] and list(operation["agreement"]) == list(COLUMNS)
    assert all("digits" in cell or cell["reason"] for cell in operation["agreement"].values())
    assert operation["agreement"]["complex step"] == {"reason": "not analytic"}
    assert operation["mutation"] == {"caught": 4, "total": 4, "survivors": [], "excluded": {}}


def test_quick_runs_no_faults_and_says_so(cubic, capsys):
    cubic()
    assert command.main(["--quick", "--only", "cubic"]) == 0
    assert "n/a: --quick" in capsys.readouterr().out


def test_a_disagreement_and_a_missing_record_fail(cubic, capsys, monkeypatch):
    cubic(wrong(lambda g, z, x, recording: z * 1.001))
    assert command.main(["--only", "cubic"]) == 1
    out = capsys.readouterr().out
    assert "FAIL  cubic: hand: 3.0 of 10.0 digits" in out and "n/a: checks fail" in out
    cubic()
    monkeypatch.setattr(command, "public_operations", lambda: ["cubic", "undocumented"])
    assert command.main(["--only", "undocumented"]) == 1
    assert "FAIL  undocumented: no record" in capsys.readouterr().out
    monkeypatch.setattr(command, "records", lambda: {"cubic": altered(samples=lambda rng: 1 / 0)})
    assert command.main(["--json", "--only", "cubic"]) == 1
    assert "ZeroDivisionError" in json.loads(capsys.readouterr().out)["failures"][0]


def test_a_record_without_operation_fails(monkeypatch, capsys):
    monkeypatch.setattr(command, "records", lambda: {"imagined": altered(name="imagined")})
    assert command.main(["--only", "imagined"]) == 1
    assert "tinygrad_hw.functional has no operation 'imagined'" in capsys.readouterr().out


def test_a_misspelt_operation_is_one_line_and_status_2(cubic, capsys):
    cubic()
    assert command.main(["--only", "cubci"]) == 2
    captured = capsys.readouterr()
    assert captured.out == "" and captured.err == "python -m reference: no operation 'cubci'; did you mean 'cubic'?\n"


def test_check_is_handed_on(monkeypatch):
    monkeypatch.setattr(check, "main", lambda argv: len(argv) + 10)
    assert command.main(["check", "module:function", "--shape", "3"]) == 13


def test_on_a_terminal_the_table_fits_its_width(cubic):
    from rich.console import Console

    cubic(record=altered(complex_step="not analytic, for a reason that takes more than a line to tell"))
    console = Console(width=80, force_terminal=True, record=True)
    report.coloured(report.assemble(command.records(), ["cubic"], whole=False), console)
    lines = console.export_text().splitlines()
    assert max(map(len, lines)) <= 80 and any("cubic" in line and "4/4" in line and "n/a [1]" in line for line in lines)
    assert any(line.startswith("[1] not analytic") for line in lines)
