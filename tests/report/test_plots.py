"""Plots, drawn from made-up runs of any number of methods."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from matplotlib.axes import Axes
from matplotlib.colors import to_hex
from matplotlib.figure import Figure
from PIL import Image
from support.commands import call, write_run_file
from support.in_process import genifer
from support.made_up_run import class_name, made_up_run, write_data
from support.published import PUBLISHED, write_published

from genifer.config import PlotSettings
from genifer.data.batches import load_task_data
from genifer.errors import GeniferError
from genifer.evaluation import CONFUSION_COLUMNS, REPLAY_COLUMNS, TRAINING_COLUMNS
from genifer.evaluation.replay import NEAREST
from genifer.layout import PLOT_FORMATS, Layout
from genifer.published import PUBLISHED_COLUMNS, fitting
from genifer.report.draw import draw
from genifer.report.plots import apart, legend_below, short_name, step_ticks, wrapped
from genifer.report.plots.forgetting import _find_class
from genifer.report.plots.sample_grids import plot_sample_grids
from genifer.report.plots.training import plot_training
from genifer.report.style import COLUMN, PAGE, figure_size, method_colors, set_style
from genifer.run_file import parse_settings
from genifer.runtime.tensors import save_tensors
from genifer.training.checkpoints import save_classifier, save_gan
from genifer.training.networks import new_gan
from genifer.training.untrained import random_data, untrained_classifier

SMALL = PlotSettings(dpi=50)
PAPER = PlotSettings(dpi=50, medium="paper")
CPU = torch.device("cpu")


def draw_all(layout: Layout, settings: PlotSettings = SMALL) -> set[str]:
    """Draw all plots of a made-up run; return the names of the files."""
    results = Path(layout.results)
    data = write_data(layout)
    for figure in layout.figures:
        draw(figure.name, settings, results, data, scenario="birds, 4 + 2 classes")
    drawn = {path for path in (results / "plots").iterdir() if not path.name.startswith(".")}
    for path in drawn:
        if path.suffix == ".png":
            with Image.open(path) as image:
                image.load()
    return {str(path) for path in drawn}


def words(svg: Path) -> str:
    """The text of a plot, in one line."""
    return " ".join(re.sub(r"<[^>]+>", " ", svg.read_text()).split())


@pytest.mark.parametrize(
    ("methods", "tasks"),
    [
        ({"finetune": {}}, [4]),
        ({"007": {"method": "genifer"}}, [4, 3]),
        (
            {
                "genifer": {},
                "joint": {},
                "a-label-of-many-words" * 3: {"method": "genifer", "gan": {"r1_gamma": 1}},
            },
            [20, 10],
        ),
    ],
)
def test_the_plots_are_those_that_the_layout_names(
    tmp_path: Path, methods: dict[str, object], tasks: list[int]
) -> None:
    layout = made_up_run(tmp_path, methods=methods, scenario={"tasks": tasks}, seeds=[0, 1])
    expected = [path for figure in layout.figures for one in figure.pictures for path in layout.plot(one)]
    assert draw_all(layout) == set(expected)
    for path in (Path(path) for path in expected if path.endswith(".svg")):
        assert "2 seeds" in words(path) or "a single task: " in words(path), path


def test_equal_tables_give_equal_files(tmp_path: Path) -> None:
    """Files hold text as text, and PDF files their fonts."""
    layout = made_up_run(tmp_path, methods=["genifer"], scenario={"tasks": [4, 2]})
    first = {path: Path(path).read_bytes() for path in draw_all(layout)}
    assert {Path(path).suffix for path in first} == {f".{suffix}" for suffix in PLOT_FORMATS}
    second = {path: Path(path).read_bytes() for path in draw_all(layout)}
    assert [path for path in first if first[path] != second[path]] == []
    for path, content in first.items():
        if path.endswith(".svg"):
            assert b"<text" in content, path
        if path.endswith(".pdf"):
            assert b"/FontFile2" in content, path  # a TrueType font
            assert b"/Type3" not in content, path


def inches(svg: Path) -> tuple[float, float]:
    found = re.search(
        r'width="([\d.]+)pt" height="([\d.]+)pt"|viewBox="0 0 ([\d.]+) ([\d.]+)"', svg.read_text()
    )
    assert found
    width, height = [float(text) / 72 for text in found.groups() if text]
    return width, height


def test_plots_for_a_paper_have_its_widths(tmp_path: Path) -> None:
    layout = made_up_run(tmp_path, methods=["genifer", "finetune"], scenario={"tasks": [4, 2]})
    draw_all(layout, PAPER)
    plots = Path(layout.results) / "plots"
    for name in ("accuracy", "forgetting", "budget", "confusion_genifer", "replay_frechet_genifer"):
        assert inches(plots / f"{name}.svg")[0] == pytest.approx(COLUMN, abs=0.01), name
    for name in ("costs", "training_genifer", "training_gan_genifer", "replay_agreement_genifer"):
        assert inches(plots / f"{name}.svg")[0] == pytest.approx(PAGE, abs=0.01), name
    assert figure_size(SMALL, 7, 4) == (7, 4)


def test_titles_name_data_set_and_tasks(tmp_path: Path) -> None:
    layout = made_up_run(tmp_path, methods=["genifer"], scenario={"tasks": [4, 2]}, seeds=[0, 1])
    settings = layout.settings_json("plot")
    for what, name in (("accuracy", "accuracy"), ("costs", "budget")):
        assert genifer("plot", what, "--settings", settings, "--results", layout.results) == 0
        svg = (Path(layout.results) / "plots" / f"{name}.svg").read_text()
        assert "image_folder, 4 + 2 classes" in svg.replace("1 x ", "")
        assert "(mean and standard deviation over 2 seeds)" in svg
    plots = Path(layout.results) / "plots"
    assert "(means over 2 seeds)" in words(plots / "accuracy_matrix_genifer.svg")
    assert "(means over 2 seeds; lines separate tasks)" in words(plots / "confusion_genifer.svg")


def test_colours_of_methods_are_the_same_everywhere(tmp_path: Path) -> None:
    layout = made_up_run(tmp_path, methods=["finetune", "joint"], scenario={"tasks": [4, 2]})
    data, plots = write_data(layout), Path(layout.results) / "plots"
    for what in ("accuracy", "forgetting", "costs"):
        draw(what, SMALL, Path(layout.results), data)
    for color in method_colors(["finetune", "joint"], SMALL).values():
        for name in ("accuracy", "forgetting", "costs", "budget"):
            assert to_hex(color) in (plots / f"{name}.svg").read_text(), name


def test_drawing_says_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where Matplotlib has to look for fonts first, and where bars have numbers for names."""
    methods = {"1": {"method": "finetune"}, "2": {"method": "joint"}}
    layout = made_up_run(tmp_path, methods=methods, scenario={"tasks": [2, 1]})
    log = tmp_path / "log.txt"
    monkeypatch.setenv("MPLCONFIGDIR", str(tmp_path))
    for what, data in (("costs", []), ("forgetting", write_data(layout))):
        command = ["genifer", "--log", str(log), "plot", what, "--settings", layout.settings_json("plot")]
        done = call([*command, "--results", layout.results, *data], tmp_path)
        assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
        assert log.read_text() == ""


