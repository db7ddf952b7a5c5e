"""Catalogue entries in files: spreadsheets (XLSX) and JSON, many at once, every fault with its place."""
