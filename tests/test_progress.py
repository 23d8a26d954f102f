import io

import pytest
from rich.console import Console

from orbitune import progress
from orbitune.progress import ProgressDisplay


def drawn(terminal, shown=True):
    """What a display writes of a task of four tiles and a line."""
    file = io.StringIO()
    console = Console(file=file, force_terminal=terminal, width=80)
    with ProgressDisplay(shown, console) as display, display.task("validation", 4) as task:
        task.advance(2, "loss 0.5")
        display.print("epoch 1/3")
        task.advance(2)
    return file.getvalue()


def test_a_terminal_shows_a_bar_and_the_lines_above_it():
    text = drawn(terminal=True)
    assert "validation" in text and "/4" in text and "epoch 1/3" in text


def test_a_log_file_holds_the_lines_alone_while_tasks_are_short():
    assert drawn(terminal=False) == "epoch 1/3\n"


def test_a_log_file_gets_a_line_of_a_long_task_at_intervals(monkeypatch):
    monkeypatch.setattr(progress, "LINE_SECONDS", -1.0)
    first, middle, last = drawn(terminal=False).splitlines()
    assert first.startswith("validation 2/4  ") and first.endswith(" s left  loss 0.5")
    assert middle == "epoch 1/3"
    assert last == "validation 4/4  0 s left"


@pytest.mark.parametrize("terminal", [True, False])
def test_nothing_is_shown_where_no_progress_is_asked_for(terminal):
    assert drawn(terminal, shown=False) == ""


def test_a_notebook_without_widgets_shows_the_lines(monkeypatch):
    monkeypatch.setattr(progress, "find_spec", lambda name: None)
    console = Console(force_jupyter=True)
    with console.capture() as captured, ProgressDisplay(console=console) as display:
        with display.task("validation", 4) as task:
            task.advance(4)
        display.print("epoch 1/3")
    assert captured.get() == "epoch 1/3\n"


def test_text_with_brackets_is_printed_as_it_is(capsys):
    with ProgressDisplay() as display:
        display.print("[bold]tile[/bold]")
    assert capsys.readouterr().err == "[bold]tile[/bold]\n"
