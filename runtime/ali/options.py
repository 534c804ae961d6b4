"""A component's options as a typed record, read once and whole."""

from typing import TypeVar

import msgspec

from innervate.runtime.ali.component import Context
from innervate.runtime.ali.errors import BoardError

T = TypeVar("T", bound=msgspec.Struct)


def read_options(context: Context, kind: type[T]) -> T:
    """Return `context.options` as a `kind`, a msgspec Struct with a default for every field.

    Raises BoardError naming the option when a value is of another type or out of its declared range, or when the key
    is unknown.
    """
    try:
        return msgspec.convert(dict(context.options), kind)
    except msgspec.ValidationError as error:
        known = ", ".join(field.name for field in msgspec.structs.fields(kind))
        step = f"correct [component.{context.name}.options] on the board"
        raise BoardError(context.name, f"options: {error}", f"values for {known}", step) from error
