"""Figures of validate and survive, measured: nothing lies on a curve, numbers at risk stand under their ticks."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from hccflow.figures import nomogram, survive, validate
from hccflow.figures.style import LOOKS, house_style
from hccflow.report.page import breakable
from hccflow.report.sections.images import is_wide
from hccflow.survive import Settings, analyse
from hccflow.validate import Options
from hccflow.validate import validate as judge


def follow_up(n: int = 30, *, entry: bool = False) -> pd.DataFrame:
    rng = np.random.default_rng(5)
    table = pd.DataFrame(
        {"model": "m", "cohort": "ext", "endpoint": "os", "kind": "frozen", "risk": rng.normal(size=n)}
    )
    table["subject"] = [f"P{k:03d}" for k in range(n)]
    table["time_days"] = np.ceil(rng.exponential(400 * np.exp(-table["risk"]))) + 20
    table["event"] = rng.choice([0, 1, 2], n)
    return table.assign(entry_days=(table["time_days"] * rng.uniform(0, 0.9, n)).round()) if entry else table


@pytest.fixture
def drawn(monkeypatch: pytest.MonkeyPatch) -> dict[str, Figure]:
    """Figures by name, laid out, instead of their files."""
    figures: dict[str, Figure] = {}

    def keep(figure: Figure, path: Path) -> None:
        figure.canvas.draw()
        figures[path.name] = figure

    for module in (survive, validate):
        monkeypatch.setattr(module, "save_figure", keep)
    return figures


@pytest.mark.parametrize("entry", [False, True])
def test_numbers_at_risk_stand_under_their_ticks(drawn: dict[str, Figure], tmp_path: Path, entry: bool) -> None:
    table = follow_up(entry=entry)
    result = analyse(table, Settings(cut={"m": 0.0}))
    survive.draw_all(result.metrics, result.curves, 0.95, tmp_path, {})
    kinds = ["km_os_ext_m"] if entry else ["km_os_ext_m", "cif_os_ext_m"]
    start = table["entry_days"] if entry else pd.Series(-1.0, table.index)
    for name in kinds:
        axes = drawn[name].axes
        half = len(axes) // 2
        for panel, below in zip(axes[:half], axes[half:], strict=True):
            ticks = panel.get_xticks()[1:]
            for group, row in (("low", 0.5), ("high", 1.5)):
                mine = (table["risk"] >= 0) == (group == "high")
                texts = {
                    t.get_position()[0]: t for t in below.texts if t.get_position()[1] == row and t.get_ha() == "center"
                }
                for tick in ticks:
                    expected = int((mine & (start < tick) & (table["time_days"] >= tick)).sum())
                    assert int(texts[tick].get_text()) == expected, (name, group, tick)
                    middle = texts[tick].get_window_extent()
                    at = panel.transData.transform((tick, 0))[0]
                    assert abs((middle.x0 + middle.x1) / 2 - at) < 1.5, "not under its tick"


def test_a_legend_lies_on_no_axes(drawn: dict[str, Figure], tmp_path: Path) -> None:
    result = analyse(follow_up(60), Settings(cut={"m": 0.0}))
    survive.draw_all(result.metrics, result.curves, 0.95, tmp_path, {})
    assert {name.split("_")[0] for name in drawn} >= {"km", "cif", "spline"}
    for name, figure in drawn.items():
        for legend in figure.legends:
            box = legend.get_window_extent()
            for axes in figure.axes:
                # Of the numbers at risk what is written, not the empty rim below it.
                drawn_there = axes.texts if not axes.axison else [axes]
                assert not any(box.overlaps(part.get_window_extent()) for part in drawn_there), name
        assert all(axes.get_legend() is None for axes in figure.axes), name


@pytest.mark.parametrize("models", [1, 6])
def test_nothing_is_cut_off_however_many_models_and_however_long_their_names(
    models: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    laid_out: dict[str, Figure] = {}
    for module in (survive, validate):
        original = module.save_figure

        def keep(figure: Figure, path: Path, original: Callable[[Figure, Path], None] = original) -> None:
            original(figure, path)  # as the files are laid out
            laid_out[path.name] = figure

        monkeypatch.setattr(module, "save_figure", keep)
    names = {f"m{k}": f"Model {k}, radiomics and a deep network on masks of nnU-Net" for k in range(models)}
    table = pd.concat([follow_up(60).assign(model=name) for name in names])
    labels = {
        "os": "Overall survival since the first treatment",
        "ext": "University hospital of a long name, phase two",
    }
    result = analyse(table, Settings(cut=dict.fromkeys(names, 0.0)))
    survive.draw_all(result.metrics, result.curves, 0.95, tmp_path, {**labels, **names})
    scores = table.assign(y_true=(table["event"] == 1).astype(float), y_prob=table["risk"].rank() / len(table))
    judged = judge(scores.assign(endpoint="response of every lesion", cohort=labels["ext"]), {}, [], Options(draws=20))
    validate.draw_all(judged.metrics, judged.curves, tmp_path, names, {})
    assert {name.split("_")[0] for name in laid_out} >= {"km", "cif", "spline", "roc", "pr", "decision", "calibration"}
    with house_style():  # sizes of fonts are relative to it
        for name, figure in laid_out.items():
            figure.dpi = 200  # as in the PNG
            FigureCanvasAgg(figure).draw()
            words = [*figure.texts, *figure.legends]
            words += [part for axes in figure.axes for part in (axes.title, axes.xaxis.label)]
            for part in words:
                box = part.get_window_extent()
                assert box.height < 1 or (box.y0 >= -1 and box.y1 <= figure.bbox.y1 + 1), (name, part)


def test_one_labelled_level_of_events_also_where_models_scored_other_rows(
    drawn: dict[str, Figure], tmp_path: Path
) -> None:
    rng = np.random.default_rng(1)
    y = rng.integers(0, 2, 40)
    rows = pd.concat(
        pd.DataFrame(
            {
                "model": m, "cohort": "ext", "subject": [f"P{k}" for k in range(40)], "kind": "frozen", "y_true": y,
                "y_prob": rng.random(40),
            }
        )[skip:]
        for m, skip in (("a", 0), ("b", 9), ("c", 17))
    )  # fmt: skip
    results = judge(rows, {}, [], Options(draws=20))
    validate.draw_all(results.metrics, results.curves, tmp_path, {}, {})
    (axes,) = drawn["pr"].axes
    named = [label for label in axes.get_legend_handles_labels()[1] if label.startswith("Share of events")]
    shares = [y[skip:].mean() for skip in (0, 9, 17)]
    assert named == [f"Share of events (guessing): {min(shares):.2f} to {max(shares):.2f}"]
    assert len(axes.lines) == 3, "a line for each model and none for its share of events"


def test_one_time_is_no_curve(drawn: dict[str, Figure], tmp_path: Path) -> None:
    table = follow_up(12).assign(event=0)
    table.loc[table["time_days"].idxmin(), "event"] = 1
    result = analyse(
        table.rename(columns={"risk": "y_prob"}).assign(y_prob=lambda t: t["y_prob"].rank() / 13), Settings()
    )
    assert len(result.curves["auc_t"]) == 1
    survive.draw_all(result.metrics, result.curves, 0.95, tmp_path, {})
    assert not [name for name in drawn if name.startswith(("auc_t", "brier_t"))]


def test_every_level_of_a_nomogram_is_named(tmp_path: Path) -> None:
    levels = [("stage", label, points) for label, points in (("A", 0.0), ("B", 1.0), ("C", 100.0))]
    table = pd.DataFrame(levels, columns=["name", "label", "points"]).assign(
        part="points", note="", time_days=1.0, risk=0.5
    )
    nomogram.draw(table, tmp_path / "n", "", {})
    text = (tmp_path / "n.svg").read_text()
    assert all(f">{label}</text>" in text for label in "ABC")


def test_a_figure_for_two_columns_gets_a_row_of_the_page(tmp_path: Path) -> None:
    for width, wide in ((240, False), (493, True)):
        (tmp_path / "f.svg").write_text(f'<?xml?><svg xmlns:x="y" width="{width}pt" height="480pt" viewBox="0 0 1 1">')
        assert is_wide(tmp_path / "f.svg") is wide


def test_a_cell_is_broken_before_its_interval_only() -> None:
    assert breakable("0.71 (0.65 to 0.77) <b>") == "0.71 <wbr>(0.65 to 0.77) &lt;b&gt;"


def test_fourteen_models_can_be_told_apart() -> None:
    assert len({(look["color"], str(look["linestyle"])) for look in LOOKS}) == len(LOOKS) == 14
