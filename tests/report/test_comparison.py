"""Runs side by side: who may be averaged with whom, and the figures that come out."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy.stats import ttest_rel
from support.in_process import genifer

from genifer.evaluation.comparison import groups_of, read_run
from genifer.report.averages import averages_figure
from genifer.report.comparison import comparison_figure
from genifer.report.style import COLUMN

SEEDS = (0, 1, 2, 3)


def write_run(
    folder: Path,
    right: dict[str, list[int]],
    seeds: tuple[int, ...] = SEEDS,
    classes: str = "abcdef",
    n_test: int = 100,
    class_order: str | None = None,
    settings: dict[str, dict[str, str]] | None = None,
    first: int = 0,
) -> Path:
    """A finished run of two tasks with three classes each.

    Args:
        right: for each method, the right answers after the last task, for each seed, of twice ``n_test``.
        class_order: ``seed`` where it is drawn from the seed.
        settings: for each method, or an empty text for all, the content of settings.csv; by default there is
            no such file, as in runs of earlier versions.
        first: the task after which the first accuracies are measured, 0 or 1.
    """
    folder.mkdir(parents=True)
    accuracy, confusion = [], []
    for method, counts in right.items():
        for seed, count in zip(seeds, counts, strict=True):
            later = ((1, 0, count // 2), (1, 1, count - count // 2))
            for after, task, correct in ((0, 0, n_test), *later) if first == 0 else later:
                accuracy.append([method, seed, after, task, 3, n_test, correct, correct / n_test])
            for label, name in enumerate(classes):
                confusion.append([method, seed, 1, label // 3, label, name, label, n_test // 3])
    names = ["method", "seed", "after_task", "eval_task"]
    order = {} if class_order is None else {"class_order": class_order}
    columns = [*names, "n_classes", "n_test", "n_correct", "accuracy"]
    pd.DataFrame(accuracy, columns=columns).assign(**order).to_csv(folder / "accuracy.csv", index=False)
    pd.DataFrame(confusion, columns=[*names, "label", "class_name", "predicted", "n_images"]).to_csv(
        folder / "confusion.csv", index=False
    )
    if settings is not None:
        rows = [[method, *item] for method, own in settings.items() for item in own.items()]
        columns = ["method", "setting", "setting_value"]
        pd.DataFrame(rows, columns=columns).to_csv(folder / "settings.csv", index=False)
    return folder


OURS, OTHER = [150, 160, 170, 164], [120, 140, 135, 131]


def compared(tmp_path: Path, *runs: Path, reference: str = "genifer") -> pd.DataFrame:
    output = tmp_path / "out"
    assert genifer("compare", *runs, "--reference", reference, "--output", output) == 0
    return pd.read_csv(output / "comparison.csv")


def test_differences_are_those_of_pairs(tmp_path: Path) -> None:
    """The other method comes from another run, and has one seed more."""
    ours = write_run(tmp_path / "ours", {"genifer": OURS})
    other = write_run(tmp_path / "other", {"lwf": [*OTHER, 20]}, (*SEEDS, 9))
    table = compared(tmp_path, ours, other).set_index("method")
    low, high = ttest_rel(np.array(OTHER) / 200, np.array(OURS) / 200).confidence_interval(0.95)
    lwf = table.loc["lwf"]
    assert (lwf["n_seeds"], lwf["n_pairs"]) == (5, 4)
    expected = [np.mean(OTHER) / 200 - np.mean(OURS) / 200, low, high]
    np.testing.assert_allclose(
        lwf[["difference", "difference_low", "difference_high"]].astype(float), expected, atol=1e-5
    )
    assert table.loc["genifer", "average_incremental_accuracy_mean"] == pytest.approx(np.mean(OURS) / 200)
    assert pd.isna(table.loc["genifer", "difference"])


@pytest.mark.parametrize(
    ("changes", "words"),
    [({"classes": "fedcba"}, "classes of other"), ({"n_test": 200}, "400 test images")],
)
def test_other_definitions_stay_apart(tmp_path: Path, changes: dict[str, object], words: str) -> None:
    ours = write_run(tmp_path / "ours", {"genifer": OURS})
    other = write_run(tmp_path / "other", {"genifer": OTHER}, **changes)  # type: ignore[arg-type]
    table = compared(tmp_path, ours, other)
    assert table["scenario"].nunique() == 2
    assert words in table["scenario"].iloc[1]
    assert table["n_seeds"].tolist() == [4, 4]


OF_DATA = {"": {"data.image_size": "32", "evaluation.split": "test"}}


@pytest.mark.parametrize(
    ("name", "value"), [("data.image_size", "64"), ("evaluation.split", "validation")], ids=["size", "split"]
)
def test_other_data_stay_apart(tmp_path: Path, name: str, value: str) -> None:
    """Even if the tables of accuracies agree, because a split has as many images."""
    ours = write_run(tmp_path / "ours", {"genifer": OURS}, settings=OF_DATA)
    other = write_run(
        tmp_path / "other", {"genifer": [100]}, (9,), settings={"": OF_DATA[""] | {name: value}}
    )
    table = compared(tmp_path, ours, other)
    own = f"2 x 3 classes, {name}"
    assert table["scenario"].tolist() == [f"{own} {OF_DATA[''][name]}", f"{own} {value}"]
    assert table["n_seeds"].tolist() == [4, 1]


def test_runs_that_start_later_stay_apart(tmp_path: Path) -> None:
    """Their average with the first task is another one."""
    whole = write_run(tmp_path / "whole", {"genifer": OURS})
    later = write_run(tmp_path / "later", {"genifer": [100]}, (9,), first=1)
    table = compared(tmp_path, whole, later)
    assert table["scenario"].tolist() == ["2 x 3 classes, from task 0 on", "2 x 3 classes, from task 1 on"]


def test_one_label_with_two_settings_is_refused(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """Other seeds would otherwise be averaged."""
    small, large = ({**OF_DATA, "genifer": {"gan.batch_size": size, "gan.ema": "1"}} for size in ("32", "64"))
    first = write_run(tmp_path / "first", {"genifer": OURS, "lwf": OTHER}, settings=small)
    second = write_run(tmp_path / "second", {"genifer": [170], "lwf": [130]}, (9,), settings=large)
    assert genifer("compare", first, second, "--output", tmp_path / "out") == 1
    message = "'genifer' has other settings in second than in first: gan.batch_size is 64 instead of 32. "
    assert message in capfd.readouterr().err
    assert not (tmp_path / "out").exists()
    output = tmp_path / "out"
    assert genifer("compare", first, second, "--apart", "--output", output) == 0
    assert pd.read_csv(output / "comparison.csv")["n_seeds"].tolist() == [4, 4, 1, 1]


@pytest.mark.parametrize(
    "places", [("first", "second"), ("one/run", "two/run")], ids=["other names", "one name"]
)
def test_runs_of_two_machines(tmp_path: Path, places: tuple[str, str]) -> None:
    """Rounding makes results of the same settings and seeds differ; those of the first run count."""
    first = write_run(tmp_path / places[0], {"genifer": OURS, "ncm": OTHER}, settings=OF_DATA)
    moved = [count + 2 for count in OTHER]
    second = write_run(
        tmp_path / places[1], {"ncm": [*moved, 150], "lwf": [*OTHER, 150]}, (*SEEDS, 9), settings=OF_DATA
    )
    for run, minutes in ((first, 1), (second, 3)):
        rows = "".join(f"ncm,{seed},{minutes}\n" for seed in SEEDS)
        (run / "budget.csv").write_text(f"method,seed,minutes\n{rows}")
    table = compared(tmp_path, first, second).set_index("method")
    assert table["n_seeds"].to_dict() == {"genifer": 4, "ncm": 5, "lwf": 5}
    expected = np.mean([*OTHER, 150]) / 200
    assert table.loc["ncm", "average_incremental_accuracy_mean"] == pytest.approx(expected)
    assert table.loc["ncm", "minutes"] == 1
    other = "second" if places[1] == "second" else second
    note = f"ncm: results of the same seeds in {other} differ, with the same settings"
    for name in ("comparison.md", "comparison.tex"):
        assert note in (tmp_path / "out" / name).read_text()


def test_stored_images_and_class_order_are_named(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run", {"genifer": OURS, "exemplars": OTHER}, class_order="1993")
    (run / "summary.csv").write_text("method,old_images\ngenifer,none\nexemplars,exemplars\n")
    table = compared(tmp_path, run).set_index("method")
    assert table["old_images"].to_dict() == {"genifer": "none", "exemplars": "exemplars"}
    assert set(table["class_order"]) == {1993}
    markdown = (tmp_path / "out" / "comparison.md").read_text()
    assert "| exemplars | 4 | exemplars |" in markdown
    assert "Class order: 1993." in markdown
    [axes] = (figure := averages_figure(groups_of([read_run(run)]))).axes
    assert [label.get_text() for label in axes.get_yticklabels()] == ["genifer (4)", "exemplars* (4)"]
    assert figure.get_supxlabel() == "* uses stored images of old tasks"


def test_drawn_orders_are_averaged_with_drawn_orders_only(tmp_path: Path) -> None:
    """Runs of one seed each belong together, although their orders differ; the run with one order stays apart."""
    first = write_run(tmp_path / "first", {"genifer": [150]}, (3,), class_order="seed")
    second = write_run(tmp_path / "second", {"genifer": [170]}, (4,), classes="dcafbe", class_order="seed")
    one = write_run(tmp_path / "one", {"genifer": [100, 110]}, (3, 4))
    table = compared(tmp_path, first, second, one)
    assert table["scenario"].tolist() == [
        "2 x 3 classes, class order drawn from the seed (3, 4)",
        "2 x 3 classes, one class order",
    ]
    assert table["n_seeds"].tolist() == [2, 2]
    assert table["average_incremental_accuracy_mean"].tolist() == pytest.approx([0.8, 0.525])
    assert compared(tmp_path, one)["scenario"].tolist() == ["2 x 3 classes"]


def test_drawn_orders_of_other_classes_stay_apart(tmp_path: Path) -> None:
    first = write_run(tmp_path / "first", {"genifer": [150]}, (3,), class_order="seed")
    second = write_run(tmp_path / "second", {"genifer": [170]}, (4,), classes="uvwxyz", class_order="seed")
    assert compared(tmp_path, first, second)["n_seeds"].tolist() == [1, 1]


def test_the_same_trainings_count_once(tmp_path: Path) -> None:
    first = write_run(tmp_path / "first", {"genifer": OURS, "joint": OTHER})
    second = write_run(tmp_path / "second", {"genifer": OURS, "lwf": OTHER})
    table = compared(tmp_path, first, second)
    assert table["method"].tolist() == ["genifer", "joint", "lwf"]
    assert table["n_seeds"].tolist() == [4, 4, 4]


def test_other_results_of_one_label_are_refused(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    first = write_run(tmp_path / "first", {"genifer": OURS})
    second = write_run(tmp_path / "second", {"genifer": OTHER})
    assert genifer("compare", first, second, "--output", tmp_path / "out") == 1
    assert "first, second all have results of 'genifer' with seed 0" in capfd.readouterr().err
    assert not (tmp_path / "out").exists()


def test_a_missing_run_or_reference_is_named(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    run = write_run(tmp_path / "run", {"joint": OURS})
    assert genifer("compare", run, "--output", tmp_path / "out") == 1
    assert "--reference: 'genifer' is in none of the runs; there are: joint" in capfd.readouterr().err
    assert genifer("compare", tmp_path / "nowhere", "--output", tmp_path / "out") == 1
    assert "no finished run of this name" in capfd.readouterr().err
    assert not (tmp_path / "out").exists()


def test_costs_and_sizes_of_methods(tmp_path: Path) -> None:
    """Means over the seeds; a run without them, or with minutes alone, has empty cells."""
    ours = write_run(tmp_path / "ours", {"genifer": OURS, "lwf": OTHER})
    budget = "method,seed,minutes,parameters,stored_mb\n"
    budget += "".join(f"genifer,{seed},{seed},1000,2.5\n" for seed in SEEDS)
    (ours / "budget.csv").write_text(f"{budget}lwf,0,,1000,1.25\n")
    old = write_run(tmp_path / "old", {"genifer": OURS, "ewc": OTHER})
    rows = "".join(f"{method},{seed},4\n" for seed in SEEDS for method in ("genifer", "ewc"))
    (old / "budget.csv").write_text(f"method,seed,minutes\n{rows}")
    other = write_run(tmp_path / "other", {"ncm": OTHER})
    table = compared(tmp_path, ours, old, other).set_index("method")[["minutes", "parameters", "stored_mb"]]
    assert table.loc["genifer"].tolist() == [1.5, 1000, 2.5]
    assert table.loc["lwf", "stored_mb"] == 1.25
    assert table.loc["ewc", "minutes"] == 4
    assert table.loc["ewc", ["parameters", "stored_mb"]].isna().all()
    assert table.loc["ncm"].isna().all()
    markdown = (tmp_path / "out" / "comparison.md").read_text()
    assert "| forgetting | minutes | stored MB |" in markdown
    assert "| 1.5 | 2.5 |" in markdown
    assert "|  |  |" in next(line for line in markdown.splitlines() if line.startswith("| ncm"))
    assert "1.5 & 2.5 &" in (tmp_path / "out" / "comparison.tex").read_text()


def test_the_bound_of_another_run_counts(tmp_path: Path) -> None:
    """Intransigence needs a method that trains on all images, with the same seeds and definition."""
    ours = write_run(tmp_path / "ours", {"genifer": OURS})
    other = write_run(tmp_path / "other", {"bound": OTHER[:2]}, SEEDS[:2])
    assert compared(tmp_path, ours, other)["intransigence_mean"].isna().all()
    (other / "summary.csv").write_text("method,old_images\nbound,all\n")
    table = compared(tmp_path, ours, other).set_index("method")
    expected = np.mean([60 - 75, 70 - 80]) / 100
    assert table["intransigence_mean"].to_dict() == pytest.approx({"genifer": expected, "bound": 0})
    assert table.loc["genifer", "backward_transfer_mean"] == pytest.approx(np.mean(OURS) / 200 - 1)


def test_files_for_a_paper(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run", {"genifer": OURS, "a_b": OTHER})
    compared(tmp_path, run)
    files = {path.suffix: path for path in (tmp_path / "out").glob("comparison.*")}
    assert set(files) == {".csv", ".md", ".tex", ".pdf", ".svg"}
    assert {path.name for path in (tmp_path / "out").glob("averages.*")} == {"averages.pdf", "averages.svg"}
    assert "| genifer | 4 |  | 80.5 +- 4.2 |" in files[".md"].read_text()
    latex = files[".tex"].read_text()
    assert r"genifer & 4 &  & 80.5 $\pm$ 4.2" in latex
    assert r"a\_b & 4" in latex
    assert b"/FontFile2" in files[".pdf"].read_bytes()
    assert "<text" not in files[".svg"].read_text()


def test_averages_have_a_dot_per_seed(tmp_path: Path) -> None:
    runs = [
        write_run(tmp_path / "run", {"genifer": OURS, "lwf": OTHER}),
        write_run(tmp_path / "other", {"genifer": [99]}, (0,), classes="fedcba"),
    ]
    figure = averages_figure(groups_of([read_run(run) for run in runs]))
    assert figure.get_supxlabel() == ""
    assert figure.get_figwidth() == COLUMN
    upper, lower = figure.axes
    assert [label.get_text() for label in upper.get_yticklabels()] == ["genifer (4)", "lwf (4)"]
    dots = {round(float(line.get_ydata()[0])): line for line in upper.lines if line.get_marker() == "o"}
    assert sorted(dots[0].get_xdata()) == pytest.approx(sorted(right / 200 for right in OURS))
    assert sorted(dots[1].get_xdata()) == pytest.approx(sorted(right / 200 for right in OTHER))
    bars = [line for line in lower.lines if line.get_marker() != "o"]
    assert list(bars[0].get_xdata()) == pytest.approx([99 / 200] * 2)


def test_the_legend_counts_seeds_per_panel(tmp_path: Path) -> None:
    runs = [
        write_run(tmp_path / "run", {"genifer": OURS, "lwf": OTHER}),
        write_run(tmp_path / "other", {"genifer": [99]}, (9,), classes="fedcba"),
    ]
    [legend] = comparison_figure(groups_of([read_run(run) for run in runs])).legends
    assert [text.get_text() for text in legend.get_texts()] == ["genifer (1 to 4)", "lwf (4)"]
