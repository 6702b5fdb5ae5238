"""Is it any good."""
