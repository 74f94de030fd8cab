"""From fitted tasks to a table, plots over what was swept, and a report."""
