"""The department's side of the exchange: it asks for data and provides it."""
