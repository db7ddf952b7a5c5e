"""Keeps entries for their term: seals what is old, erases what is older still, reads all of it again.

Imports `writing`, for what seals and erases takes its turn between groups, and `log`.
"""
