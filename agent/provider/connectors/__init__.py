"""Read-only, batched ways to a department's own databases, files and services."""
