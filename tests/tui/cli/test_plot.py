"""Curves printed in the terminal and written as pictures."""

from __future__ import annotations

import math
import re
import shutil
import struct
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import pytest

from engine import events
from engine.events import Event
from tests.tui.cli.command_line import CommandLine, MakeRun, ending, training
from tui.cli.picture import CONVERTERS

SVG = "{http://www.w3.org/2000/svg}"


def with_evaluations(steps: int) -> list[Event]:
    said = training(steps)
    said += [
        events.EvaluationFinished(step, 0.0, 0, 0.1, {"eval_retain_loss": 1.0, "eval_unlearn_loss": 3.0})
        for step in (1, steps)
    ]
    return said


def test_the_losses_are_drawn_unless_others_are_named(cli: CommandLine, make_run: MakeRun) -> None:
    make_run(said=[*with_evaluations(50), *ending(50)])
    reply = cli("plot", "run-1")
    assert (reply.code, reply.err) == (0, "")
    head, *drawn = reply.out.splitlines()
    assert re.search("run-1: .* loss .* eval_retain_loss .* eval_unlearn_loss", head)
    assert "step" in drawn[-1]
    assert max(len(line) for line in drawn) <= 80
    reply = cli("plot", "run-1", "--metric", "learning_rate", "-m", "loss")
    heads = [line for line in reply.out.splitlines() if line.startswith("run-1:")]
    assert len(heads) == 2


@pytest.mark.parametrize("axis", ["step", "epoch", "tokens", "time"])
def test_every_x_axis(cli: CommandLine, make_run: MakeRun, axis: str) -> None:
    make_run(said=training(50))
    reply = cli("plot", "run-1", "--x", axis)
    assert reply.code == 0
    assert axis in reply.out.splitlines()[-1]


def test_what_is_drawn_as_numbers(cli: CommandLine, make_run: MakeRun) -> None:
    make_run(said=training(1000, losses=[5.0 if step == 500 else 1.0 for step in range(1000)]))
    drawn = cli("plot", "run-1", "--json", "--smooth", "0.9").json
    assert drawn["run"] == "run-1"
    assert drawn["x"] == "step"
    loss = drawn["metrics"]["loss"]
    assert len(loss["x"]) <= 80  # as many columns as the picture has, not as many as there are steps
    assert max(loss["high"]) == 5.0  # and every spike
    assert min(loss["low"]) == 1.0
    assert 1.0 < max(loss["smoothed"]) < 5.0


def test_values_that_are_no_numbers_are_gaps(cli: CommandLine, make_run: MakeRun) -> None:
    values = [1.0 if step < 30 or step > 40 else math.nan for step in range(80)]
    make_run(said=training(80, losses=values))
    loss = cli("plot", "run-1", "--json").json["metrics"]["loss"]
    assert not [x for x in loss["x"] if 33 < x < 40]
    assert cli("plot", "run-1").code == 0


@pytest.mark.parametrize(
    "values",
    [[1.0], [0.0], [-3.0], [1e-30, 1e30], [2.0, 2.0], [math.nan, 1.0], [1e-320, 1.0]],
    ids=["one point", "zero", "negative", "all sizes", "no height", "a gap first", "denormal"],
)
@pytest.mark.parametrize("options", [[], ["--smooth", "0.6"], ["-o", "a.svg"]], ids=["plain", "smooth", "svg"])
def test_any_values_can_be_drawn(cli: CommandLine, make_run: MakeRun, values: list[float], options: list[str]) -> None:
    make_run(said=training(len(values), losses=values))
    reply = cli("plot", "run-1", *options)
    assert (reply.code, reply.err) == (0, "")


def test_a_logarithmic_axis_shows_what_is_above_0(cli: CommandLine, make_run: MakeRun) -> None:
    make_run(said=training(4, losses=[100.0, 1.0, 0.0, -1.0]))
    loss = cli("plot", "run-1", "--log", "--json").json["metrics"]["loss"]
    assert loss["low"] == [100.0, 1.0]
    reply = cli("plot", "run-1", "--log")
    assert reply.code == 0
    assert "logarithmic" in reply.out
    assert "100" in reply.out


def test_nothing_above_0_is_nothing_to_draw_logarithmically(cli: CommandLine, make_run: MakeRun) -> None:
    make_run(said=training(2, losses=[0.0, -1.0]))
    reply = cli("plot", "run-1", "--log")
    assert reply.code == 3
    assert "above 0" in reply.err


@pytest.mark.parametrize("size", [(200, 60), (80, 24), (40, 10), (20, 5), (1, 1)], ids=str)
def test_a_plot_fits_its_terminal(cli: CommandLine, make_run: MakeRun, size: tuple[int, int]) -> None:
    make_run(said=training(500))
    code, text = cli.on_terminal("plot", "run-1", columns=size[0], lines=size[1], NO_COLOR="1")
    assert code == 0
    assert max(len(line) for line in text.splitlines()) <= max(20, size[0])


def test_colours_tell_curves_apart_and_markers_where_there_are_none(cli: CommandLine, make_run: MakeRun) -> None:
    make_run(said=with_evaluations(50))
    assert "\x1b[38;5;9m" in cli.on_terminal("plot", "run-1")[1]
    assert "\x1b" not in cli.on_terminal("plot", "run-1", NO_COLOR="1")[1]
    assert "+ eval_retain_loss" in cli("plot", "run-1").out


def test_glyphs_are_those_asked_for(cli: CommandLine, make_run: MakeRun) -> None:
    make_run(said=training(50))
    assert re.search("[\u2801-\u28ff]", cli("plot", "run-1").out)
    ascii_only = cli("--glyphs", "ascii", "plot", "run-1").out
    assert not re.search("[\u2800-\u28ff]", ascii_only)
    assert "*" in ascii_only


