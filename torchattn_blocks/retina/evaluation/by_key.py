"""An evaluation read as the dictionary that it was before it had attributes: deprecated."""

import warnings
from collections.abc import Iterator, Mapping
from typing import Any


class ReadByKey(Mapping[str, Any]):
    """Something that is read by the keys of `as_data`, with a warning."""

    def as_data(self) -> dict[str, Any]:
        """The dictionary."""
        raise NotImplementedError

    def _before(self) -> dict[str, Any]:
        warnings.warn(
            "an evaluation is no dictionary any more: use its attributes, or as_data()",
            DeprecationWarning,
            stacklevel=3,
        )
        return self.as_data()

    def __getitem__(self, name: str) -> Any:
        """A part of the dictionary."""
        return self._before()[name]

    def __iter__(self) -> Iterator[str]:
        """The keys of the dictionary."""
        return iter(self._before())

    def __len__(self) -> int:
        """How many keys there are."""
        return len(self._before())

    def __bool__(self) -> bool:
        """True, as of any object without a length."""
        return True

    def __ror__(self, other: dict[str, Any]) -> dict[str, Any]:
        """Add the dictionary to another one."""
        return other | self._before()
