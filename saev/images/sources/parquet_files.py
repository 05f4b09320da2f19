"""What parquet files hold: which of their columns are needed, and where files differ in those.

Only the needed columns are read. Others may be of any type, and files need not agree in them.
"""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import unquote

import pyarrow
import pyarrow.compute as pc

from saev.core.errors import UserError
from saev.images.sources.parquet_images import ParquetImages, is_bytes, reading

NO_VALUE = "__HIVE_DEFAULT_PARTITION__"
"""What Hive and Spark call a folder for rows without a value."""


class ParquetFiles(NamedTuple):
    """Parquet files with a column of images, looked at without reading a row."""

    base: Path
    names: list[str]
    schemas: list[pyarrow.Schema]
    n_rows: list[int]
    """Rows of each file. Some programs write files without any."""
    image: str
    """Name of the column of images."""
    classes: list[dict[str, list[str]]]
    """Names of the classes of those columns that hold their numbers, by column, for each file."""

    @classmethod
    def opened(cls, base: Path, names: list[str], image: str, key: str | None) -> "ParquetFiles":
        """Read the schemas, and check that all files have the columns of images and keys.

        Raises:
            UserError: a file can't be read, lacks a column, or has it twice; or files differ in the
                column of images, or in whether a column has names of classes.
        """
        opened = [_opened(base / name) for name in names]
        schemas, n_rows = [schema for schema, _ in opened], [n for _, n in opened]
        found = cls(base, names, schemas, n_rows, image, [_classes(schema) for schema in schemas])
        for name, schema in zip(names, schemas, strict=True):
            for column in dict.fromkeys((image, key or image)):
                if column not in (*schema.names, *found.folders(name)):
                    raise UserError(
                        f"{base / name} has no column {column!r}; its columns are: "
                        f"{', '.join(schema.names)}. Set `image` to the one with the images."
                    )
            double = next((c for c in schema.names if schema.names.count(c) > 1), None)
            if double is not None:
                raise UserError(f"{base / name} has several columns called {double!r}: rename them")
        kinds: dict[str, str] = {}
        for name, schema in zip(names, schemas, strict=True):
            kinds.setdefault(_kind(f"{base / name}", image, schema), name)
        if len(kinds) > 1:
            differing = ", ".join(f"{kind} in {name}" for kind, name in kinds.items())
            raise UserError(
                f"{base}: the column {image!r} holds {differing}: write all files with images of "
                f"one kind, or name those that belong together"
            )
        found._share_classes()
        return found

    def _share_classes(self) -> None:
        """Give files with numbers of classes the names that other files have for them.

        Raises:
            UserError: those files differ in the names.
        """
        for column in sorted({column for one in self.classes for column in one}):
            stated = {tuple(one[column]): i for i, one in enumerate(self.classes) if column in one}
            for name, schema, one in zip(self.names, self.schemas, self.classes, strict=True):
                if column in one or column not in schema.names:
                    continue
                if not pyarrow.types.is_integer(schema.field(column).type):
                    continue
                if len(stated) > 1:
                    texts = " and ".join(self.names[i] for i in stated.values())
                    raise UserError(
                        f"{self.base / name}: the column {column!r} holds numbers of classes, but "
                        f"their names aren't in the file, and {texts} differ in them: write the "
                        f"names of the classes into the column"
                    )
                one[column] = list(next(iter(stated)))

    def folders(self, name: str) -> dict[str, str | None]:
        """Columns that the folders of a file state: ``species=cat/0.parquet``."""
        pairs = [p.split("=", 1) for p in (self.base / name).parts[:-1] if "=" in p]
        return {key: None if value == NO_VALUE else unquote(value) for key, value in pairs if key}

    def columns(self) -> dict[str, pyarrow.DataType]:
        """Columns of text and numbers by name: those that at least one file, or folder, has.

        Their type is that of all files, or text if these differ.
        """
        types: dict[str, list[pyarrow.DataType]] = {}
        files = zip(self.names, self.schemas, self.classes, strict=True)
        for name, schema, classes in files:
            of_folders = dict.fromkeys(self.folders(name), pyarrow.string())
            for column, kind in {**of_folders, **_scalars(schema, classes)}.items():
                if column != self.image:
                    types.setdefault(column, []).append(kind)
        return {name: _common(found) for name, found in types.items()}

    def batches(self, size: int) -> Iterator[tuple[str, dict[str, pyarrow.Array], int]]:
        """Read the columns of text and numbers.

        Args:
            size: most rows to read at once.

        Yields:
            the file's name, the columns that it has, and their number of rows.
        """
        types = self.columns()
        for name, schema, classes in zip(self.names, self.schemas, self.classes, strict=True):
            scalars = _scalars(schema, classes)
            stated = self.folders(name)
            with reading(self.base / name) as file:
                # Without a column to read, the batches have the right number of rows all the same.
                for batch in file.iter_batches(size, columns=[c for c in scalars if c in types]):
                    found = {}
                    for column, kind in types.items():
                        if column in scalars:
                            where = f"{self.base / name}: the column {column!r}"
                            found[column] = _cast(
                                where, batch.column(column), kind, classes.get(column)
                            )
                        else:
                            found[column] = pyarrow.repeat(
                                pyarrow.scalar(stated.get(column), kind), batch.num_rows
                            )
                    yield name, found, batch.num_rows

    @property
    def images(self) -> ParquetImages:
        """The column of images."""
        kinds = [schema.field(self.image).type for schema in self.schemas]
        kinds = [k.value_type if pyarrow.types.is_dictionary(k) else k for k in kinds]
        return ParquetImages(self.base, self.names, kinds, self.image)


