"""Lints the scripts of each page as the page has them, one after the other, sharing their names.

python -m tests.lint_scripts OXLINT

A name that two scripts share, or one that a browser gives to every page, must not be shadowed. A
script must not use a name that no script of the page defines, and must not define a name that
nothing uses. Comments must keep to 100 columns too, which the formatter doesn't check.
"""

import re
import subprocess
import sys
import tempfile
from pathlib import Path

from saev.dashboard.page import ASSETS, SCRIPTS

COLUMNS = 100


def whole(page: str) -> tuple[str, list[tuple[Path, int]]]:
    """The script of a page, and from which file each of its lines comes, with its number there."""
    template = ASSETS / f"{page}.html"
    lines, origins = [], []
    for file in [ASSETS / f"{name}.js" for name in SCRIPTS[page].split()]:
        for number, line in enumerate(file.read_text(encoding="utf-8").splitlines(), 1):
            lines.append(line)
            origins.append((file, number))
    start = re.search(r"<script>(\w+)\(/\*DATA\*/\);</script>", template.read_text("utf-8"))
    assert start, f"{template} starts no script with its data"
    return "\n".join([*lines, f"{start[1]}();", ""]), [*origins, (template, 1)]


def problems(page: str, oxlint: str) -> list[str]:
    """What is wrong with the script of a page, by file and line of the sources."""
    text, origins = whole(page)
    places = [f"{file.relative_to(Path.cwd())}:{number}" for file, number in origins]
    lines = zip(places, text.splitlines(), strict=True)
    found = [
        f"{place}: longer than {COLUMNS} columns" for place, line in lines if len(line) > COLUMNS
    ]
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / f"{page}.js"
        file.write_text(text, encoding="utf-8")
        command = [oxlint, "--config", ".oxlintrc.json", "--format", "unix", str(file)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    said = re.findall(r"^.*?\.js:(\d+)(:.*)", done.stdout, re.M)
    if done.returncode and not said:
        return [*found, f"{oxlint} failed: {done.stdout}{done.stderr}"]
    return found + [places[int(line) - 1] + message for line, message in said]


def main(oxlint: str) -> int:
    """Print what is wrong with any page; return 1 if something is."""
    # Scripts of more than one page are read more than once.
    found = dict.fromkeys(problem for page in SCRIPTS for problem in problems(page, oxlint))
    print("\n".join(found) or "Scripts: no name is shadowed, unknown or unused.")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
