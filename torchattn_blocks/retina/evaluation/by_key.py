"""Deprecated: read an evaluation as the dictionary that it was before it had attributes."""

import warnings
from collections.abc import ItemsView, Iterator, KeysView, Mapping, ValuesView
from typing import Any


class ReadByKey(Mapping[str, Any]):
    """A value that you can read by the keys of `as_data`, with a warning."""

    def as_data(self) -> dict[str, Any]:
        """The dictionary."""
        raise NotImplementedError

    def _before(self) -> dict[str, Any]:
        warnings.warn(
            "an evaluation is no dictionary any more: use its attributes, or as_data()",
            DeprecationWarning,
            stacklevel=3,  # where the user reads it: so no method here calls another one
        )
        return self.as_data()

    def __getitem__(self, name: str) -> Any:
        """See `dict`."""
        return self._before()[name]

    def __iter__(self) -> Iterator[str]:
        """See `dict`."""
        return iter(self._before())

    def __len__(self) -> int:
        """See `dict`."""
        return len(self._before())

    def __bool__(self) -> bool:
        """True, as for any object without a length."""
        return True

    def __contains__(self, name: object) -> bool:
        """See `dict`."""
        return name in self._before()

    def __or__(self, other: Mapping[str, Any]) -> dict[str, Any]:
        """See `dict`."""
        return self._before() | dict(other)

    def __ror__(self, other: Mapping[str, Any]) -> dict[str, Any]:
        """See `dict`."""
        return dict(other) | self._before()

    def get(self, name: str, default: Any = None) -> Any:
        """See `dict`."""
        return self._before().get(name, default)

    def keys(self) -> KeysView[str]:
        """See `dict`."""
        return self._before().keys()

    def values(self) -> ValuesView[Any]:
        """See `dict`."""
        return self._before().values()

    def items(self) -> ItemsView[str, Any]:
        """See `dict`."""
        return self._before().items()

    def copy(self) -> dict[str, Any]:
        """See `dict`."""
        return self._before()
