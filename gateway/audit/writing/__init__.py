"""The one writer of the log: what queues, the groups, the commit thread, and the folder that it writes to.

Imports `log` alone. Nothing else writes entries; what must be written beside them is an errand here.
"""