def _opened(path: Path) -> tuple[pyarrow.Schema, int]:
    """Schema and number of rows of a file."""
    with reading(path) as file:
        return file.schema_arrow, file.metadata.num_rows


def _kind(where: str, image: str, schema: pyarrow.Schema) -> str:
    """What a column of images holds, in words."""
    if image not in schema.names:
        raise UserError(f"{where}: the images must be a column of the file, not of its folders")
    kind, types = schema.field(image).type, pyarrow.types
    if isinstance(kind, pyarrow.BaseExtensionType):
        kind = kind.storage_type
    if types.is_dictionary(kind):
        kind = kind.value_type
    if is_bytes(kind):
        return "bytes"
    if types.is_string(kind) or types.is_large_string(kind) or types.is_string_view(kind):
        return "paths"
    if types.is_struct(kind) and {"bytes", "path"} & {field.name for field in kind}:
        return "bytes and paths"
    if types.is_nested(kind) and not types.is_struct(kind):
        raise in_lists(f"{where}: the column {image!r}", str(kind))
    raise UserError(
        f"{where}: the column {image!r} holds {kind}, not images (bytes, paths, or both). Set "
        f"`image` to the one with the images."
    )


def in_lists(column: str, kind: str) -> UserError:
    """The error for a column of lists.

    `datasets` would take any list for pixels, and make dark images of most types of numbers.

    Args:
        column: where it is, for the message; ``kind``: what it holds, as its library calls it.
    """
    if re.search(r"struct|binary|string|map|Image|{", kind):
        return UserError(
            f"{column} holds lists ({kind}), not one image in each row: write each image into a "
            f"row of its own"
        )
    return UserError(
        f"{column} holds lists of numbers, not images: store each image as a file (PNG) in a "
        f"column of bytes"
    )


def _scalars(schema: pyarrow.Schema, classes: dict[str, list[str]]) -> dict[str, pyarrow.DataType]:
    """Types of the columns of text and numbers, as they are after `_cast`."""
    found = {}
    types = pyarrow.types
    for field in schema:
        kind = field.type.value_type if types.is_dictionary(field.type) else field.type
        texts = (types.is_large_string, types.is_string_view, types.is_null)
        if field.name in classes or any(is_text(kind) for is_text in texts):
            kind = pyarrow.string()
        if types.is_primitive(kind) or types.is_string(kind) or types.is_decimal(kind):
            found[field.name] = kind
    return found


def _classes(schema: pyarrow.Schema) -> dict[str, list[str]]:
    """Names of the classes of those columns that hold their numbers, as `datasets` writes them."""
    if b"huggingface" not in (schema.metadata or {}):
        return {}
    import datasets

    try:
        features = datasets.Features.from_arrow_schema(schema)
    except (TypeError, ValueError, KeyError, NotImplementedError):
        return {}
    return {
        name: feature.names
        for name, feature in features.items()
        if isinstance(feature, datasets.ClassLabel) and feature.names is not None
    }


def _common(types: list[pyarrow.DataType]) -> pyarrow.DataType:
    if all(kind == types[0] for kind in types):
        return types[0]
    # As texts, equal times and decimals would differ if files keep different numbers of digits.
    named = pyarrow.types
    kinds = (named.is_timestamp, named.is_duration, named.is_time, named.is_decimal)
    if any(all(map(is_kind, types)) for is_kind in kinds):
        schemas = [pyarrow.schema([("", kind)]) for kind in types]
        try:
            return pyarrow.unify_schemas(schemas, promote_options="permissive").field(0).type
        except pyarrow.ArrowTypeError:
            pass  # other time zones
    return pyarrow.string()


def _cast(
    where: str, column: pyarrow.Array, kind: pyarrow.DataType, classes: list[str] | None
) -> pyarrow.Array:
    if classes is not None:
        return class_texts(where, column, classes)
    if pyarrow.types.is_dictionary(column.type):
        column = column.dictionary_decode()
    if pyarrow.types.is_floating(column.type) and pyarrow.types.is_string(kind):
        # As a text, NaN would look like a value.
        column = pc.if_else(pc.is_finite(column), column, None)
    return column.cast(kind)


def class_texts(where: str, numbers: pyarrow.Array, names: list[str]) -> pyarrow.Array:
    """Names of classes for their numbers; negative numbers stand for none.

    Raises:
        UserError: a number has no name.
    """
    largest = pc.max(numbers).as_py()
    if largest is not None and largest >= len(names):
        raise UserError(
            f"{where} holds the class {largest}, but has names for 0 to {len(names) - 1} only: "
            f"correct the numbers, or the names of the classes"
        )
    known = pc.if_else(pc.less(numbers, 0), None, numbers)
    return pyarrow.array(names, pyarrow.string()).take(known)


def image_features(found: ParquetFiles) -> Any:
    """The column of images for `datasets`, so that it looks at no other column.

    It takes any of the kinds that `_kind` allows, also where files differ in how they write them.
    """
    import datasets

    kinds = [schema.field(found.image).type for schema in found.schemas]
    encoded = [kind.value_type for kind in kinds if pyarrow.types.is_dictionary(kind)]
    if encoded:
        # It can decode a dictionary, but makes no images of it in the same step.
        texts = any(map(pyarrow.types.is_string, encoded))
        return datasets.Features({found.image: datasets.Value("string" if texts else "binary")})
    views = (pyarrow.types.is_binary_view, pyarrow.types.is_string_view)
    if any(is_view(kind) for kind in kinds for is_view in views):
        texts = any(map(pyarrow.types.is_string_view, kinds))
        return datasets.Features({found.image: datasets.Value("string" if texts else "binary")})
    return datasets.Features({found.image: datasets.Image(decode=False)})
