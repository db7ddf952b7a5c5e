"""The exchange of a region: authenticates, authorises, routes, audits; it never reads sealed fields.

Reading order: `interceptors` → `path` → `access` → `routing` → `audit`. What it knows of the region
(`state`) is a fold of its own log; whatever changes the region goes through the `registrar`.
"""
