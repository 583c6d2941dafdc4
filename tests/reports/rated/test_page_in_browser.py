"""The page as a person uses it, in Chromium: no error, nothing from the network, every control does what it says."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from browser import chromium, needs_browser
from playwright.sync_api import Browser, Locator, Page, expect
from rated_page_example import CRITERIA, SUBSETS, WINDOW, sequences
from rated_page_example import write as write_input

from qurating.reports.rated import page as rated_page

pytestmark = needs_browser

TABS = ("Overview", "Criteria", "Trust", "Selections", "Results", "Documents", "Provenance")
NUM_FIGURES = 15
UNIFORM, TOP_K = (f"select_30_percent_by-{name}" for name in SUBSETS[:2])


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as started:
        yield started


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The page of real text: about eighty sequences."""
    return rated_page.write(write_input(tmp_path_factory.mktemp("rated") / "a", sequences(12)))


@pytest.fixture
def rows(report: Path) -> list[dict[str, Any]]:
    return pq.read_table(report.parent / "documents.parquet").to_pylist()


@pytest.fixture
def page(browser: Browser) -> Iterator[Page]:
    """A window in which every message of the console, every error and every request but for files is a failure."""
    context = browser.new_context(viewport={"width": 1280, "height": 900}, color_scheme="light")
    opened = context.new_page()
    told: list[str] = []
    opened.on("console", lambda message: told.append(f"{message.type}: {message.text}"))
    opened.on("pageerror", lambda error: told.append(f"error: {error}"))
    requests: list[str] = []
    opened.on("request", lambda request: requests.append(request.url))
    yield opened
    assert told == []
    assert [url for url in requests if not url.startswith("file:")] == []
    context.close()


def visit(page: Page, report: Path, fragment: str = "") -> None:
    page.goto("about:blank")
    page.goto(f"{report.as_uri()}{fragment}")
    page.wait_for_selector("html[data-ready]")


def shown_ids(page: Page, column: int = 0) -> list[str]:
    """The ids of the sequences that a list shows, all pages of it, in its order."""
    lists = page.locator("#lists .column").nth(column)
    while lists.locator("button.more").is_visible():
        lists.locator("button.more").click()
    names = "nodes => nodes.map(node => JSON.parse(document.getElementById('rows').textContent)[node.dataset.place].id)"
    found: list[str] = lists.locator("button.item").evaluate_all(names)
    return found


def field(page: Page, label: str) -> Locator:
    """A field of the explorer; other parts of the page have fields of the same name."""
    return page.get_by_role("tabpanel", name="Documents").get_by_label(label, exact=True)


def test_every_part_is_drawn(page: Page, report: Path) -> None:
    visit(page, report)
    page.wait_for_selector("html[data-drawn]")
    expect(page.get_by_text("Simulated judge", exact=True)).to_be_visible()
    for name in TABS:
        page.get_by_role("tab", name=name).click()
        expect(page.get_by_role("tabpanel", name=name)).to_be_visible()
        assert page.get_by_role("tabpanel").count() == 1  # the others are hidden
    figures = page.locator("figure .drawing")
    assert figures.count() == NUM_FIGURES
    assert page.locator("figure .drawing svg").count() == NUM_FIGURES
    assert page.locator(".absent:not([hidden])").count() == 0


def test_numbers_of_the_table_are_those_of_the_analysis(page: Page, report: Path) -> None:
    visit(page, report)
    cells = page.locator("#panel-overview tbody tr").first.locator("td").all_text_contents()
    variance = pq.read_table(report.parent / "tables" / "variance.parquet").to_pylist()
    share = next(row["eta_squared"] for row in variance if row["criterion"] == CRITERIA[0])
    assert cells[0] == "writing style"
    assert cells[2] == f"{100 * share:.0f} %"
    assert cells[4:6] == ["0.66 [0.63, 0.69]", "0.84"]


def part(page: Page, heading: str) -> Locator:
    return page.locator("#panel-trust .part").filter(has=page.get_by_role("heading", name=heading, exact=True))


def told_at(page: Page, point: Locator) -> str:
    """The tooltip of a point of a figure."""
    point.scroll_into_view_if_needed()
    point.hover(force=True)
    return page.locator("#tip").inner_text()


