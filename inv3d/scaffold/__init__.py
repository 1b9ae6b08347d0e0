"""Packages of plugins to begin with: `3dinv new-plugin`."""
