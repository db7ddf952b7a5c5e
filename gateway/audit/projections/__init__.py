"""Databases that are made from the log and may be thrown away at any time: searches and traces.

Imports `entries`, `log`, and the terms of `keeping`. A new projection brings a `Content` (see
`projection_file`); thread, catching up and damage are the same for all.
"""
