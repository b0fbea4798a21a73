"""The report: one page from the tables, nothing outside it, nothing that disagrees with them."""

from __future__ import annotations

import copy
import json
import math
import re
import shutil
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

import report_tree
from hccflow.cli import main
from hccflow.errors import ConfigError, TableError
from hccflow.ledger import PRIMARY, primary_words
from hccflow.metrics.estimate import Estimate, metrics_table, undefined
from hccflow.report import build_report, render, write_report
from hccflow.report.page import Callout, Cell, Figure, Gallery, Section, Table
from hccflow.report.results import Results
from hccflow.report.sections import SECTIONS, headline, performance
from hccflow.report.sections.leakage import training_sets
from hccflow.report.words import number
from hccflow.tables import read_table, subjects_digest, write_table, write_text


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    root = tmp_path_factory.mktemp("report") / "phantom"
    return root, report_tree.build(root)


@pytest.fixture
def own(tree: tuple[Path, dict[str, Any]], tmp_path: Path) -> tuple[Path, dict[str, Any]]:
    """A copy that a test may change."""
    shutil.copytree(tree[0], tmp_path / "own")
    return tmp_path / "own", copy.deepcopy(tree[1])


def page_of(root: Path, settings: dict[str, Any]) -> str:
    return render(build_report(root, settings), settings)


def section(root: Path, settings: dict[str, Any], key: str) -> Section:
    """One section, built alone; its module bears its key."""
    results = Results(root, settings)
    found = next(build for build in SECTIONS if build.__module__.endswith(f".{key}"))(results)
    assert found.key == key
    return found


def words(part: Section) -> str:
    """All text of a section."""
    out = [part.title]
    for block in part.blocks:
        if isinstance(block, Table):
            out += [block.caption, *block.columns, *(c.text + " " + c.note for r in block.rows for c in r.cells)]
        elif isinstance(block, Figure):
            out += [block.caption, block.alt, str(block.svg)]
        elif isinstance(block, Gallery):
            out += [f.caption for f in block.figures]
        elif isinstance(block, Callout):
            out += [block.title, block.text]
        else:
            out.append(str(block))
    return "\n".join(out)


class Page(HTMLParser):
    """Balance of tags, identifiers, references and text alternatives of a page."""

    VOID = frozenset({"meta", "img", "wbr", "rect", "polyline", "polygon"})

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.ids: list[str] = []
        self.refs: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        found = dict(attrs)
        self.tags.append((tag, found))
        self.ids += [str(found["id"])] if "id" in found else []
        self.refs += [str(found[key]) for key in ("href", "src", "data", "action") if key in found]
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def test_page_is_whole_and_has_nothing_outside_it(tree: tuple[Path, dict[str, Any]]) -> None:
    text = page_of(*tree)
    page = Page(text)
    assert page.open == []
    assert len(page.ids) == len(set(page.ids))
    assert all(ref.startswith(("data:image/", "#")) for ref in page.refs)
    assert {ref[1:] for ref in page.refs if ref.startswith("#")} <= set(page.ids)
    assert "script" not in {tag for tag, _ in page.tags}
    assert "@import" not in text
    assert "url(" not in text
    for tag, found in page.tags:
        if tag == "img":
            assert found["alt"]
        if tag == "svg":
            assert found["role"] == "img"
            assert found["aria-label"]
    assert len(text) < 8e6


def test_same_tables_same_bytes_wherever_they_lie(
    tree: tuple[Path, dict[str, Any]], own: tuple[Path, dict[str, Any]]
) -> None:
    first = page_of(*tree)
    assert first == page_of(*own)
    assert str(tree[0]) not in first
    assert "/tmp" not in first


def test_command_writes_page_and_tables(own: tuple[Path, dict[str, Any]], tmp_path: Path) -> None:
    root, settings = own
    out = root / "report" / "report.html"
    given = tmp_path / "settings.json"
    given.write_text(json.dumps(settings), encoding="utf-8")
    arguments = ["report", "--results", str(root), "--settings", str(given), "--out", str(out)]
    assert main(arguments) == 0
    before = {p.name: p.read_bytes() for p in sorted(out.parent.rglob("*")) if p.is_file()}
    assert {"report.html", "baseline.tsv", "performance_response.tsv", "comparisons.tsv", "cox.tsv"} <= set(before)
    (out.parent / "tables" / "old.tsv").write_text("x\n", encoding="utf-8")
    assert main(arguments) == 0
    assert before == {p.name: p.read_bytes() for p in sorted(out.parent.rglob("*")) if p.is_file()}