def test_the_judge_the_rater_and_the_scorer(page: Page, report: Path) -> None:
    visit(page, report, "#trust")
    page.wait_for_selector("html[data-drawn=all]")
    judge, rater, scorer = (part(page, name) for name in ("The judge", "The rater", "The scorer (LQS)"))
    cells = judge.locator("tbody tr").first.locator("td").all_text_contents()
    assert cells[:4] == ["writing style", "400", "90 % [80 %, 95 %]", "3.0 %"]
    assert "people" not in judge.locator("thead").first.inner_text()  # nobody ranked texts: no column
    expect(judge).to_contain_text("Compared with another way of judging")
    judge.get_by_label("Show").select_option("domains, by writing style")
    expect(judge.locator("svg")).to_contain_text("licences")
    cells = rater.locator("tbody tr").first.locator("td").all_text_contents()
    assert cells == ["writing style", "400", "75 % [70 %, 80 %]", "0.04", "75 % of 80", "75 % of 40", "–"]
    rater.get_by_label("By", exact=True).select_option("which text is longer")
    expect(rater.locator("svg").first).to_contain_text("judge prefers the shorter text")
    rater.get_by_label("By", exact=True).select_option("domain of both texts")
    expect(rater.get_by_label("Criterion").first.locator("option:checked")).to_have_text("all criteria")
    expect(rater.locator("svg").first).to_contain_text("licences")
    expect(rater.locator("svg").nth(1)).to_contain_text("The rater's probability of the text that it prefers")
    assert "rater 52 %, judge 56 %" in told_at(page, rater.locator("svg").nth(1).locator(".mark-symbol path").first)
    cells = scorer.locator("tbody tr").first.locator("td").all_text_contents()
    assert cells == ["all held out", "30", "0.40 [0.10, 0.70]", "80 %", "0.50", "0.30"]
    annotated = pq.read_table(report.parent / "tables/annotated.parquet").to_pylist()
    held_out = sum(row["held_out"] for row in annotated)
    points = scorer.locator("svg .role-mark.mark-symbol path")
    expect(points).to_have_count(held_out)
    scorer.get_by_label("Sequences").select_option("learned from")
    expect(points).to_have_count(len(annotated) - held_out)
    expect(scorer.locator("svg")).to_contain_text("other domains")


def test_filters(page: Page, report: Path, rows: list[dict[str, Any]]) -> None:
    visit(page, report, "#documents")
    expect(page.locator("#count")).to_have_text(f"{len(rows)} documents")
    page.get_by_label("Percentile from").fill("80")
    field(page, "Criterion").select_option("educational value")
    field(page, "Domain").select_option("licences")
    expected = [
        row
        for row in rows
        if row["domain"] == "licences" and float(f"{row['percentile.educational_value']:.5g}") >= 80
    ]  # fmt: skip
    assert expected
    expect(page.locator("#count")).to_have_text(f"{len(expected)} document{'s' * (len(expected) != 1)}")
    expected.sort(key=lambda row: -row["percentile.educational_value"])
    assert shown_ids(page) == [str(row["id"]) for row in expected]
    page.get_by_label("Percentile from").fill("100")
    field(page, "Domain").select_option("tabular_data")
    expect(page.locator("#lists")).to_contain_text("No document of this sample fits.")


def test_two_selections_side_by_side(page: Page, report: Path, rows: list[dict[str, Any]]) -> None:
    visit(page, report, "#documents")
    page.get_by_label("Compare: kept by").select_option("educational value top-k")
    page.get_by_label("and not by").select_option("uniform")
    kept = {name: {str(row["id"]) for row in rows if row[f"kept.{name}"]} for name in (UNIFORM, TOP_K)}
    expect(page.locator("#lists .column")).to_have_count(2)
    assert set(shown_ids(page, 0)) == kept[TOP_K] - kept[UNIFORM]
    assert set(shown_ids(page, 1)) == kept[UNIFORM] - kept[TOP_K]
    headings = page.locator("#lists h3").all_text_contents()
    assert headings[0].startswith("Kept by educational value top-k, not by uniform")
    left, right = (page.locator("#lists .column").nth(n).bounding_box() for n in (0, 1))
    assert left
    assert right
    assert left["x"] + left["width"] <= right["x"]


