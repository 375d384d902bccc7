"""Dynamic inference: from what is routed to pixels.

settings    what a user may set, as one object
costs       seconds of a network call      latency    the same, measured
planner     from the patches' subnets to a plan: tiles, or one dense run      tiling, trimming    how they are cut
pool        networks ready to run          memory     what fits
runner      executes a plan                upscaler   all of it, image after image
"""
