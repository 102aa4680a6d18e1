"""The Airflow side: hooks, operators, sensors, triggers and the DAG factory of deep store sync."""