def test_search(page: Page, report: Path, rows: list[dict[str, Any]]) -> None:
    visit(page, report, "#documents")
    word = "Redistribution"
    expected = {str(row["id"]) for row in rows if word.lower() in row["text"].lower()}
    assert 0 < len(expected) < len(rows)
    page.get_by_role("searchbox").fill(word)
    expect(page.locator("#count")).to_contain_text(f"{len(expected)} document")
    assert set(shown_ids(page)) == expected
    page.get_by_role("searchbox").fill(str(rows[7]["id"]))
    expect(page.locator("#count")).to_have_text("1 document")


def text_of(page: Page) -> str:
    """The text of the open document, without the ratings in it."""
    script = """node => { const copy = node.cloneNode(true);
      copy.querySelectorAll('.rating').forEach(each => each.remove()); return copy.textContent; }"""
    found: str = page.locator("#document .text").evaluate(script)
    return found


def test_a_document_in_full_with_its_windows(page: Page, report: Path, rows: list[dict[str, Any]]) -> None:
    row = max(rows, key=lambda each: len(each["text"]))
    assert len(row["window_ends"]) == 3
    visit(page, report, f"#doc={row['id']}")
    expect(page.get_by_role("dialog")).to_be_visible()
    assert text_of(page) == row["text"]
    spans = page.locator("#document .window")
    assert spans.count() == 3
    assert spans.nth(1).evaluate("node => node.lastChild.textContent") == row["text"][WINDOW : 2 * WINDOW]
    shades = {}
    for criterion in CRITERIA[:2]:
        page.get_by_role("dialog").get_by_role("button", name=criterion.replace("_", " ")).click()
        shown = page.locator("#document .window .rating").all_text_contents()
        assert [float(each.replace("−", "-")) for each in shown] == pytest.approx(row[f"windows.{criterion}"], abs=6e-3)
        strengths = spans.evaluate_all(
            "nodes => nodes.map(node => parseFloat(node.style.getPropertyValue('--strength')))"
        )
        assert np.argsort(strengths).tolist() == np.argsort(row[f"windows.{criterion}"]).tolist()
        shades[criterion] = spans.first.evaluate("node => getComputedStyle(node).backgroundColor")
    assert len(set(shades.values())) == 2
    chips = page.locator("#document .chip.kept").all_text_contents()
    assert len(chips) == sum(row[f"kept.select_30_percent_by-{name}"] for name in SUBSETS)


def test_links_to_documents(page: Page, report: Path, rows: list[dict[str, Any]]) -> None:
    visit(page, report, "#documents")
    page.locator("button.item").nth(2).click()
    link = page.evaluate("location.hash")
    text = text_of(page)
    page.keyboard.press("Escape")
    expect(page.get_by_role("dialog")).to_be_hidden()
    assert page.evaluate("location.hash") == "#documents"
    visit(page, report, link)
    assert text_of(page) == text
    page.get_by_role("button", name="Copy link").click()
    # a browser without a clipboard shows the link instead
    expect(page.locator("#copy:text-is('Copied'), #link")).to_be_visible()
    if page.locator("#link").count():
        assert page.locator("#link").input_value().endswith(link)
    visit(page, report, "#doc=%3Cimg%20src%3Dx%3E")
    expect(page.get_by_role("alert")).to_contain_text("The document <img src=x> is not in this page")
    expect(page.get_by_role("dialog")).to_be_hidden()


def test_the_keyboard_alone(page: Page, report: Path) -> None:
    visit(page, report)
    page.get_by_role("tab", name="Overview").focus()
    page.keyboard.press("ArrowRight")
    expect(page.get_by_role("tab", name="Criteria")).to_be_focused()
    expect(page.get_by_role("tab", name="Criteria")).to_have_attribute("aria-selected", "true")
    page.keyboard.press("End")
    expect(page.get_by_role("tabpanel", name="Provenance")).to_be_visible()
    page.keyboard.press("/")
    expect(page.get_by_role("searchbox")).to_be_focused()
    page.keyboard.press("ArrowDown")
    page.keyboard.press("ArrowDown")
    second = page.locator("button.item").nth(1)
    expect(second).to_be_focused()
    page.keyboard.press("Enter")
    expect(page.get_by_role("dialog")).to_be_visible()
    first_text = text_of(page)
    page.keyboard.press("j")
    assert text_of(page) != first_text
    page.keyboard.press("k")
    assert text_of(page) == first_text
    page.keyboard.press("Escape")
    expect(page.get_by_role("dialog")).to_be_hidden()
    expect(second).to_be_focused()


