"""Bundles of evidence: what an auditor takes away from a log, and how it is verified years later, alone."""