def test_absent_folder_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["report", "--results", str(tmp_path / "no"), "--settings", "{}", "--out", str(tmp_path / "r.html")]
    assert main(arguments) == 2
    assert capsys.readouterr().err.count("\n") == 1


def test_settings_without_a_needed_section_are_refused(tree: tuple[Path, dict[str, Any]]) -> None:
    settings = {k: v for k, v in tree[1].items() if k != "primary"}
    with pytest.raises(ConfigError, match="section 'primary' is missing"):
        build_report(tree[0], settings)


def test_every_table_names_its_source_and_reads_back(tree: tuple[Path, dict[str, Any]], tmp_path: Path) -> None:
    sections = build_report(*tree)
    write_report(sections, tree[1], tmp_path / "report.html")
    tables = [block for part in sections for block in part.blocks if isinstance(block, Table)]
    assert len({t.name for t in tables}) == len(tables) > 12
    for table in tables:
        assert table.sources
        read = read_table(tmp_path / "tables" / f"{table.name}.tsv")
        assert len(read) == sum(not row.heading for row in table.rows)


# --- the headline ---------------------------------------------------------------------------------------------------


def _primary(root: Path, value: float | None, low: float | None, high: float | None, *, turned: bool = False) -> None:
    path = root / "validate/phantom-ext/metrics.tsv"
    table = read_table(path, "metrics")
    row = (table["metric"] == "auc_difference") & (table["model"] == "radiomics") & (table["comparator"] == "clinical")
    table.loc[row, ["value", "ci_low", "ci_high"]] = [value, low, high]
    table.loc[row, "reason"] = "" if value is not None else "the readers went home"
    if turned:
        table.loc[row, ["model", "comparator"]] = ["clinical", "radiomics"]
    write_table(table, path)


@pytest.mark.parametrize(
    ("given", "turned", "said"),
    [
        ((0.12, 0.02, 0.22), False, "was better than Clinical"),
        ((-0.12, -0.22, -0.02), False, "was worse than Clinical"),
        ((0.12, -0.02, 0.26), False, "do not show that Radiomics (LASSO, XGBoost) differs from Clinical"),
        ((0.12, 0.02, 0.22), True, "was worse than Clinical"),
        ((None, None, None), False, "could not be computed: the readers went home"),
    ],
)
def test_primary_result_in_words(own: tuple[Path, dict[str, Any]], given: Any, turned: bool, said: str) -> None:
    _primary(own[0], *given, turned=turned)
    text = words(section(*own, "headline"))
    assert said in text
    assert "0.79 (95% CI 0.65 to 0.92)" in text
    if turned:
        assert "−0.12 (95% CI −0.22 to −0.02)" in text


def test_headline_is_stamped_as_validate_says(own: tuple[Path, dict[str, Any]]) -> None:
    found = section(*own, "headline")
    assert list(found.labels) == ["prespecified", "underpowered"]
    assert "9 events and 12 non-events, fewer than 100 of each" in words(found)
    assert "about 1,321 subjects" in words(found)
    path = own[0] / "validate/phantom-ext/metrics.tsv"
    table = read_table(path, "metrics")
    table.loc[table["metric"] == "auc_ci_width", "reason"] = ""
    write_table(table, path)
    assert list(section(*own, "headline").labels) == ["prespecified"]


def test_only_the_primary_comparison_is_not_exploratory(tree: tuple[Path, dict[str, Any]]) -> None:
    table = section(*tree, "comparisons").blocks[0]
    assert isinstance(table, Table)
    status = [row.cells[-1].text for row in table.rows if not row.heading]
    assert sorted(status) == ["exploratory"] * 5 + ["primary"]
    primary = next(row for row in table.rows if row.cells[-1].text == "primary")
    assert [cell.text for cell in primary.cells[3:6]] == ["0.09 (−0.05 to 0.23)", "0.21", "0.42"]


