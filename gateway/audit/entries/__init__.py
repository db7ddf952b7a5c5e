"""What entries say: how those that the gateway itself makes are built, and what a filter finds in any.

Imports `log` at most; what it enters goes to the `append` that it is given.
"""
