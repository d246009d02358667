"""Starts a command, and turns whatever goes wrong into one sentence and an exit code."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click

from .._warnings import AssumptionWarning
from .commands import badnets

NOTHING_FOUND, SOMETHING_FOUND, COULD_NOT_RUN = range(3)

PACKAGE = Path(__file__).parents[1]


def main(arguments: Sequence[str] | None = None) -> None:
    """Run `badnets` and leave with its exit code: 0 nothing found, 1 something found, 2 could not run."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    with warnings.catch_warnings():
        warnings.showwarning = _one_line
        sys.exit(_run(given))


def _run(arguments: list[str]) -> int:
    try:
        code = badnets.main(arguments, prog_name="badnets", standalone_mode=False)
        return code if isinstance(code, int) else NOTHING_FOUND
    except click.UsageError as error:
        where = error.ctx.command_path if error.ctx else "badnets"
        return _refuse(f"{where}: {error.format_message()} (see: {where} --help)")
    except click.Abort:
        return _refuse("badnets: stopped")
    except Exception as error:
        if "--debug" in arguments:
            raise
        reason = " ".join(str(error).split()) or "no message"
        known = isinstance(error, click.ClickException | ValueError | OSError)
        return _refuse(f"badnets: {reason}" if known else f"badnets: {type(error).__name__}: {reason} (see: --debug)")


def _refuse(sentence: str) -> int:
    click.echo(sentence, err=True)
    return COULD_NOT_RUN


def _one_line(message: Warning | str, category: type[Warning], filename: str, *_: Any, **__: Any) -> None:
    """Print a warning of this library in one line; those of others say nothing to a person who runs a command."""
    if issubclass(category, AssumptionWarning) or Path(filename).is_relative_to(PACKAGE):
        click.echo(f"badnets: warning: {message}", err=True)
