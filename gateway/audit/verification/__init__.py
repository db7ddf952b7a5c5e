"""Reads a gateway's folder offline and verifies it: nobody's word is taken but that of the log's key.

Imports `log` alone, nothing of what writes.
"""