def test_temperatures(page: Page, report: Path) -> None:
    visit(page, report, "#selections")
    page.wait_for_selector("html[data-drawn]")
    rows = pq.read_table(report.parent / "tables" / "temperatures.parquet").to_pylist()
    steps = sorted({row["temperature"] for row in rows})
    assert len(steps) == 30
    slider = page.get_by_role("slider", name="Temperature τ")
    drawing = page.locator("figure", has=page.get_by_text("Bars: the share of each domain")).locator("svg")
    for step, told in ((0, "top-k"), (12, f"τ = {steps[12]:.3g}"), (29, "uniform")):
        slider.fill(str(step))
        expect(page.locator("output")).to_have_text(told)
        share = next(r["share"] for r in rows if r["domain"] == "licences" and r["temperature"] == steps[step])
        label = f"Share: {100 * share:.1f} %; of the corpus"
        bar = drawing.locator(f"[aria-roledescription=bar][aria-label*='licences'][aria-label*='{label}']")
        expect(bar).to_have_count(1)


def test_results_of_the_trainings(page: Page, report: Path) -> None:
    visit(page, report, "#results")
    page.wait_for_selector("html[data-drawn]")
    panel = page.locator("#panel-results")
    expect(panel.locator(".helped")).to_contain_text("Selecting helped with 1 of 2 selections, most with “educational")
    cells = panel.locator("tbody tr").nth(1).locator("td").all_text_contents()
    assert cells[:4] == ["educational value top-k", "0, 1", "120K", "2.600 ± 0.100"]
    assert cells[4:] == ["−0.400 [−0.60, −0.20]", "0.010", "1.50", "1.2 %", "0.2 %", "+1.50"]
    drawing = panel.locator("figure .drawing")
    assert "uniform, 120K" in drawing.locator("text").all_text_contents()
    points = drawing.locator("[aria-roledescription=circle]")
    assert points.count() == 3 * 2 * 4
    drawing.get_by_text("uniform", exact=True).click()  # in the legend
    expect(drawing.locator("[aria-roledescription=circle][opacity='0.9']")).to_have_count(2 * 4)
    panel.get_by_label("Loss", exact=True).select_option("Training loss")
    expect(points).to_have_count(3 * 2 * 100)  # thinned
    expect(panel.locator("figcaption")).to_contain_text("on the batches of the training")
    panel.locator("tbody a").first.click()
    opened = page.locator("details[data-manifest='evaluations/lm-uniform-0']")
    expect(opened.locator("pre")).to_contain_text('"stage": "evaluations"')
    visit(page, report)
    page.wait_for_selector("html[data-drawn]")
    figure = page.locator("#panel-overview figure", has=page.get_by_text("Left of 0 is better"))
    expect(figure.locator("[aria-label*='educational value top-k'][aria-label*='−0.400']")).to_have_count(1)


def test_light_dark_and_print(page: Page, report: Path) -> None:
    visit(page, report)
    background = "getComputedStyle(document.body).backgroundColor"
    light = page.evaluate(background)
    page.get_by_role("button", name="Switch to dark colours").click()
    dark = page.evaluate(background)
    assert dark != light
    page.get_by_role("button", name="Switch to light colours").click()
    assert page.evaluate(background) == light
    page.emulate_media(color_scheme="dark")
    assert page.evaluate(background) == light  # what was chosen counts
    page.evaluate("localStorage.clear()")
    page.reload()
    assert page.evaluate(background) == dark
    page.emulate_media(media="print")
    assert page.evaluate(background) == "rgb(255, 255, 255)"
    assert page.locator("#panel-trust").is_visible()
    assert not page.locator("#tabs").is_visible()


