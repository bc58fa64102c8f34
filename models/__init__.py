"""Architectures and their weights. Knows neither clips nor Ray."""
