"""What the operators share: the table's settings, cancellation, and which batch a mapped instance works on."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NotRequired, TypedDict

from airflow.sdk import BaseOperator, Context

from deep_store_sync.settings import TableSync

CANCELLED = "the task was cancelled"

# What is longer, Airflow cuts off.
_LONGEST_NAME = 250

MAP_INDEX_TEMPLATE = f"{{{{ task.batch.get('name', task.batch['id'])[:{_LONGEST_NAME}] }}}}"
"""How an instance of a batch's task is named: by the segments that it works on."""


class Batch(TypedDict):
    """What travels between tasks of a batch: its id, the URL of the plan that it is a part of, its name for people."""

    id: str
    plan: str
    name: NotRequired[str]


class TableOperator(BaseOperator):
    """A step of a table's run. A cancelled task stops at its next safe point: `stopping` is then true."""

    ui_color = "#e8f3ee"

    def __init__(self, *, settings: TableSync, **kwargs: Any) -> None:
        super().__init__(**{"execution_timeout": settings.task_timeout, **kwargs})
        self.settings = settings
        self._killed = False

    def on_kill(self) -> None:
        """Asks the running step to stop. Airflow calls it when the task is cleared or marked, or its worker stops.

        It does so in a signal handler, in the middle of anything, so this does nothing but note it. A few seconds later
        the process is killed.
        """
        self._killed = True

    def stopping(self) -> bool:
        """Whether the task was cancelled."""
        return self._killed


class BatchOperator(TableOperator):
    """A step of one batch. `batch` usually comes from mapping over what `FindStaleSegments` returns."""

    template_fields: Sequence[str] = ("batch",)

    def __init__(self, *, settings: TableSync, batch: Batch, **kwargs: Any) -> None:
        super().__init__(settings=settings, **{"map_index_template": MAP_INDEX_TEMPLATE, **kwargs})
        self.batch = batch

    @staticmethod
    def last_try(context: Context) -> bool:
        """Whether an error that may pass fails the task for good this time."""
        task = context["ti"]
        return task.try_number > task.max_tries
