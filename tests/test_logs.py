"""Where words go: nowhere from a library, to the terminal and the log file from a program."""

import re
import subprocess
import sys

import pytest

from saev.core.progress import Progress


def printed(code, *arguments):
    """What a program that runs ``code`` prints."""
    done = subprocess.run(
        [sys.executable, "-c", f"from saev.core import logs\n{code}", *map(str, arguments)],
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout == ""
    return done.stderr


SAY = "logs.say('100 % of it')\nlogs.note('only in the file')\n"


def test_a_library_prints_nothing_and_has_no_handlers():
    assert printed(SAY + "assert not logs.LOGGER.handlers") == ""
    assert printed("import saev, saev.core.frame\nassert not logs.LOGGER.handlers") == ""


def test_who_asks_the_logger_hears_what_a_library_says():
    ask = "import logging\nlogging.basicConfig(format='%(name)s %(message)s', level={})\n"
    assert printed(ask.format("logging.INFO") + SAY) == "saev 100 % of it\n"
    assert printed(ask.format("logging.DEBUG") + SAY) == "saev 100 % of it\nsaev only in the file\n"


def test_a_program_says_it_plainly_on_the_terminal_and_with_the_time_in_its_file(tmp_path):
    path = tmp_path / "folder" / "x.log"
    start = "import sys\nlogs.start(sys.argv[1])\n"
    assert printed(start + SAY, path) == "100 % of it\n"
    first, second = path.read_text(encoding="utf-8").splitlines()
    assert re.fullmatch(r"\d\d:\d\d:\d\d 100 % of it", first)
    assert re.fullmatch(r"\d\d:\d\d:\d\d only in the file", second)


def test_a_program_says_it_once_whatever_else_was_set_up():
    other = "import logging\nlogging.info('a library does this')\n"
    assert printed(other + "logs.start()\nlogs.start()\n" + SAY) == "100 % of it\n"


def test_a_muted_process_says_nothing_and_its_notes_reach_the_file(tmp_path):
    path = tmp_path / "x.log"
    assert printed("import sys\nlogs.start(sys.argv[1])\nlogs.mute()\n" + SAY, path) == ""
    assert [line[9:] for line in path.read_text().splitlines()] == ["only in the file"]


def test_progress_is_said_like_all_else(said):
    progress = Progress(8, "images", "recording")
    progress.said -= progress.every
    progress.update(2)
    assert said().startswith("recording: 25 % of 8 images · ")


@pytest.mark.parametrize("command", ["-m saev.tools check --results {}", "-m saev.images --spec x"])
def test_the_commands_of_saev_have_a_terminal(command, tmp_path):
    code = (
        "import runpy, sys\n"
        "sys.argv = sys.argv[1:]\n"
        "try:\n"
        "    runpy.run_module(sys.argv[0], run_name='__main__')\n"
        "except SystemExit:\n"
        "    pass\n"
        "logs.say('heard')\n"
    )
    _, module, *arguments = command.format(tmp_path).split()
    done = subprocess.run(
        [sys.executable, "-c", f"from saev.core import logs\n{code}", module, *arguments],
        capture_output=True,
        text=True,
    )
    assert done.stderr.endswith("heard\n")
