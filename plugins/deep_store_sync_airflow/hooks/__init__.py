"""Hooks: connections of Airflow made into clients."""
