"""Testing by dynamic inference: validations of BasicSR's loops, what they are compared with, and calibration."""
