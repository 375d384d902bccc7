"""WBSR: weight-balanced super-resolution as a plugin for BasicSR."""

__version__ = "0.1.0"
