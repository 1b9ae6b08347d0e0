"""What authors of plugins test with: the toy generator, fixtures, a conformance suite a kind."""
