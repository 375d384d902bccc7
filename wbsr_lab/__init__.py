"""What measures the method: the demo, the paper's tables, pages of results, and analyses of a training set."""
