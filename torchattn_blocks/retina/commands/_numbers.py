"""Options that take several whole numbers."""

import re
from typing import Annotated

from tyro.constructors import PrimitiveConstructorSpec


def read_numbers(words: list[str]) -> tuple[int, ...]:
    """Whole numbers with spaces or commas between them.

    Args:
        words: What follows the option on the command line.

    Raises:
        ValueError: If there is no number, or something that is not a whole number.

    Example:
        >>> from torchattn_blocks.retina.commands._numbers import read_numbers
        >>> read_numbers(["8", "16"]) == read_numbers(["8,16"]) == (8, 16)
        True
    """
    text = " ".join(words)
    try:
        return tuple(int(part) for part in re.split(r"\s*,\s*|\s+", text))
    except ValueError:
        raise ValueError(f"must be whole numbers, like 8 16 or 8,16, got {text!r}") from None


Numbers = Annotated[
    tuple[int, ...] | None,
    PrimitiveConstructorSpec(
        nargs="*",
        metavar="[INT [INT ...]]",
        instance_from_str=read_numbers,
        is_instance=lambda value: value is None or isinstance(value, tuple),
        str_from_instance=lambda numbers: list(map(str, numbers or ["None"])),
    ),
]
