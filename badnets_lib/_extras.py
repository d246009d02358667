"""Packages that one corner of the library needs, and a plain installation leaves out."""

from __future__ import annotations

from importlib.util import find_spec


def need(package: str, what: str) -> None:
    """Stop with one clear error where an optional package is missing.

    Args:
        package: Its name, to import and to install.
        what: What needs it, as the subject of the error's sentence.

    Raises:
        ModuleNotFoundError: It is not installed.
    """
    if find_spec(package) is None:
        reason = f"{what} needs {package}, which is not installed: pip install {package}"
        raise ModuleNotFoundError(reason, name=package)