def test_a_phone_scrolls_in_one_direction(page: Page, report: Path, rows: list[dict[str, Any]]) -> None:
    page.set_viewport_size({"width": 360, "height": 740})
    visit(page, report)
    page.wait_for_selector("html[data-drawn]")
    for name in TABS:
        page.get_by_role("tab", name=name).click()
        assert page.evaluate("document.documentElement.scrollWidth") <= 360
    visit(page, report, f"#doc={rows[0]['id']}")
    assert page.get_by_role("dialog").evaluate("node => node.scrollWidth <= node.clientWidth")


def test_a_manifest_from_a_number(page: Page, report: Path) -> None:
    visit(page, report, "#trust")
    page.locator("#panel-trust a", has_text="ratings/rater-tiny").first.click()
    opened = page.locator("details[data-manifest='ratings/rater-tiny']")
    expect(opened.locator("pre")).to_contain_text('"name": "ratings/rater-tiny"')
    expect(opened.locator("pre")).to_contain_text("10 more, see manifest.json")


HOSTILE = (
    "<script>window.hacked = 1</script>",
    "</textarea></title></script><script>window.hacked = 1</script>",
    "<img src=x onerror='window.hacked=1'><svg onload='window.hacked=1'>",
    "data:text/html,<script>window.hacked=1</script> javascript:window.hacked=1",
    "abc\u202egnp.exe\u2066 \u200f",
    "NUL \x00 and \x1b[31m and \x85 and \ufffe",
    "{{7*7}} ${window.hacked=1} {% raw %} `);window.hacked=1;(`",
    "__proto__",
    "constructor",
)


def hostile_rows() -> list[dict[str, Any]]:
    texts = [*HOSTILE, "x" * 1_000_000, "\U0001f600" * 2_000 + HOSTILE[0]]
    return [
        {"document_id": text[:500], "position": 0, "domain": text[:500], "text": f"{text} {HOSTILE[0]}"}
        for text in texts
        for _ in range(2)
    ]


