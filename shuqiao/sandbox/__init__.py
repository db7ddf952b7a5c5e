"""A region of one's own with synthetic data: interfaces as in service, and what must be shown before it."""
