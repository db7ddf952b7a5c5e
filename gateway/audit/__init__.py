"""The audit log: entries, the one sequencer that writes them, and all that reads, keeps and proves them.

A package for each purpose; imports go downwards only, and packages on one line know nothing of each other
(`lint-imports` holds it)::

    epochs
    following   projections   verification   witnessing
    keeping
    writing   entries
    log
"""