def test_hostile_text_is_text(page: Page, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("rated_page_example.CRITERIA", HOSTILE[:3])
    monkeypatch.setattr("rated_page_example.SUBSETS", HOSTILE[3:6])
    folder = write_input(tmp_path / "a", hostile_rows())
    about = json.loads((folder / "about.json").read_text())
    about["artifacts"]["corpus"] = ["corpora/\ud800<script>window.hacked=1</script>"]
    about["manifests"]["corpus"] = {"corpora/\ud800<script>window.hacked=1</script>": {"a": "\udfff</script>"}}
    (folder / "about.json").write_text(json.dumps(about))
    (folder / "warnings.json").write_text(json.dumps([f"\ud83d{text}" for text in HOSTILE]))
    path = rated_page.write(folder)
    visit(page, path)
    page.wait_for_selector("html[data-drawn]")
    assert page.locator("figure .drawing svg").count() == NUM_FIGURES
    for tab in TABS:
        page.get_by_role("tab", name=tab).click()
    for details in page.locator("details").all():
        details.evaluate("node => { node.open = true; }")
    expect(page.locator("#title")).to_contain_text("U+D800<script>window.hacked=1</script>")
    rows = pq.read_table(folder / "documents.parquet").to_pylist()
    for row in rows:
        page.evaluate(f"location.hash = '#doc={row['id']}'")
        expect(page.locator("#document")).to_contain_text(f"{row['id']}, part 1")
        shown = text_of(page)
        if len(row["text"]) < 20_000:
            marked = "".join(
                f"U+{ord(c):04X}" if c in "\u202e\u2066\u200f\x00\x1b\x85\ufffe" else c for c in row["text"]
            )
            assert shown == marked
        else:
            assert shown == f"{'x' * 20_000} … cut: {len(row['text']):,} characters in all"
    assert page.evaluate("window.hacked") is None
    assert page.evaluate("({}).hacked") is None
    scripts = page.locator("script").evaluate_all("nodes => nodes.map(node => node.type)")
    assert sorted(scripts) == [""] * (1 + len(rated_page._SCRIPTS)) + ["application/json"] * 3
    assert page.locator("img, iframe, textarea, [onerror], [onload]").count() == 0


def test_the_policy_runs_no_other_script(page: Page, report: Path, browser: Browser) -> None:
    context = browser.new_context()  # what is forbidden here is told on its console
    other = context.new_page()
    visit(other, report)
    other.evaluate("""() => { const script = document.createElement('script');
      script.textContent = 'window.hacked = 1'; document.body.append(script); }""")
    assert other.evaluate("window.hacked") is None
    sent = "fetch('https://localhost:1/').then(() => 'sent', () => 'refused')"
    assert other.evaluate(sent) == "refused"
    context.close()


def test_ratings_without_text_and_an_analysis_without_tables(page: Page, tmp_path: Path) -> None:
    rows = [{"document_id": f"d{row}", "position": 0, "domain": "web", "text": None} for row in range(5)]
    folder = write_input(tmp_path / "a", rows, simulated=False)
    for file in (folder / "tables").iterdir():
        file.unlink()
    path = rated_page.write(folder)
    visit(page, path)
    page.wait_for_selector("html[data-drawn]")
    assert page.get_by_text("Simulated judge", exact=True).count() == 0
    expect(page.locator("#panel-overview")).to_contain_text("run it again with overwrite=true")
    for tab, told in (
        ("Trust", "Run the stage judge or import_judgments"),
        ("Trust", "Run the stages judge and train_rater"),
        ("Trust", "Run the stages annotate_proxy and train_scorer"),
        ("Selections", "Run the stage select"),
        ("Results", "train_lm and evaluate"),
    ):
        page.get_by_role("tab", name=tab).click()
        expect(page.get_by_role("tabpanel", name=tab)).to_contain_text(told)
    page.get_by_role("tab", name="Documents").click()
    expect(page.get_by_role("tabpanel", name="Documents")).to_contain_text("The ratings came without text")
    expect(page.locator("#count")).to_have_text("5 documents")
    page.locator("button.item").first.click()
    expect(page.get_by_role("dialog")).to_contain_text("This sequence came without text.")


def test_ratings_that_are_missing(page: Page, tmp_path: Path) -> None:
    rows = [{"document_id": f"d{n}", "position": 0, "domain": "web", "text": f"{'word ' * n} 12"} for n in range(9)]
    folder = write_input(tmp_path / "a", rows)
    table = pq.read_table(folder / "documents.parquet")
    for name in (f"rating.{CRITERIA[0]}", f"percentile.{CRITERIA[0]}"):
        values = [None, *table[name].to_pylist()[1:]]
        table = table.set_column(table.column_names.index(name), name, pa.array(values, pa.float32()))
    pq.write_table(table, folder / "documents.parquet")
    visit(page, rated_page.write(folder), "#documents")
    for order in ("Highest first", "Lowest first"):
        field(page, "Order").select_option(order)
        expect(page.locator("button.item").last).to_contain_text("d0")  # without a rating: the last
    field(page, "to").fill("99.9")
    expect(page.locator("#count")).to_have_text("7 documents")
    pq.write_table(
        table.select(["id", "document_id", "position", "domain", "length", "text"]), folder / "documents.parquet"
    )
    visit(page, rated_page.write(folder), "#documents")
    page.locator("button.item").nth(4).click()
    expect(page.locator("#document .text")).to_have_text(f"{'word ' * 4} 12")


def test_many_domains_and_constant_ratings(page: Page, tmp_path: Path) -> None:
    rows = [
        {"document_id": f"d{row}", "position": 0, "domain": f"domain-{row % 60}", "text": "the same"}
        for row in range(90)
    ]
    path = rated_page.write(write_input(tmp_path / "a", rows))
    visit(page, path)
    page.wait_for_selector("html[data-drawn]")
    expect(page.locator("#panel-overview")).to_contain_text("The 30 largest of 60 by tokens are shown.")
    assert page.locator("#panel-overview tbody td:nth-child(2)").all_text_contents() == ["nothing: constant"] * 3
    page.get_by_role("tab", name="Documents").click()
    field(page, "Domain").select_option("30 others")
    others = sum(row % 60 >= 30 for row in range(90))
    expect(page.locator("#count")).to_have_text(f"{others} documents")
