"""Public names that are imported on first use (PEP 562).

Importing the package then takes no time, and a command's ``--help`` does not load torch.
"""

import sys
from collections.abc import Callable, Mapping
from importlib import import_module
from typing import Any


def missing(owner: str, module: str | None, extra: str) -> ModuleNotFoundError:
    """The error if a package from an extra is missing."""
    return ModuleNotFoundError(
        f"{owner} needs {module}, of the extra [{extra}]. In a clone of the repository: "
        f"pip install '.[{extra}]'",
        name=module,
    )


def lazy(
    package: str, modules: Mapping[str, str], extra: str = ""
) -> tuple[Callable[[str], Any], Callable[[], list[str]], list[str]]:
    """The ``__getattr__``, ``__dir__`` and ``__all__`` of a package.

    `modules` gives the module of each public name, relative to the package. If the name is the last
    part of this path, such as ``"functional"``, it is the module itself. `extra` is the extra to
    install if a package is missing.
    """

    def __getattr__(name: str) -> Any:  # noqa: N807
        if name not in modules:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        path = modules[name]
        try:
            module = import_module(path, package)
        except ModuleNotFoundError as error:
            if not extra or (error.name or "").startswith("torchattn_blocks"):
                raise
            raise missing(package, error.name, extra) from error
        value = module if path.endswith(f".{name}") else getattr(module, name)
        setattr(sys.modules[package], name, value)  # no longer needs this function
        return value

    def __dir__() -> list[str]:  # noqa: N807
        return sorted({*vars(sys.modules[package]), *modules})

    return __getattr__, __dir__, sorted(modules)
