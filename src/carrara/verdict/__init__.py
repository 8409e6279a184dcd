"""Did it help: paired statistics, gates and the report."""
