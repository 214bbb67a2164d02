"""Context managers that cannot be used as decorators.

The result of `contextlib.contextmanager` is also a decorator: if you call it with a tensor, it
silently returns a function.
"""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from functools import wraps
from types import TracebackType
from typing import Any, Generic, NoReturn, ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")


class With(AbstractContextManager[T], Generic[T]):
    """The return value of a function for the ``with`` statement. Calling it is an error."""

    def __init__(self, name: str, manager: AbstractContextManager[T]) -> None:
        self._name = name
        self._manager = manager

    def __enter__(self) -> T:
        return self._manager.__enter__()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> bool | None:
        return self._manager.__exit__(kind, error, traceback)

    def __call__(self, *args: Any, **kwargs: Any) -> NoReturn:
        raise TypeError(
            f"{self._name}: it must be used in a with statement, got a call: "
            f"with {self._name}(model): model(x)"
        )


def for_with(function: Callable[P, Iterator[T]]) -> Callable[P, With[T]]:
    """Make a context manager of a generator function, as `contextlib.contextmanager` does."""

    @wraps(function)
    def made(*args: P.args, **kwargs: P.kwargs) -> With[T]:
        return With(function.__name__, contextmanager(function)(*args, **kwargs))

    return made
