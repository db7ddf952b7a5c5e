"""The region's rules at the gateway: what administrators set, and what decides by it."""
