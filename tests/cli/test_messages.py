import logging

import pytest

from orbitune.cli.messages import hide_messages, show_messages

logger = logging.getLogger("orbitune.training")


@pytest.fixture(autouse=True)
def messages():
    """Messages are shown, as the command line does, and the logger is left as it was."""
    root = logging.getLogger("orbitune")
    before, level = list(root.handlers), root.level
    show_messages()
    yield
    root.handlers, root.level = before, level


def test_a_message_is_a_line_on_stderr_and_a_warning_is_marked(capsys):
    logger.info("resumed after step %s", 3)
    logger.warning("no network")
    assert capsys.readouterr().err == "resumed after step 3\nwarning: no network\n"


def test_quiet_leaves_the_warnings(capsys):
    hide_messages(True)
    logger.info("resumed after step 3")
    logger.warning("no network")
    assert capsys.readouterr().err == "warning: no network\n"


def test_messages_are_shown_once_however_often_the_command_line_is_called(capsys):
    show_messages()
    logger.info("saved")
    assert capsys.readouterr().err == "saved\n"
