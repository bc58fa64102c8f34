"""What several benchmarks share: tables, generated clips, training on noise, trials on Ray."""
