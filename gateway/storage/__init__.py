"""Where a gateway keeps its log: ports that state their durability contracts, and what stands behind them."""
