"""What the region knows: organisations, resources, key bundles."""