def test_a_missing_metric_is_told_with_the_nearest_and_all_there_are(cli: CommandLine, make_run: MakeRun) -> None:
    make_run(said=training(5))
    reply = cli("plot", "run-1", "-m", "learnin_rate")
    assert reply.code == 3
    assert "Did you mean learning_rate?" in reply.err
    assert "loss" in reply.err
    assert cli("plot", "run-1", "-m", "x", "--json").error["code"] == "not-found"


def test_a_run_without_a_step_has_nothing_to_draw(cli: CommandLine, make_run: MakeRun) -> None:
    make_run()
    reply = cli("plot", "run-1")
    assert reply.code == 3
    assert "no metric yet" in reply.err


@pytest.mark.parametrize(
    ("options", "said"), [(["--x", "week"], "week"), (["--smooth", "1"], "'1'"), (["--smooth", "no"], "'no'")]
)
def test_wrong_options_are_refused_with_their_value(
    cli: CommandLine, make_run: MakeRun, options: list[str], said: str
) -> None:
    make_run(said=training(5))
    reply = cli("plot", "run-1", *options)
    assert reply.code == 2
    assert said in reply.err


def test_names_of_metrics_cannot_act_on_the_terminal_or_in_a_picture(cli: CommandLine, make_run: MakeRun) -> None:
    evil = "\x1b[2J</text><script>alert(1)</script>\u202e\x00&_loss"
    make_run(said=[events.StepFinished(step, 0.0, 0, 0.1, {evil: 1.0 * step}) for step in range(1, 4)])
    reply = cli("plot", "run-1")
    assert reply.code == 0
    assert not re.search("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202e]", reply.out)
    assert cli("plot", "run-1", "-o", "evil.svg").code == 0
    document = (cli.workspace / "evil.svg").read_text()
    assert "<script>" not in document
    assert "\x1b" not in document
    ElementTree.fromstring(document)


# Pictures


def test_a_picture_is_well_formed_and_shows_curves_bands_and_names(cli: CommandLine, make_run: MakeRun) -> None:
    make_run(said=with_evaluations(5000))
    reply = cli("plot", "run-1", "-m", "loss", "-m", "eval_retain_loss", "-m", "learning_rate", "-o", "a.svg")
    assert (reply.code, reply.out) == (0, "a.svg\n")
    root = ElementTree.parse(cli.workspace / "a.svg").getroot()
    texts = [element.text for element in root.iter(f"{SVG}text")]
    assert {"run-1", "loss", "eval_retain_loss", "learning_rate", "step"} <= set(texts)
    lines = list(root.iter(f"{SVG}polyline"))
    assert len(lines) == 3
    assert max(len(line.attrib["points"].split()) for line in lines) <= 600
    width, height = float(root.attrib["width"]), float(root.attrib["height"])
    for line in [*lines, *root.iter(f"{SVG}polygon")]:
        for point in line.attrib["points"].split():
            x, y = map(float, point.split(","))
            assert 0 <= x <= width
            assert 0 <= y <= height


@pytest.mark.skipif(not any(map(shutil.which, CONVERTERS)), reason="no converter from SVG to PNG is installed")
def test_a_png_is_one(cli: CommandLine, make_run: MakeRun) -> None:
    make_run(said=training(50))
    assert cli("plot", "run-1", "-o", "a.PNG").code == 0
    content = (cli.workspace / "a.PNG").read_bytes()
    assert content.startswith(b"\x89PNG\r\n\x1a\n")
    width, height = struct.unpack(">II", content[16:24])
    assert width >= 900
    assert height >= 360
    assert sorted(path.name for path in cli.workspace.iterdir()) == ["a.PNG", "runs"]


def test_without_a_converter_a_png_is_refused_and_says_what_to_do(
    cli: CommandLine, make_run: MakeRun, tmp_path: Path
) -> None:
    make_run(said=training(5))
    (tmp_path / "empty").mkdir()
    process = cli.start("plot", "run-1", "-o", "a.png", PATH=str(tmp_path / "empty"))
    out, err = process.communicate(timeout=60)
    assert (process.returncode, out) == (9, "")
    assert "rsvg-convert" in err
    assert ".svg" in err
    assert not (cli.workspace / "a.png").exists()


@pytest.mark.parametrize(
    ("picture", "code"),
    [("a.gif", 2), ("a", 2), ("none/a.svg", 7), ("a-file/a.svg", 7), ("a-folder.svg", 7), ("/proc/a.svg", 7)],
)
def test_a_picture_that_cannot_be_written_leaves_nothing(
    cli: CommandLine, make_run: MakeRun, picture: str, code: int
) -> None:
    make_run(said=training(5))
    (cli.workspace / "a-file").write_text("")
    (cli.workspace / "a-folder.svg").mkdir()
    before = sorted(cli.workspace.rglob("*"))
    reply = cli("plot", "run-1", "-o", picture)
    assert reply.code == code
    assert picture in reply.err
    assert len(reply.err.splitlines()) == 2
    assert sorted(cli.workspace.rglob("*")) == before


def test_a_failed_picture_leaves_the_old_one(cli: CommandLine, make_run: MakeRun) -> None:
    make_run(said=training(5))
    old = cli.workspace / "a.svg"
    old.write_text("old")
    assert cli("plot", "run-1", "-m", "none", "-o", "a.svg").code == 3
    assert old.read_text() == "old"
    assert cli("plot", "run-1", "-o", "a.svg", "--json").json == {"run": "run-1", "picture": "a.svg"}
    assert old.read_text() != "old"
