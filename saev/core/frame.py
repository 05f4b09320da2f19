"""What the command lines of all stages share: arguments, log, signals, exit status."""

import argparse
import os
import sys
import traceback
from collections.abc import Callable
from pathlib import Path

from saev.core import logs, stop
from saev.core.errors import ENDED, FINAL, UserError
from saev.core.machine import ask_for_reproducible_products
from saev.core.once import alone
from saev.core.planned import require_planned_code
from saev.core.provenance import peak_memory
from saev.core.system_errors import ON_GPU, explained

RAW = argparse.RawDescriptionHelpFormatter
ONE_OF_SEVERAL = "SAEV_ONE_OF_SEVERAL"
"""The variable that is set for the processes which `saev.train.parallel.launch` starts."""


class Commands:
    """The command line of a stage with several commands.

    Args:
        description: the text at the top of ``--help``.
    """

    def __init__(self, description: str) -> None:
        self._parser = argparse.ArgumentParser(
            _program(), description=description, formatter_class=RAW
        )
        self._commands = self._parser.add_subparsers(required=True, metavar="COMMAND")

    def add(
        self, name: str, run: Callable[[argparse.Namespace], None], what: str, job: bool = True
    ) -> argparse.ArgumentParser:
        """Add the command ``name``, which calls ``run(arguments)``; return its parser.

        Args:
            name: name of the command.
            run: function that runs it.
            what: one line that says what it does.
            job: whether it takes the arguments of a job.
        """
        made = self._commands.add_parser(name, help=what, description=what, formatter_class=RAW)
        made.set_defaults(run=run)
        if job:
            _add_arguments(made)
        return made

    def run(self, arguments: list[str]) -> None:
        """Parse ``arguments`` and run the command they name."""
        given = self._parser.parse_args(arguments)
        given.run(given)


def parser(description: str) -> argparse.ArgumentParser:
    """The command line of a stage with one command, including the arguments of a job."""
    made = argparse.ArgumentParser(_program(), description=description, formatter_class=RAW)
    _add_arguments(made)
    return made


def add_folders(made: argparse.ArgumentParser, **folders: str) -> None:
    """Add an option for each directory. All are needed; the values say what they are of."""
    for name, what in folders.items():
        made.add_argument(
            f"--{name}", required=True, type=Path, metavar="DIR", help=f"directory of the {what}"
        )


def _program() -> str | None:
    """What a usage calls this program: `python -m saev.train`, not `__main__.py`."""
    spec = sys.modules["__main__"].__spec__
    return f"python -m {_module()}" if spec and spec.name.endswith(".__main__") else None


def _module() -> str:
    """The module that runs as this program: ``saev.train``."""
    spec = sys.modules["__main__"].__spec__
    return spec.name.removesuffix(".__main__") if spec else ""


def _after(option: str, arguments: list[str]) -> str | None:
    return arguments[arguments.index(option) + 1] if option in arguments[:-1] else None


def require_same_code() -> None:
    """Check again that the code is what the run was planned with.

    A job that imports some of its code after it has started calls this when all is imported: the
    code may have changed in the meantime.

    Raises:
        UserError: it isn't.
    """
    spec = _after("--spec", sys.argv[1:])
    if spec:
        require_planned_code(_module(), spec)


def _add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--spec",
        required=True,
        help='settings of the job: {"settings": {…}}. The workflow adds what it found and a digest '
        "of the code",
    )
    parser.add_argument(
        "--done",
        type=Path,
        help="stamp file to write at the end. If you give it, finished work isn't repeated",
    )
    parser.add_argument(
        "--log", help="file to write progress and errors to, as well as to the terminal"
    )
    parser.add_argument(
        "--threads", type=int, default=os.cpu_count(), help="number of threads (default: all cores)"
    )


def run(main: Callable[[list[str]], None]) -> None:
    """Run a stage's ``main(arguments)`` as a program, when no other makes the same result.

    A `UserError` is printed as its text alone; the exit status is 1, and the log says that trying
    again can't help. What the system refuses, such as memory, may be there at the next try, but
    not the memory of a GPU. For any other error, the traceback goes to the log and one line to the
    terminal; the exit status is 2.
    """
    ask_for_reproducible_products()
    arguments = sys.argv[1:]
    log = _after("--log", arguments)
    one_of_several = ONE_OF_SEVERAL in os.environ
    logs.start(log, shared=one_of_several)
    stop.listen(log)
    try:
        require_same_code()
        with alone(None if one_of_several else _after("--done", arguments)):
            main(arguments)
    except stop.Stopped:
        if not one_of_several:  # the process that started it says how all ended
            logs.note(f"{ENDED} {peak_memory() // 10**6}")
        raise
    except UserError as error:
        logs.say(f"error: {error}")
        if not error.may_pass:
            logs.note(FINAL)
        raise SystemExit(1) from None
    except Exception as error:
        logs.note(traceback.format_exc())
        refused = explained(error, _after("--out", arguments))
        if refused:
            logs.alarm(f"error: {refused}")
            if refused == ON_GPU:  # another try asks for more memory, but gets no larger GPU
                logs.note(FINAL)
            raise SystemExit(1) from None
        if log is None:
            traceback.print_exc()
        logs.alarm(
            f"internal error: {type(error).__name__}: {error}"
            + (f" (traceback in {log}; please report it)" if log else "")
        )
        raise SystemExit(2) from None
