"""The report and the comparison: whole, self-contained, escaped, readable by machines that read aloud."""

import base64
import binascii
import re
from html.parser import HTMLParser
from pathlib import Path

import pytest

from experiments.harness import cli, figures
from experiments.harness.report import Report, counted, inline, mathml, number, render, short

from .toy import run_toy, toy

VOID = {"meta", "img", "br", "link", "input", "hr", "source"}


class Page(HTMLParser):
    """Collects tags, and checks that they close in order."""

    def __init__(self, html: str) -> None:
        super().__init__(convert_charrefs=True)
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.text = ""
        self.feed(html)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.tags if name == tag]


def assert_loads_nothing(html: str) -> None:
    page = Page(html)
    for tag, attributes in page.tags:
        assert tag not in ("link", "script", "iframe", "object", "embed", "base")
        for name in ("src", "href", "srcset", "data", "poster", "action", "xlink:href"):
            value = attributes.get(name)
            assert value is None or value.startswith(("data:", "#")), (tag, name, value)
    styles = " ".join(re.findall(r"<style>(.*?)</style>", html, re.DOTALL))
    assert "url(" not in styles
    assert "@import" not in styles
    pictures = re.findall(r'src="data:image/[a-z+]+;base64,([^"]+)"', html)
    for picture in pictures:
        content = base64.b64decode(picture, validate=True)
        outside = re.findall(rb'(?:href|src)="(?!#|data:)[^"]*"', content)
        assert not content.startswith(b"<?xml") or not outside


def assert_accessible(page: Page) -> None:
    assert page.all("html")[0]["lang"] == "en"
    assert page.all("title")
    assert len(page.all("h1")) == 1
    assert all(image.get("alt") for image in page.all("img"))
    assert len(page.all("caption")) == len(page.all("table"))
    assert all(cell.get("scope") for cell in page.all("th"))
    anchors = [section["id"] for section in page.all("h2")]
    assert len(set(anchors)) == len(anchors)
    assert [link["href"] for link in page.all("a")] == [f"#{anchor}" for anchor in anchors]


@pytest.fixture(scope="module")
def toy_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("toy") / "run"
    run_toy(toy(), path)
    return path


def test_toy_report(toy_run: Path) -> None:
    html = (toy_run / "report.html").read_text(encoding="utf-8")
    page = Page(html)
    assert_loads_nothing(html)
    assert_accessible(page)
    assert len(page.all("math")) == 2
    assert "w is unknown & <unsafe>?" in " ".join(page.text.split()).replace("`", "")
    order = [section["id"] for section in page.all("h2")]
    assert order == ["question", "claims", "answer", "how-this-was-made"]
    assert "✗ fail" in page.text
    assert "a line with noise" in page.text
    assert "python -m experiments run toy --profile demo --seed 0" in page.text
    assert {path.name for path in (toy_run / "figures").iterdir()} == {"loss.svg", "loss.png"}


def test_hand_backprop_report(smoke: Path) -> None:
    html = (smoke / "report.html").read_text(encoding="utf-8")
    page = Page(html)
    assert_loads_nothing(html)
    assert_accessible(page)
    assert len(page.all("math")) > 15
    assert len(page.all("figure")) == 5
    for words in ("max_loss_difference", "✓ pass", "5,000 MNIST digits", "seed 3", "Adam", "full batch", "numpy"):
        assert words in page.text
    assert "nan" not in re.findall(r"[\w.]+", page.text)
    assert {path.stem for path in (smoke / "figures").iterdir()} >= {"optimisers", "batches", "agreement"}


