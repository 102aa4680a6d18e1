"""A result or an error for every table that a command is about: what goes wrong with one hides no other."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from deep_store_sync.command.exit_codes import DONE, code_of
from deep_store_sync.command.output import all_said, complain, document, said, told
from deep_store_sync.command.tables import Failure
from deep_store_sync.errors import DeepStoreSyncError, NotInTableError
from deep_store_sync.settings import TableSync

T = TypeVar("T")


def for_every_table(
    options: argparse.Namespace,
    tables: Sequence[TableSync | Failure],
    look: Callable[[TableSync], T],
    *,
    tell: Callable[[T], None],
    plain: Callable[[T], Any] = lambda found: found,
    code: Callable[[T], int] = lambda found: DONE,
    **more: Any,
) -> int:
    """Tell what `look` finds of one table after the other, each as soon as it is known; returns the exit code.

    Errors go to standard error. With `--json`, there is one document in the end, also of what was found before an
    interrupt: `more`, and `tables`, each as `plain` gives it, or with `error` and `message`.

    What is asked for by name may be in any of the tables: one without it counts only where none has it.
    """
    results: list[Any] = []
    codes: list[int] = []
    failures: list[Failure] = []
    without: list[Failure] = []
    try:
        for table in tables:
            found = _looked(look, table)
            if not isinstance(found, Failure):
                codes.append(code(found))
                results.append(plain(found))
                if not options.json:
                    tell(found)
                    all_said()
            elif isinstance(found.error, NotInTableError):
                without.append(found)
            else:
                failures.append(found)
                complain(f"deep-store-sync: {found.table}: {said(found.error)}")
        if not codes:
            failures += without
            for failure in without:
                complain(f"deep-store-sync: {said(failure.error)}")
        if failures and len(tables) > 1:
            names = ", ".join(failure.table for failure in failures)
            complain(f"deep-store-sync: {len(failures)} of {len(tables)} without a result: {names}")
    finally:
        if options.json:
            errors = [{"table": failure.table, **told(failure.error)} for failure in failures]
            document({**more, "tables": [*results, *errors]})
    return max([DONE, *codes, *(code_of(failure.error) for failure in failures)])


def _looked(look: Callable[[TableSync], T], table: TableSync | Failure) -> T | Failure:
    if isinstance(table, Failure):
        return table
    try:
        return look(table)
    except (DeepStoreSyncError, OSError) as error:
        return Failure(table.table, error)
