"""What a log is signed as: its key and how it is changed, and the epoch that two people open after a loss.

Above all others: `verification` and the heads that witnesses hold tell what a loss has left.
"""