# --- subjects -------------------------------------------------------------------------------------------------------


def test_flow_draws_what_the_tables_say(tree: tuple[Path, dict[str, Any]]) -> None:
    figure = section(*tree, "flow").blocks[0]
    assert isinstance(figure, Figure)
    drawn = re.findall(r">([^<>]*)</text>", str(figure.svg))
    for text in ("40", "24", "20", "37", "21", "17", "Conversion failed", "training: 37", "validation only: 21"):
        assert text in drawn
    assert "Phantom external: 24 participants; 1 left at: BCLC stage A or B; 1 left at: Conversion failed" in figure.alt
    assert drawn.count("1") == 9
    assert drawn.count("0") == 6
    assert "12 subjects shared with Phantom development" in " ".join(drawn)


def test_flow_that_contradicts_the_manifest_is_refused(own: tuple[Path, dict[str, Any]]) -> None:
    path = own[0] / "enrol/phantom-ext/manifest.tsv"
    table = read_table(path)
    table.loc[0, ["status", "reason"]] = ["excluded", "Response assessable"]
    write_table(table, path)
    with pytest.raises(TableError, match="disagree"):
        build_report(*own)


def test_everyone_who_left_is_listed(tree: tuple[Path, dict[str, Any]]) -> None:
    text = words(section(*tree, "failures"))
    for subject in ("D039", "D038", "D037", "E023", "E022", "E021", "F007", "F006", "F005"):
        assert subject in text
    assert "slices missing; where: arterial" in text


def test_baseline_numbers(tree: tuple[Path, dict[str, Any]]) -> None:
    table = section(*tree, "baseline").blocks[0]
    assert isinstance(table, Table)
    cells = {row.cells[0].text: [c.text for c in row.cells[1:]] for row in table.rows}
    people = {c: read_table(tree[0] / f"enrol/{c}/subjects.tsv") for c in report_tree.SIZES}
    dev, ext = people["phantom-dev"], people["phantom-ext"]
    assert cells["Subjects, n"][:3] == ["37", "21", "17"]
    assert cells["Largest diameter, mm; mean (SD)"][0] == f"{dev.diameter_mm.mean():.1f} ({dev.diameter_mm.std():.1f})"
    assert cells["Alpha-fetoprotein, ng/ml; median [quartiles]"][1].startswith(f"{ext.afp_ng_ml.median():.1f} [")
    spread = math.sqrt((dev.diameter_mm.var() + ext.diameter_mm.var()) / 2)
    assert cells["Largest diameter, mm; mean (SD)"][3] == number(
        (ext.diameter_mm.mean() - dev.diameter_mm.mean()) / spread
    )
    women = int((dev.sex == "F").sum())
    assert cells["F"][0] == f"{women} ({100 * women / 37:.0f}%)"
    assert cells["missing, n (%)"][0] == "1 (3%)"


# --- parts that a study may not have --------------------------------------------------------------------------------


def test_study_without_images_survival_truth_or_external_cohort(own: tuple[Path, dict[str, Any]]) -> None:
    root, settings = own
    for name in ("phantom-ext", "phantom-fup"):
        for stage in ("enrol", "convert", "validate", "survive"):
            shutil.rmtree(root / stage / name)
    shutil.rmtree(root / "survive")
    shutil.rmtree(root / "convert")
    shutil.rmtree(root / "validate/phantom-dev/figures")
    (root / "enrol/phantom-dev/agreement.tsv").unlink()
    settings["cohorts"] = {"phantom-dev": settings["cohorts"]["phantom-dev"]}
    settings["endpoints"] = {"response": settings["endpoints"]["response"]}
    settings["primary"] = {**settings["primary"], "cohort": "phantom-dev", "comparator": None}
    for name in ("imaging", "truth", "survive", "cards"):
        settings.pop(name)
    parts = {part.key: part for part in build_report(root, settings)}
    for key, said in {
        "images": "imports features as tables", "survival": "declares no survival endpoint", "truth": "not a phantom",
        "endpoints": "read by more than one reader", "performance": "drew no curves", "leakage": "No external cohort",
        "limitations": "nothing on this page says how the models do elsewhere",
    }.items():  # fmt: skip
        assert said in words(parts[key])
    assert "The interval lies above 0.5" in words(parts["headline"])
    assert Page(render(list(parts.values()), settings)).open == []


