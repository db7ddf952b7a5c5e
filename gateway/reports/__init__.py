"""Reports from the log: usage, the responsibility list, figures for evaluation. Sums, no personal data."""
