"""A WBSR checkpoint: what its file says beside the weights, and the network that it holds."""
