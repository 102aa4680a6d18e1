"""The page "Deep store sync" in Airflow's UI: its routes, and what runs in the browser, in `static`."""