def test_an_order_per_seed(tmp_path: Path) -> None:
    """Classes stand under their names, once, with pictures of them; the confusion is one of tasks."""
    scenario = {"tasks": [4, 2, 2], "class_order": "seed"}
    layout = made_up_run(tmp_path, methods=["genifer"], scenario=scenario, seeds=[3, 4])
    draw_all(layout)
    plots = Path(layout.results) / "plots"
    confusion = (plots / "confusion_genifer.svg").read_text()
    assert "task of the predicted class" in confusion
    assert ">003<" not in confusion
    forgotten = (plots / "forgotten_classes_genifer.svg").read_text()
    agreement = (plots / "replay_agreement_genifer.svg").read_text()
    assert agreement.count(">003<") == 1
    assert forgotten.count(">003 (2 seeds)<") == 1
    assert forgotten.count(">a class named 6 (one seed)<") == 1  # the other seed learns it last
    assert "(task" not in forgotten
    assert "(pooled over 2 seeds, each with its own class order)" in words(plots / "confusion_genifer.svg")
    for name in ("forgotten_classes_genifer", "replay_agreement_genifer"):
        assert "(means over up to 2 seeds, each with its own class order)" in words(plots / f"{name}.svg")


def test_pictures_are_those_of_the_class(tmp_path: Path) -> None:
    scenario = {"tasks": [4, 2, 2], "class_order": "seed"}
    layout = made_up_run(tmp_path, methods=["genifer"], scenario=scenario, seeds=[3, 4])
    data = write_data(layout)
    names = load_task_data(data[:1], CPU).class_names
    for label, name in enumerate(names):
        found, of_task = _find_class(name, data)
        assert found == label
        assert label in of_task.labels


