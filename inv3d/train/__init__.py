"""Training of plugins' networks: data, steps, processes, what is kept, the page."""