def test_nothing_but_enrolment_still_makes_a_page(own: tuple[Path, dict[str, Any]]) -> None:
    root, settings = own
    for stage in ("convert", "train", "validate", "survive"):
        shutil.rmtree(root / stage)
    text = page_of(root, settings)
    assert "The primary result could not be computed" in text
    assert "validate has not run for any cohort" in text
    assert "No fits.tsv was found" in text


def test_limits_count_events_per_candidate(tree: tuple[Path, dict[str, Any]]) -> None:
    text = words(section(*tree, "limitations"))
    assert "Radiomics (LASSO, XGBoost) had 30 candidate predictors for 17 events" in text
    assert "(0.6 per candidate" in text
    assert "A limit <b>with</b> markup" in text


def test_the_size_that_a_model_needs_stands_beside_the_one_it_had(own: tuple[Path, dict[str, Any]]) -> None:
    own[1]["models"]["size"]["kind"] = "network"
    own[1]["models"]["size"]["network"] = {"crop": "tumour", "architecture": "resnet", "seeds": 1}
    table = next(b for b in section(*own, "models").blocks if isinstance(b, Table) and b.name == "models")
    place = table.columns.index("Needed, n")
    assert [row.cells[place - 1].text for row in table.rows] == ["37 / 17"] * 3
    share = 17 / 37
    r2 = 0.15 * (1 - (share**share * (1 - share) ** (1 - share)) ** 2)
    sizes = {k: math.ceil(k / (-0.1 * math.log(1 - r2 / 0.9))) for k in (4, 30)}  # shrinkage decides with this many
    assert [row.cells[place].text for row in table.rows] == ["–", *(f"{max(n, 382):,}" for n in sizes.values())]
    assert "only the candidate predictors of a table" in table.rows[0].cells[place].note


@pytest.mark.parametrize("kind", ["network", "fusion", "choice"])
def test_images_scores_and_models_are_no_candidate_predictors(own: tuple[Path, dict[str, Any]], kind: str) -> None:
    own[1]["models"]["radiomics"]["kind"] = kind
    assert "Radiomics (LASSO, XGBoost) had" not in words(section(*own, "limitations"))


@pytest.mark.parametrize(
    ("said", "shown", "limit"),
    [
        (True, "predictors: yes", ""),
        (False, "predictors: no", "Those who read this label knew predictors of the models: Objective response"),
        (None, "predictors: not stated", "It is not stated whether those who read this label were blinded"),
        (..., "predictors: not stated", "It is not stated whether those who read this label were blinded"),
    ],
)
def test_blinding_of_the_readers_is_printed_and_its_absence_is_a_limit(
    own: tuple[Path, dict[str, Any]], said: Any, shown: str, limit: str
) -> None:
    response = own[1]["endpoints"]["response"]
    assert response.pop("readers_blinded") is True, "the phantom's readers measure diameters alone"
    response |= {} if said is ... else {"readers_blinded": said}
    assert shown in words(section(*own, "endpoints"))
    limits = words(section(*own, "limitations"))
    assert limit in limits
    assert bool(limit) == ("read this label" in limits)
    own[1]["endpoints"]["response"] = {**response, "source": "horizon"}
    assert "blinded" not in words(section(*own, "endpoints")) + words(section(*own, "limitations"))


def test_endpoints_count_subjects_and_not_their_sessions(own: tuple[Path, dict[str, Any]]) -> None:
    def rows() -> list[list[list[str]]]:
        tables = [b for b in section(*own, "endpoints").blocks if isinstance(b, Table)]
        return [[[c.text for c in row.cells] for row in table.rows] for table in tables]

    assert "not their sessions" not in words(section(*own, "endpoints"))
    before = rows()
    for cohort in report_tree.SIZES:
        path = own[0] / f"enrol/{cohort}/subjects.tsv"
        table = read_table(path)
        again = table.assign(session="w1", response=0)  # a subject is positive if any of its sessions is
        write_table(pd.concat([table.assign(session="w0"), again]), path, sort_by=["subject", "session"])
    assert rows() == before
    assert words(section(*own, "endpoints")).count("not their sessions") == 2


