"""Cases at the gateway: which are open, by what the log holds, and what exchanges may name them."""