def test_many_methods(tmp_path: Path) -> None:
    """More methods than the palette has colours."""
    methods = {f"variant-{n:02}": {"method": "finetune", "finetune": {"steps": n + 1}} for n in range(12)}
    layout = made_up_run(tmp_path, methods=methods, scenario={"tasks": [2, 1]})
    results = Path(layout.results)
    for name in ("accuracy", "costs"):
        draw(name, SMALL, results, [])
    svg = (results / "plots" / "accuracy.svg").read_text()
    assert all(f">{label}<" in svg for label in methods)


@pytest.mark.parametrize("palette", ["colorblind", "pastel"])
@pytest.mark.parametrize("count", [1, 3, 10, 11, 30])
def test_no_two_methods_share_a_colour(palette: str, count: int) -> None:
    labels = [f"label-{index}" for index in range(count)]
    colors = method_colors([*labels, *labels], PlotSettings(palette=palette))
    assert list(colors) == labels
    assert len(set(colors.values())) == count


def test_a_shared_first_task_is_drawn_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its legend names the methods where their first trainings differ."""
    legends: list[list[str]] = []

    def kept(figure: Figure, handles: list[object]) -> None:
        legends.append([str(handle.get_label()) for handle in handles])  # type: ignore[attr-defined]
        legend_below(figure, handles)

    monkeypatch.setattr("genifer.report.plots.training.legend_below", kept)
    rows = [
        [method, "pretrain_classifier", seed, 0, step, "loss", seed + step]
        for method in ("a", "b", "c")
        for seed in (0, 1)
        for step in (1, 2)
    ]
    table = pd.DataFrame(rows, columns=TRAINING_COLUMNS)
    table.to_csv(tmp_path / "training.csv", index=False)
    plot_training(SMALL, tmp_path / "training.csv", tmp_path)
    table.loc[table["method"] == "c", "value"] += 1
    table.to_csv(tmp_path / "training.csv", index=False)
    plot_training(SMALL, tmp_path / "training.csv", tmp_path)
    assert legends == [["a and 1 more", "c"]]
    assert {path.name for path in tmp_path.glob("*.png")} == {"training_first_task.png"}


def test_a_training_that_logs_nothing_has_a_plot(tmp_path: Path) -> None:
    """Its label is in the table, so its plots are expected."""
    (tmp_path / "training.csv").write_text(
        "method,job,seed,task,step,scalar,value\na,train_a,0,1,0,,\na,train_gan,0,1,0,,\n"
    )
    plot_training(SMALL, tmp_path / "training.csv", tmp_path)
    names = {path.stem for path in tmp_path.glob("*.png")}
    assert names == {"training_a", "training_gan_a"}


def drawn_axes(monkeypatch: pytest.MonkeyPatch, table: pd.DataFrame, folder: Path) -> list[Axes]:
    """The panels of a table's first plot of trainings."""
    figures: list[Figure] = []
    monkeypatch.setattr("genifer.report.plots.training.save", lambda figure, *_: figures.append(figure))
    table.to_csv(folder / "training.csv", index=False)
    plot_training(SMALL, folder / "training.csv", folder)
    return figures[0].axes