def test_null_study_says_so(own: tuple[Path, dict[str, Any]]) -> None:
    own[1]["null_seed"] = 5
    assert "Outcomes were permuted" in words(section(*own, "flow"))


# --- undefined, escaped, traced -------------------------------------------------------------------------------------


def test_undefined_is_a_dash_with_its_reason(tree: tuple[Path, dict[str, Any]]) -> None:
    found = {b.name: b for b in section(*tree, "performance").blocks if isinstance(b, Table)}
    table = found["calibration_response"]
    row = next(row for row in table.rows if row.cells[0].text == "Tumour size only")
    slope = row.cells[list(table.columns).index("Slope")]
    assert slope == Cell("–", "the scores separate the classes")
    assert table.notes[table.notes.index(slope.note)] == slope.note
    written = table.frame()
    line = written[written["Model"] == "Tumour size only"].iloc[0]
    assert line["Slope"] == ""
    assert "the scores separate the classes" in line["notes"]
    assert 'title="the scores separate the classes"' in page_of(*tree)


def test_odds_ratios_stand_alone_and_together(tree: tuple[Path, dict[str, Any]]) -> None:
    table = next(b for b in section(*tree, "models").blocks if isinstance(b, Table) and b.name == "odds_ratios")
    head, *rows = [[cell.text for cell in row.cells] for row in table.rows]
    assert head == [
        "Clinical, for Objective response (mRECIST, majority of three readers); together 36 subjects, 16 events; "
        "Firth's penalised likelihood (16 events for 2 coefficients)"
    ]
    assert rows == [
        ["Age, years", "36 / 16", "1.03 (0.69 to 1.54)", "0.040", "1.03 (0.69 to 1.54)", "0.040", "1.1"],
        ["Child-Pugh class: A", "30 / 12", "reference", "", "reference", "", ""],
        ["Child-Pugh class: B", "7 / 5", "2.40 (1.60 to 3.60)", "0.040", "2.40 (1.60 to 3.60)", "0.040", "1.1"],
    ]
    assert table.sources == ["train/clinical/odds_ratios.tsv"]


def test_the_two_by_two_table_stands_beside_the_rates(tree: tuple[Path, dict[str, Any]]) -> None:
    found = {b.name: b for b in section(*tree, "performance").blocks if isinstance(b, Table)}
    table = found["performance_response"].frame().set_index(["group", "Model"])["TP / FP / FN / TN"]
    assert table.xs("Clinical", level="Model").tolist() == ["6 / 3 / 3 / 9"] * 3
    assert table.xs("Tumour size only", level="Model").tolist() == [""] * 3, "and the reason in the notes"


def test_text_of_the_study_is_escaped(own: tuple[Path, dict[str, Any]]) -> None:
    root, settings = own
    settings["title"] = "<script>alert(1)</script>"
    settings["models"]["size"]["label"] = "A & B <i>"
    settings["eligibility"][0]["name"] = 'x" onload="y'
    for cohort in report_tree.SIZES:
        for name in ("flow", "manifest"):
            path = root / f"enrol/{cohort}/{name}.tsv"
            path.write_text(
                path.read_text(encoding="utf-8").replace("BCLC stage A or B", "x' onload='<y>"), encoding="utf-8"
            )
    page = Page(page_of(root, settings))
    assert {tag for tag, _ in page.tags} & {"script", "i", "y"} == set()
    assert not any("onload" in found for _, found in page.tags)


def test_every_file_read_is_listed_with_its_digest(tree: tuple[Path, dict[str, Any]]) -> None:
    text = words(build_report(*tree)[-1])
    for name in ("enrol/phantom-ext/flow.tsv", "validate/phantom-ext/metrics.tsv", "train/radiomics/freeze.json"):
        assert name in text
    assert "numpy" in text


# --- who taught -----------------------------------------------------------------------------------------------------


