"""Image files to pixels, and pixels made smaller or larger: the same for data sets, losses, inference and commands."""
