"""Feature planes: how points read them and what the decoder makes of it."""
