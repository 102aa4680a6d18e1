"""Keeps the deep store of an Apache Pinot table in sync with its config and schema. Imports no Airflow."""