def test_fits_are_held_against_the_split(own: tuple[Path, dict[str, Any]]) -> None:
    def verdicts() -> dict[tuple[int, str], str]:
        table = section(*own, "leakage").blocks[0]
        assert isinstance(table, Table)
        return {(i, row.cells[0].text): row.cells[-1].text for i, row in enumerate(table.rows) if not row.heading}

    found = [text for text in verdicts().values() if text != "–"]
    assert len(found) == 7
    assert set(found) == {"6 of 6"}
    path = own[0] / "train/size/fits.tsv"
    table = read_table(path)
    table.loc[0, "subjects_digest"] = subjects_digest(["E001", "D001"])
    write_table(table, path)
    assert "5 of 6" in verdicts().values()
    assert "not the subjects that its fold may teach with" in words(section(*own, "leakage"))
    subjects = pd.concat([read_table(path) for path in sorted(own[0].glob("enrol/*/subjects.tsv"))])
    split = read_table(own[0] / "enrol/split.tsv", "split")
    manifest = read_table(own[0] / "train/size/manifest.tsv")
    ok = manifest.loc[manifest["status"] == "ok", ["cohort", "subject"]]
    left = subjects.merge(ok, on=["cohort", "subject"])
    one = left.loc[left["cohort"] == "phantom-dev", "subject"].iloc[0]
    path = own[0] / "enrol/phantom-dev/subjects.tsv"
    enrolled = read_table(path)
    enrolled.loc[enrolled["subject"] == one, "response"] = None
    write_table(enrolled, path)
    keys = set(ok["cohort"] + "/" + ok["subject"]) - {f"phantom-dev/{one}"}
    table["step"], table["subjects_digest"] = "network.0.level.response", [
        training_sets(split, keys)[None if pd.isna(fold) else (int(repeat), int(fold))]
        for repeat, fold in table[["repeat", "fold"]].itertuples(index=False)
    ]  # fmt: skip
    write_table(table, own[0] / "train/size/fits.tsv")
    told = section(*own, "leakage").blocks[0]
    assert isinstance(told, Table)
    level = next(row for row in told.rows if row.cells[0].text == "network.0.level.response")
    assert level.cells[-1].text == f"{len(table)} of {len(table)}", "those who know the label, and nobody else"


def test_looks_are_printed_and_their_absence_is_a_warning(own: tuple[Path, dict[str, Any]]) -> None:
    assert "Phantom external: 3; Phantom follow-up: 3" in words(section(*own, "leakage"))
    for path in own[0].glob("validate/*/*.looks.tsv"):
        path.unlink()
    assert "no look is on record" in words(section(*own, "leakage"))


def test_primary_by_concordance_is_stamped_by_events(tree: tuple[Path, dict[str, Any]]) -> None:
    settings = copy.deepcopy(tree[1])
    settings["primary"] = {
        "endpoint": "os",
        "model": "radiomics",
        "comparator": None,
        "cohort": "phantom-ext",
        "metric": "c_harrell",
    }
    results = Results(tree[0], settings)
    found = headline.build(results)
    assert "11 events, fewer than 100" in words(found)
    assert "Harrell" in words(found)


def test_figure_names_become_words(tree: tuple[Path, dict[str, Any]]) -> None:
    figures = performance.stage_figures(Results(*tree), "survive", "phantom-ext", ("km",))
    assert figures[0].caption.startswith("Phantom external, Overall survival, Radiomics (LASSO, XGBoost): Kaplan-Meier")


def test_cox_models_stand_side_by_side(own: tuple[Path, dict[str, Any]]) -> None:
    part = section(*own, "survival")
    table = next(b for b in part.blocks if isinstance(b, Table) and b.name == "cox")
    first = list(table.rows[1:6])
    assert [row.cells[0].text for row in first] == [
        "Score", "Score, per SD", "Child-Pugh class: B", "Alpha-fetoprotein, ng/ml",
        "Score added to clinical: likelihood ratio, χ²",
    ]  # fmt: skip
    head = [column for column in table.columns if "HR" in column]
    assert [column.split(":")[0] for column in head] == ["Univariable", "Clinical only", "Score and clinical"]
    assert [cell.text for cell in first[0].cells[4:6]] == ["", ""], "no score in the clinical model"
    assert first[2].cells[4].text == first[2].cells[6].text == "1.40 (0.74 to 2.66)"
    assert [cell.text for cell in first[4].cells[-3:]] == ["3.20", "0.072", ""]
    assert table.columns[-1] == "VIF" and [row.cells[-1].text for row in first[1:4]] == ["1.2", "1.0", "1.3"]
    hazards = next(b for b in part.blocks if isinstance(b, Table) and b.name == "proportional_hazards")
    assert sum(row.cells[0].text == "Score" for row in hazards.rows) == 12, "one transform of time, one model"
    shown = [
        f.caption for b in part.blocks if isinstance(b, Gallery) for f in b.figures if "natural spline" in f.caption
    ]
    assert len(shown) == 2 and all(text.startswith("Phantom external") for text in shown)


