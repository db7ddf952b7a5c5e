"""The officers' stream: entries from an index on, first old ones, then those that come.

Imports `log` and `entries`, never `projections`: who follows needs no database.
"""
