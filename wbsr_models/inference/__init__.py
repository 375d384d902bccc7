"""Dynamic inference: from what is routed to pixels.

settings                      what a user may set, as one object
costs, curve                  seconds of a network call, of any size
timing, measured, latency     the same, as measured on the device and kept
planning                      which plan an image gets
planner, tiling, trimming     plans of tiles, of which a dense run is one; how an image is cut; halos that end early
window_planner, windows       plans of windows of one shape, for GPUs
batches, capture              how windows make few network calls, and those one launch
pool, ready                   networks ready to run
memory                        what fits
tile_runner, window_runner    execute a plan
restoring, finite             what is flat stays flat; what overflowed is noticed
in_time                       a budget in time
upscaler, report              all of it, image after image, and what was done
subnet_map                    a picture of that
"""
