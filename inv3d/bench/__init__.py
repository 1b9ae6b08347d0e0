"""What a step costs, and what a plain reference implementation of it costs, in one run."""
