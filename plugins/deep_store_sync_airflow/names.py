"""Names that several components of Airflow know one another by. Importing this costs nothing."""

DAG_PREFIX = "deep_store_sync__"
"""What the id of every DAG of this package begins with."""

REPORT_TASK = "report"
"""The last task of a run."""

PAGE_ROUTE = "deep-store-sync-table"
"""The tab on the page of a DAG that the plugin adds."""

SUMMARY_KEY = "summary"
"""XCom key under which it leaves a line on the run."""