def test_failed_conversions_have_their_place_even_where_the_first_cohort_has_none(
    own: tuple[Path, dict[str, Any]],
) -> None:
    root = own[0] / "enrol" / "phantom-dev"
    manifest, flow = read_table(root / "manifest.tsv"), read_table(root / "flow.tsv")
    failed = manifest["status"] == "failed"
    manifest.loc[failed, ["status", "reason"]] = ["excluded", flow["rule"][3]]
    write_table(manifest, root / "manifest.tsv")
    drawing = words(section(*own, "flow"))
    rules = [rule["name"] for rule in own[1]["eligibility"]]
    assert drawing.rindex("Conversion failed") < drawing.rindex(rules[3])


def test_means_over_external_cohorts_are_shown(own: tuple[Path, dict[str, Any]]) -> None:
    root, settings = own
    assert not [b for b in section(root, settings, "performance").blocks if isinstance(b, Table) and b.name == "pooled"]
    where = {"endpoint": "response", "model": "radiomics", "group": "cohorts"}
    rows = [
        Estimate(0.71, 0.6, 0.8, "REML", n=99).row("auc_pooled", **where),
        undefined("a prediction interval needs three units").row("auc_prediction", **where),
        Estimate(0.4, p=0.2).row("auc_heterogeneity", **where),
    ]
    write_table(metrics_table(rows), root / "validate/pooled.tsv")
    write_text(root / "validate/pooled.svg", report_tree.FIGURE)
    found = section(root, settings, "performance")
    table = next(b for b in found.blocks if isinstance(b, Table) and b.name == "pooled")
    assert [c.text for c in table.rows[1].cells] == ["AUC", "0.71 (0.60 to 0.80)", "–", "40"]
    assert "three units" in table.rows[1].cells[2].note
    assert any(isinstance(b, Figure) and "validate/pooled.svg" in b.sources for b in found.blocks)


def test_digests_versions_and_a_model_of_other_code_are_told(own: tuple[Path, dict[str, Any]]) -> None:
    root, settings = own
    path = root / "train/radiomics/freeze.json"
    freeze = json.loads(path.read_text()) | {"kind": "tabular", "code_digest": "0" * 16, "digest": "9a" * 32}
    write_text(path, json.dumps(freeze))
    settings |= {"digests": {"requirements.lock": "4e" * 32}, "versions": {"python": "3.11.7", "numpy": "2.4.7"}}
    told = words(section(root, settings, "reproducibility"))
    for text in ("4e4e4e4e4e4e", "9a9a9a9a9a9a", "3.11.7", "2.4.6, 2.4.7"):
        assert text in told
    assert f"made by other code than the present ({'0' * 16}" in words(section(root, settings, "leakage"))


def test_kinds_of_scores_stand_below_their_cohort_and_beside_holm(tree: tuple[Path, dict[str, Any]]) -> None:
    blocks = section(*tree, "survival").blocks
    table = next(b for b in blocks if isinstance(b, Table) and b.name == "survival")
    assert list(table.columns[3:5]) == ["Log-rank p", "p, Holm"]
    heads = [k for k, row in enumerate(table.rows) if row.heading and "follow-up" in row.cells[0].text]
    rows = table.rows[heads[0] + 1 : heads[0] + 4]
    assert [row.indent for row in rows] == [False, True, True]
    assert [row.cells[1].text for row in rows] == ["17 / 11", "9", "9"]
    assert [row.cells[3].text for row in rows] == ["0.040", "0.25", "0.25"]
    assert [row.cells[4].text for row in rows] == ["0.081", "0.50", "0.50"]
    assert [row.cells[5].text[:4] for row in rows] == ["0.63", "0.66", "0.59"]
    assert "out of fold" in rows[1].cells[0].text and "did not teach" in rows[2].cells[0].text
    told = [row for b in blocks if isinstance(b, Table) for row in b.rows if "kind" in row.cells[0].text.lower()]
    assert not told, "a kind of score is no covariate"


