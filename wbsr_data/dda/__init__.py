"""DDA (IJCNN 2023): patches drawn by the running losses of their difficulty classes.

Only the paper's abstract is public. Our reading: a training is cut in sections of `refresh` iterations. The loss of
class k is the mean absolute error of the outputs on its patches over a section, and its running loss

    l_k = (l_k of the section before + loss of this section) / 2

Classes are drawn with P_k in proportion to N_k·l_k. A section follows the losses as they stood one whole section before
it began. So how far batches are read ahead, and by how many workers, changes no draw, and a resumed training draws what
it would have drawn: sections are numbered from the start of the training.

    iterations   1 .. R    R+1 .. 2R    2R+1 .. 3R    3R+1 .. 4R
    drawn by     uniform   uniform      l after R     l after 2R          R: refresh

options        the `hes` block of a `DDAPairedImageDataset`
class_losses   the bookkeeping: what each section follows
loss_meter     measures the losses while a model trains
plan           from losses to shares and draws

All of it works in the main process, and `wbsr_data/dda_dataset.py` ties it to the training.
"""
