"""What Python gives to the pages is what the scripts are checked against."""

import json
import re
from typing import Any, Literal, NotRequired, get_args, get_origin, get_type_hints

import pyarrow.parquet
import pytest
from page_data import script_data
from test_frontier import run
from typescript import PATH, PLAIN, UNIONS, declarations

from saev.analyze import columns
from saev.analyze.artifact import TABLE
from saev.dashboard import artifact as names
from saev.dashboard import structures
from saev.dashboard.frontier import frontiers
from saev.dashboard.page import ASSETS, SCRIPTS, STYLES, assets
from saev.evaluate.latent_columns import LATENT_COLUMNS

# Written whole from the files of earlier stages, which hold more than the pages read.
PASSED_ON = {structures.SplitFigures, structures.Purity, structures.WholeFigures}
PASSED_ON |= {structures.Summary, structures.Training}
NAMES = {column.name for column in columns.COLUMNS}


def require(hint, value, at="data"):
    """Refuse JSON that isn't what a type says: a missing key, one too many, another type of
    value."""
    kind, inner = get_origin(hint), get_args(hint)
    if kind in UNIONS:
        plain = [one for one in inner if fits(one, value)]
        assert plain, f"{at} is {value!r}, not {hint}"
        require(plain[0], value, at)
    elif kind is NotRequired:
        require(inner[0], value, at)
    else:
        assert fits(hint, value), f"{at} is {value!r}, not {hint}"
        if kind is list:
            for i, element in enumerate(value):
                require(inner[0], element, f"{at}[{i}]")
        elif kind is dict:
            for key, element in value.items():
                require(inner[1], element, f"{at}.{key}")
        elif kind is not Literal and hint not in PLAIN:
            require_fields(hint, value, at)


def fits(hint, value):
    """Whether a value is of the kind of a type, whatever is in it."""
    kind = get_origin(hint) or hint
    if kind is Literal:
        return value in get_args(hint)
    if kind is float:
        return type(value) in (int, float)
    return kind is Any or type(value) is (kind if kind in (list, *PLAIN) else dict)


def require_fields(structure, value, at):
    """Refuse an object whose keys aren't the fields of its class."""
    hints = get_type_hints(structure, include_extras=True)
    missing = {name for name, hint in hints.items() if get_origin(hint) is not NotRequired}
    assert not missing - value.keys(), f"{at} has no {sorted(missing - value.keys())}"
    extra = set() if structure in PASSED_ON else value.keys() - hints.keys()
    assert not extra, f"{at} has {sorted(extra)}, which {structure.__name__} doesn't know"
    for name in hints.keys() & value.keys():
        require(hints[name], value[name], f"{at}.{name}")


def page_data(path, start):
    """The document that the script of a page is started with."""
    return json.loads(re.search(rf"<script>{start}\((.*)\);</script>", path.read_text())[1])


def test_the_types_of_the_scripts_are_those_of_the_classes():
    assert PATH.read_text(encoding="utf-8") == declarations(), "make format"


@pytest.mark.parametrize("change", ["missing", "extra", "renamed", "type"])
def test_a_structure_that_differs_from_its_class_is_noticed(change):
    value = {"train": [[1, 0.5]], "held_out": []}
    require(structures.Curve, value)
    if change in ("missing", "renamed"):
        del value["held_out"]
    if change in ("extra", "renamed"):
        value["test"] = []
    if change == "type":
        value["train"] = "none"
    with pytest.raises(AssertionError):
        require(structures.Curve, value)


@pytest.mark.slow
def test_a_run_is_given_to_its_page_as_the_scripts_expect_it(built):
    for dashboard in built.folder.glob("results/pets-*/tiny-*/*/named-*/dashboard"):
        require(structures.About, page_data(dashboard / names.PAGE, "start"))
        require(structures.Columns, script_data(dashboard / names.FIGURES))
        require(structures.ImageNames, script_data(dashboard / names.NAMES))
        require(structures.Strongest, script_data(dashboard / names.STRONGEST))
        require(structures.ImageBlock, script_data(dashboard / names.image_block(0)))
        require(structures.PageBlock, script_data(dashboard / names.block(0)))
        require(structures.ContrastIndex, script_data(dashboard / names.contrast_index(0)))
        require(structures.ContrastBlock, script_data(dashboard / names.contrast_block(0, 0)))
        require(structures.Directions, script_data(dashboard / names.directions(0)))
        if (dashboard / names.heat(0)).exists():
            require(structures.Heat, script_data(dashboard / names.heat(0)))


@pytest.mark.slow
def test_the_gallery_is_given_what_its_scripts_expect(built):
    require(structures.Gallery, page_data(built.folder / "results" / names.PAGE, "gallery"))


def test_a_frontier_is_given_as_the_scripts_expect_it():
    runs = [run("s.k-1-ab", 1, 0.5), run("s.k-2-cd", 2, 0.6)]
    require(list[structures.Frontier], frontiers(runs, {"s": ["s.k-1-ab", "s.k-2-cd"]}))


def test_every_script_and_style_sheet_is_part_of_a_page():
    for kind, pages in (("js", SCRIPTS), ("css", STYLES)):
        used = {name for page in pages.values() for name in page.split()}
        assert {path.stem for path in ASSETS.glob(f"*.{kind}")} == used


@pytest.mark.slow
def test_every_column_that_the_page_knows_is_in_the_table_of_an_analysis(built):
    (path, _) = built.folder.glob(f"results/pets-*/tiny-*/*/named-*/{TABLE}")
    table = pyarrow.parquet.read_table(path)
    labels = ("animal", "site")
    known = [
        f"{column.name}.{label}" if column.of_label else column.name
        for column in columns.COLUMNS
        for label in (labels if column.of_label else labels[:1])
    ]
    assert [name for name in known if name not in table.column_names] == []


def test_places_filters_and_scripts_name_columns_that_there_are():
    places = (*columns.CARD, *columns.CARD_UNLABELLED, *columns.TILES, *columns.LABEL_TABLE)
    used = {shown.column for shown in places} | set(columns.ORDERS)
    used |= {filter_.column for filter_ in columns.filters(True, 100)}
    script = assets(SCRIPTS["run"], "js")
    asked = set(re.findall(r'(?:columnOf|numbers|texts)\("(\w+)"', script))
    assert asked >= {"image_count", "fire_count"}
    assert used - NAMES == set()
    # Scripts ask first whether the evaluation has its columns.
    assert asked - NAMES - {column.name for column in LATENT_COLUMNS} == set()


def test_a_run_without_labels_shows_nothing_that_needs_one():
    of_label = {column.name for column in columns.COLUMNS if column.of_label}
    places = (*columns.CARD_UNLABELLED, *columns.TILES, *columns.filters(False, 100))
    assert [place for place in places if place.column in of_label] == []
    assert [f.usual for f in columns.filters(False, 100) if f.key == "min"] == [1]
    assert [f.usual for f in columns.filters(True, 9) if f.key == "min"] == [9]
