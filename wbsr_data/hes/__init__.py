"""Hierarchical equalization sampling as a training set of BasicSR: `HESPairedImageDataset`, and its block `hes`."""
