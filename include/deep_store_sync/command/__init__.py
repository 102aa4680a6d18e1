"""The command line, `deep-store-sync`: what an operator does by hand, without Airflow."""
