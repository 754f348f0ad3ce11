"""The Open Inference Protocol: KServe's version 2 of asking a model over HTTP."""