def test_a_primary_comparison_that_was_changed_after_a_look_is_exploratory(own: tuple[Path, dict[str, Any]]) -> None:
    root, settings = own
    primary = settings["primary"]
    assert "prespecified" in section(root, settings, "headline").labels, "an old study has no such table"
    path = root / f"validate/{primary['cohort']}/primary.tsv"
    now, other = primary_words(primary), primary_words({**primary, "model": "size"})
    write_table(pd.DataFrame([[primary["cohort"], text] for text in (now, other)], columns=PRIMARY), path)
    same = section(root, settings, "headline")
    assert "prespecified" in same.labels and "another primary comparison" not in words(same)
    write_table(pd.DataFrame([[primary["cohort"], text] for text in (other, now)], columns=PRIMARY), path)
    changed = section(root, settings, "headline")
    assert "exploratory" in changed.labels and "prespecified" not in changed.labels
    assert f"first judged under another primary comparison ({other};" in words(changed)
    assert "named in the configuration before any model was frozen" not in words(changed)
    status = words(section(root, settings, "comparisons"))
    write_table(pd.DataFrame([[primary["cohort"], now]], columns=PRIMARY), path)
    assert status != words(section(root, settings, "comparisons")), "no comparison is primary any more"
    development = next(name for name, one in settings["cohorts"].items() if one["role"] == "development")
    moved = {**settings, "primary": {**primary, "cohort": development}}
    assert "exploratory" in section(root, moved, "headline").labels, "named for development after a look elsewhere"


def test_complete_cases_stand_among_the_subgroups_without_a_test(own: tuple[Path, dict[str, Any]]) -> None:
    root, settings = own
    path = root / "validate/phantom-ext/metrics.tsv"
    where = {"cohort": "phantom-ext", "endpoint": "response", "model": settings["primary"]["model"]}
    settings["primary"]["cohort"] = "phantom-ext"
    row = Estimate(0.72, 0.6, 0.8, "DeLong", n=17, n_events=7).row(
        "auc", group="complete=yes", study="phantom", **where
    )
    write_table(pd.concat([read_table(path, "metrics"), metrics_table([row])], ignore_index=True), path)
    picture, table = section(root, settings, "subgroups").blocks
    assert isinstance(table, Table) and isinstance(picture, Figure)
    shown = next(r for r in table.rows if r.cells[0].text == "All clinical predictors known: yes")
    assert [c.text for c in shown.cells[1:]] == ["17 / 7", "0.72 (0.60 to 0.80)", ""]
    assert "yes (n = 17) 0.72 (0.60 to 0.80)" in picture.alt


def test_a_hazard_ratio_that_changes_has_its_table(own: tuple[Path, dict[str, Any]]) -> None:
    root, settings = own
    path = root / "survive/phantom-ext/metrics.tsv"
    where = {"cohort": "phantom-ext", "endpoint": "os", "model": "radiomics", "group": "score"}
    where |= {"study": "phantom", "comparator": "univariable"}
    rows = [
        Estimate(2.0, 1.2, 3.3, "wald").row("cox_hr_before", at=400, **where),
        undefined("no events in this period").row("cox_hr_after", at=400, **where),
        Estimate(1.5, 0.9, 2.5, "wald").row("cox_hr_t", at=365, **where),
        Estimate(-0.7, -1.2, -0.2, "wald", p=0.012).row("cox_log_time_coef", **where),
    ]
    table = pd.concat([read_table(path, "metrics"), metrics_table(rows)], ignore_index=True)
    write_table(table, path)
    blocks = section(root, settings, "survival").blocks
    found = next(b for b in blocks if isinstance(b, Table) and b.name == "time_varying")
    assert [c.text for c in found.rows[0].cells[1:]] == [
        "400",
        "2.00 (1.20 to 3.30)",
        "–",
        "1.50 (0.90 to 2.50)",
        "0.012",
    ]
