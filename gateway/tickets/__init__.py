"""Disputes, demands and the quality of resources at the gateway."""
