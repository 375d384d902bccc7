"""The ground that all packages stand on: BasicSR mended, option blocks, files, devices, and what objects agree upon."""
