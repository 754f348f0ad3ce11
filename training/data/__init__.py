"""What is learnt from: data sets by name, transforms and the loader."""
