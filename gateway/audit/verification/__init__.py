"""Reads a gateway's folder offline and verifies it: nobody's word is taken but that of the log's key.

Imports `log` and the names of a folder's files from `writing`; nothing that runs with the gateway.
"""
