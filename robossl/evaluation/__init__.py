"""Is it any good: prediction, probes, goals, control, statistics, and the report that says so."""
