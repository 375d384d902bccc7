"""Files of weights: how they are read and written (`files`), and what of them a network asks for (`fitting`).

Nothing here needs BasicSR.
"""
