"""Decoded images that stay where the training computes, so that a batch is one gather there.

options     `resident` and `resident_mb` of a training set
pixels      one side's images as one array on a device, and crops out of it
filling     all images decoded into it, where they fit
loader      what takes the place of a DataLoader
"""