def test_trainings_are_means_over_the_seeds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One line per task; a scalar that is always zero has no panel, and every panel has names on its axes."""
    rows = [
        ["a", "train_a", seed, task, step, scalar, value]
        for seed in range(5)
        for task in (1, 2)
        for step in (10, 20, 30)
        for scalar, value in (("own_term", 10 * task + seed), ("off", 0), ("accuracy", 0.5))
    ]
    table = pd.DataFrame(rows, columns=TRAINING_COLUMNS)
    panels = drawn_axes(monkeypatch, table, tmp_path)
    assert [axes.get_title() for axes in panels] == ["Accuracy on the batches", "Own term"]
    assert [axes.get_ylabel() for axes in panels] == ["share", "value"]
    assert all(axes.get_xlabel() == "step" for axes in panels)
    assert [list(line.get_ydata()) for line in panels[1].lines] == [[12] * 3, [22] * 3]
    band = panels[1].collections[0].get_paths()[0].vertices
    assert band[:, 1].min() == pytest.approx(12 - np.std(range(5), ddof=1))
    assert panels[0].get_xticks()[-1] == panels[0].get_xlim()[1] == 30


@pytest.mark.parametrize(
    ("last", "ticks"),
    [
        (400, [0, 100, 200, 300, 400]),
        (500, [0, 100, 200, 300, 400, 500]),
        (15600, [0, 3900, 7800, 11700, 15600]),
        (397, [0, 99, 198, 298, 397]),
        (1, [0, 1]),
    ],
)
def test_steps_end_with_a_tick(last: int, ticks: list[int]) -> None:
    axes = Figure().subplots()
    step_ticks(axes, last)
    assert list(axes.get_xticks()) == ticks


def test_names_of_lines_are_apart() -> None:
    wanted = [0.9, 0.91, 0.2, 0.9, 0.1]
    placed = apart(wanted, 0.1, 0, 1)
    assert np.diff(sorted(placed)).min() >= 0.1 - 1e-9
    assert sorted(range(5), key=placed.__getitem__) == [4, 2, 0, 3, 1]
    assert placed[2] == pytest.approx(0.2)
    assert max(placed) <= 1
    assert apart([0.5], 0.1, 0, 1) == [0.5]


def test_zeros_of_a_confusion_matrix_are_not_printed(tmp_path: Path) -> None:
    layout = made_up_run(tmp_path, methods=["finetune"], scenario={"tasks": [2, 2]})
    draw("accuracy", SMALL, Path(layout.results), [])
    svg = (Path(layout.results) / "plots" / "confusion_finetune.svg").read_text()
    assert svg.count(">0<") == 1  # the scale of the colours
    assert ">true class<" in svg
    assert ">predicted class<" in svg


def test_tasks_and_held_out_images_of_the_agreement(tmp_path: Path) -> None:
    layout = made_up_run(tmp_path, methods=["genifer"], scenario={"tasks": [4, 2, 2]})
    draw("replay", SMALL, Path(layout.results), [])
    svg = (Path(layout.results) / "plots" / "replay_agreement_genifer.svg").read_text()
    for text in ("task 0", "task 1", "GAN of task 0", "GAN of task 1", "held-out images", "class"):
        assert f">{text}<" in svg
    assert "task 2" not in svg  # no GAN learns the last task


@pytest.mark.parametrize("distances", [(0.25, 0.5), (0.002, 300)])
def test_distances_have_plain_numbers(tmp_path: Path, distances: tuple[float, float]) -> None:
    layout = made_up_run(tmp_path, methods=["genifer"], scenario={"tasks": [4, 2, 2]})
    path = Path(layout.table("replay"))
    table = pd.read_csv(path)
    table["frechet_of_held_out"], table["frechet"] = distances
    table.to_csv(path, index=False)
    draw("replay", SMALL, Path(layout.results), [])
    svg = (Path(layout.results) / "plots" / "replay_frechet_genifer.svg").read_text()
    assert "\N{MULTIPLICATION SIGN}" not in svg
    assert ">0.2<" in svg


def test_a_method_that_forgets_nothing(tmp_path: Path) -> None:
    layout = made_up_run(tmp_path, methods=["finetune"], scenario={"tasks": [2, 2]})
    path, data = Path(layout.table("confusion")), write_data(layout)
    table = pd.read_csv(path)
    plot = Path(layout.results) / "plots" / "forgotten_classes_finetune.svg"
    draw("forgetting", SMALL, Path(layout.results), data)
    assert "finetune: the 2 classes that lost most accuracy" in plot.read_text()
    assert " points<" in plot.read_text()
    table.assign(predicted=table["label"]).to_csv(path, index=False)
    draw("forgetting", SMALL, Path(layout.results), data)
    assert "finetune: no class lost accuracy" in plot.read_text()
    assert plot.read_text().count(">no change<") == 2


@pytest.mark.parametrize("tasks", [[4, 3, 3], [4]])
def test_sample_grids(tmp_path: Path, tasks: list[int]) -> None:
    settings = parse_settings(
        {
            "data": {"dataset": "image_folder", "archive": "images.zip", "image_size": 8},
            "scenario": {"tasks": tasks, "class_order": "sorted"},
            "classifier": {"width": 4},
            "generator": {"latent_dim": 8, "embedding_dim": 4, "style_dim": 8, "channels": [8, 8, 8, 4]},
            "discriminator": {"width": 4},
            "gan": {"batch_size": 8},
        },
        "a test",
    )
    task = len(tasks) // 2
    data = write_data(Layout(settings, tmp_path))[: task + 1]
    n = sum(tasks[: task + 1])
    classifier = untrained_classifier(settings, CPU, n)
    save_classifier(tmp_path / "classifier", classifier, task, [0.5] * 3, [0.25] * 3)
    images = random_data(settings, task, CPU).images
    for name, known in (("old", sum(tasks[:task])), ("new", n)):
        blocks = (settings.gan, settings.generator, settings.discriminator)
        networks = new_gan(*blocks, classifier, sum(tasks), images)
        save_gan(tmp_path / name, *networks, n_classes_seen=known, ada_probability=0.0)
    nearest = {
        name: torch.full((n, 3, 8, 8), shade, dtype=torch.uint8)
        for name, shade in (("replayed", 0), ("training", 41))
    }
    names = [class_name(label) for label in range(n)]
    save_tensors(tmp_path / "nearest", nearest, {"kind": NEAREST, "class_names": names})
    group = "genifer+gan.ada.mode=none"
    old = tmp_path / "old" if task else None
    table = pd.DataFrame(0.0, index=range(n), columns=REPLAY_COLUMNS)
    table.assign(label=range(n), agreement=0.37, class_name=names).to_csv(tmp_path / "replay.csv")
    paths = (tmp_path / "new", old, tmp_path / "classifier", tmp_path / "nearest", tmp_path / "replay.csv")
    plot_sample_grids(SMALL, group, 7, *paths, data, tmp_path / "plots")
    assert {path.name for path in (tmp_path / "plots").iterdir()} == {
        f"{kind}_{group}_seed_7_task_{task}.{suffix}"
        for kind in ("replay", "nearest")
        for suffix in PLOT_FORMATS
    }
    which = f"{group}_seed_7_task_{task}.svg"
    assert (tmp_path / "plots" / f"replay_{which}").read_text().count(">37<") == n
    assert (tmp_path / "plots" / f"nearest_{which}").read_text().count(">41<") == n
    for kind in ("replay", "nearest"):
        assert f"after task {task} ({group}, seed 7)" in words(tmp_path / "plots" / f"{kind}_{which}")
    plot_sample_grids(PAPER, group, 7, *paths[:-1], None, data, tmp_path / "plots")
    assert ">37<" not in (tmp_path / "plots" / f"replay_{which}").read_text()


def test_titles_and_names_fit() -> None:
    set_style(SMALL)
    title = wrapped("a-label-of-many-words" * 4 + ": accuracy\nafter the last task", 5)
    assert max(map(len, title.splitlines())) < 60
    assert title.splitlines()[-1] == "after the last task"
    assert short_name("a very long name of a class") == "a very long na..."
    assert short_name("$a$") == r"\$a\$"


def test_fewer_files_than_tasks(tmp_path: Path) -> None:
    layout = made_up_run(tmp_path, methods=["finetune"], scenario={"tasks": [2, 2]})
    data = write_data(layout)
    with pytest.raises(GeniferError, match="names task 1, but --data gives the files of 1 tasks"):
        draw("forgetting", SMALL, Path(layout.results), data[:1])


@pytest.mark.parametrize("what", ["accuracy", "forgetting", "replay", "training", "costs"])
@pytest.mark.parametrize(
    "damage",
    [lambda text: text.replace(",seed", ",s"), lambda _: "", lambda text: text + '"'],
)
def test_damaged_tables_are_refused(tmp_path: Path, what: str, damage: Callable[[str], str]) -> None:
    layout = made_up_run(tmp_path, methods=["genifer"], scenario={"tasks": [2, 2]})
    data = write_data(layout)
    (figure,) = [figure for figure in layout.figures if figure.name == what]
    table = Path(figure.tables[-1])
    table.write_text(damage(table.read_text()))
    with pytest.raises(GeniferError, match=f"{table.name}.*snakemake"):
        draw(what, SMALL, Path(layout.results), data)


GOOD = ["A", "digits", "4 + 3 x 2", "final_accuracy", "", "61.5", "Paper, Table 1"]


def changed(**cells: str) -> list[str]:
    return [cells.get(name, value) for name, value in zip(PUBLISHED_COLUMNS, GOOD, strict=True)]


@pytest.mark.parametrize(
    ("row", "message"),
    [
        (changed(method=""), "line 3: method is empty; it must be the method's name"),
        (changed(data_set=" "), "line 3: data_set is empty; it must be a name as in data.dataset"),
        (
            changed(tasks="50/10"),
            "line 3: tasks is '50/10'; it must be sizes of tasks, such as '50 + 5 x 10'",
        ),
        (changed(tasks="0 x 10"), "line 3: tasks is '0 x 10'"),
        (changed(metric="accuracy"), "line 3: metric is 'accuracy'; it must be one of average_incremental_"),
        (changed(metric="forgetting"), "line 3: metric is 'forgetting'"),
        (changed(value="high"), "line 3: value is 'high'; it must be a percentage from 0 to 100"),
        (changed(value="nan"), "line 3: value is 'nan'"),
        (changed(value=""), "line 3: value is empty"),
        (changed(value="101"), "line 3: value is '101'"),
        (GOOD[:-1], "line 3: source is empty"),
        (changed(source=""), "line 3: source is empty; it must be what readers need to find the figure"),
        (
            [*GOOD, "Table 1"],
            "line 3: has more cells than there are columns; put text with commas in quotes",
        ),
    ],
)
def test_published_figures_are_checked_before_a_run(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], row: list[str], message: str
) -> None:
    path = write_published(tmp_path / "published.csv", GOOD, row)
    run_file = write_run_file(tmp_path, plots={"published": str(path)})
    assert genifer("check", "--config", run_file) == 1
    assert f"plots.published: {path}, {message}" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "cannot be read as a CSV file"),
        (b"\xff", "cannot be read as a CSV file"),
        (b"", "has no column method, data_set, tasks, metric, definition, value, source"),
        (
            b"source,method,classes_seen,accuracy\n",
            "has no column data_set, tasks, metric, definition, value",
        ),
    ],
)
def test_files_that_hold_no_published_figures_are_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], content: bytes | None, message: str
) -> None:
    path = tmp_path / "published.csv"
    if content is not None:
        path.write_bytes(content)
    run_file = write_run_file(tmp_path, plots={"published": str(path)})
    assert genifer("check", "--config", run_file) == 1
    assert f"plots.published: {path} {message}" in capsys.readouterr().err


def published_run(tmp_path: Path, **settings: Any) -> Layout:
    """A made-up run in 4 + 2 x 2 classes, with figures for it and for others."""
    path = write_published(
        tmp_path / "published.csv",
        ["Fits $1", "image_folder", "4+2x2", "final_accuracy", "", "61.5", "Paper, Table 1"],
        ["Fits too", "image_folder", "4 + 2 + 2", "final_accuracy", "", "12.25", "Paper, Table 2"],
        ["Other set", "cifar100", "4 + 2 x 2", "final_accuracy", "", "33", "Paper"],
        ["Other tasks", "image_folder", "2 x 4", "final_accuracy", "", "44", "Paper"],
    )
    settings = {"methods": {"1": {"method": "finetune"}}, "scenario": {"tasks": [4, 2, 2]}} | settings
    return made_up_run(tmp_path, plots={"published": str(path)}, **settings)


def test_published_figures_that_fit_are_drawn(tmp_path: Path) -> None:
    layout = published_run(tmp_path, seeds=[0, 1])
    (figure,) = [figure for figure in layout.figures if figure.name == "published"]
    assert list(figure.given) == [str(layout.settings.plots.published)]
    passed = layout.settings_json(figure.settings)
    assert genifer("plot", "published", "--settings", passed, "--results", layout.results) == 0
    plot = Path(layout.results) / "plots" / "published.svg"
    assert "(mean and standard deviation over 2 seeds)" in words(plot)
    svg = plot.read_text()
    for text in (
        "Fits $1",
        "Fits too",
        "61.5",
        "12.2",
        "Paper, Table 1",
        "Paper, Table 2",
        "final accuracy (%)",
    ):
        assert f">{text}<" in svg
    assert "Other" not in svg
    assert "average" not in svg  # no figure has that metric
    summary = pd.read_csv(layout.table("summary"))
    assert f">{100 * summary['final_accuracy_mean'].iloc[0]:.1f}<" in svg


@pytest.mark.parametrize(
    "settings",
    [
        {"scenario": {"tasks": [4, 2]}},
        {
            "data": {"dataset": "image_folder", "archive": "images.zip", "validation_fraction": 0.5},
            "evaluation": {"split": "validation"},
        },
    ],
)
def test_a_run_without_fitting_figures_looks_as_ever(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], settings: dict[str, Any]
) -> None:
    layout = published_run(tmp_path, **settings)
    assert "published" not in {figure.name for figure in layout.figures}
    assert not any("published" in path for path in layout.final)
    passed = layout.settings_json("plot_published")
    assert genifer("plot", "published", "--settings", passed, "--results", layout.results) == 1
    assert f"plots.published: {layout.settings.plots.published} has no figure" in capsys.readouterr().err


def test_a_check_says_that_no_published_figure_fits(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = write_published(tmp_path / "published.csv", changed(tasks="2 x 5"))
    run_file = write_run_file(tmp_path, plots={"published": str(path)})
    assert genifer("check", "--config", run_file) == 0
    assert "so none is drawn; the file has test accuracies on digits in 2 x 5" in capsys.readouterr().err


def test_the_published_figures_of_the_project_fit_the_papers_run() -> None:
    settings = parse_settings({"plots": {"published": str(PUBLISHED)}}, "a test")
    assert {figure.metric for figure in fitting(settings)} == {
        "average_incremental_accuracy_with_first_task",
        "final_accuracy",
    }


def test_an_unknown_label_in_the_confusion_has_a_plot(tmp_path: Path) -> None:
    """Tables that others have edited are drawn as far as possible."""
    layout = made_up_run(tmp_path, methods=["finetune"], scenario={"tasks": [2, 2]})
    row = [layout.settings.run, "stranger", 0, 1, 0, 0, "x", 0, "x", 5]
    with Path(layout.table("confusion")).open("a") as file:
        pd.DataFrame([row], columns=["run", *CONFUSION_COLUMNS]).to_csv(file, header=False, index=False)
    draw("forgetting", SMALL, Path(layout.results), write_data(layout))
    assert (Path(layout.results) / "plots" / "forgotten_classes_stranger.png").is_file()
