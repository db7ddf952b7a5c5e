"""Keeps the log witnessed: asks witnesses to cosign its heads, and hears what they hold against it.

Imports `log`, and `entries` for alerts.
"""