def test_figures_are_equal_when_their_content_is(tmp_path: Path) -> None:
    sources = []
    for _ in range(2):
        figure, axes = figures.new()
        axes.plot([1, 2, 3])
        sources.append(figures.save(figure, tmp_path, "figure"))
    assert sources[0] == sources[1]
    assert sources[0].startswith("data:image/svg+xml;base64,")
    assert {path.name for path in tmp_path.iterdir()} == {"figure.svg", "figure.png"}
    assert figures.save(figure, None, "figure", raster=True).startswith("data:image/png;base64,")
    with pytest.raises(binascii.Error):
        base64.b64decode("?", validate=True)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("1.5", "1.5"),
        ("-2", "\N{MINUS SIGN}2"),
        ("3.1e-09", "3.1 × 10<sup>\N{MINUS SIGN}9</sup>"),
        ("1e-300", "1 × 10<sup>\N{MINUS SIGN}300</sup>"),
        ("2e+20", "2 × 10<sup>20</sup>"),
        ("1e+05", "1 × 10<sup>5</sup>"),
        ("nan", "nan"),
        ("≤ 1e-09", "≤ 1 × 10<sup>\N{MINUS SIGN}9</sup>"),
    ],
)
def test_numbers_are_printed_as_in_books(text: str, expected: str) -> None:
    assert number(text) == expected


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (0.0, "0"),
        (0.123, "0.12"),
        (1234.5, "1234"),
        (1.23e-9, r"$1.2 \times 10^{-9}$"),
        (-2e5, r"$-2.0 \times 10^{5}$"),
    ],
)
def test_short_numbers(value: float, expected: str) -> None:
    assert short(value) == expected


def test_inline_text() -> None:
    body = inline("a < b, $x_1$ and `c<d>` cost 5$")
    assert body.startswith("a &lt; b, <math")
    assert "<code>c&lt;d&gt;</code> cost 5$" in body


def test_unconvertible_mathematics_is_refused() -> None:
    with pytest.raises(ValueError, match="cannot be converted"):
        mathml(r"\begin{aligned} a &= b \end{aligned}")


def test_names_of_figures_are_unique() -> None:
    report = Report("title", None)
    report.figure("a", figures.new()[0], caption="", alt="a")
    with pytest.raises(ValueError, match="exists already"):
        report.figure("a", figures.new()[0], caption="", alt="a")


def test_tables_print_numbers() -> None:
    report = Report("<title>", None)
    report.section("One")
    report.table(("name", "$n$"), [("a", 12345), ("b", -0.000012344), ("c", "<x>")], caption="Numbers.")
    html = render("page.html.j2", report=report, facts="", closing="")
    page = Page(html)
    assert_loads_nothing(html)
    assert "12,345" in page.text
    assert "\N{MINUS SIGN}1.234 × 10<sup>\N{MINUS SIGN}5</sup>" in html
    assert "&lt;x&gt;" in html
    assert "<h1>&lt;title&gt;</h1>" in html


def test_comparison(tmp_path: Path, toy_run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run_toy(toy(), tmp_path / "fast", rate=0.3)
    run_toy(toy(), tmp_path / "unfinished", seed=1)
    (tmp_path / "unfinished" / "summary.json").unlink()
    out = tmp_path / "new" / "page.html"
    folders = [str(toy_run), str(tmp_path / "fast"), str(tmp_path / "unfinished")]
    assert cli.main(["compare", *folders, "--out", str(out)]) == 0
    assert capsys.readouterr().out == f"comparison: {out}\n"
    html = out.read_text(encoding="utf-8")
    page = Page(html)
    assert_loads_nothing(html)
    assert_accessible(page)
    assert len(page.all("img")) == 3, "one figure for each value that was logged"
    assert "not finished" in page.text
    assert "0.3" in page.text
    assert "epochs" not in page.text.partition("Settings")[2].partition("differs")[2], "equal settings are left out"
    assert cli.main(["compare", folders[0], folders[1]]) == 0
    assert capsys.readouterr().out.strip().endswith(f"{toy_run.parent}/compare-run-fast.html")


def test_numbers_of_things_are_grammatical() -> None:
    assert [counted(n, "epoch") for n in (0, 1, 2, 1500)] == ["0 epochs", "1 epoch", "2 epochs", "1,500 epochs"]
