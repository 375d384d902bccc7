"""How our models are trained: the step, what it computes in, which subnets it trains, and ClassSR's stages.

step            one training step, from a batch to moved weights
compute         number format, memory layout, clipping
moving_average  the averaged weights that are tested
strategy        which subnets a step trains
weight_penalty  λ‖θ‖² of Eq. 14
classsr_*       the losses and options of ClassSR's stages
trained_model   all that at the edge of BasicSR
"""
