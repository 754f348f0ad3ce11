"""The command line of the torch-free verbs: sample, translate, verify and serve."""
