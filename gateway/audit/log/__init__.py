"""The log as it is read: tree and tiles, heads and proofs, and its entries wherever they are.

Imports nothing else of the audit log: everything that writes, keeps or watches the log stands on this.
"""
