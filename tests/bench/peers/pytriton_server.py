"""PyTriton: Triton's server and its dynamic batcher, with the engine in a process of its own."""

import os
import sys

import numpy as np
import onnxruntime
from pytriton.decorators import batch
from pytriton.model_config import DynamicBatcher, ModelConfig, Tensor
from pytriton.triton import Triton, TritonConfig

session = onnxruntime.InferenceSession(os.environ["PEER_GRAPH"], providers=["CPUExecutionProvider"])


@batch
def infer(latent: np.ndarray) -> list[np.ndarray]:
    """Run a batch."""
    return [session.run(None, {"latent": latent})[0]]


if __name__ == "__main__":
    port = int(sys.argv[1])
    config = TritonConfig(
        http_address="127.0.0.1", http_port=port, grpc_port=port + 1, metrics_port=port + 2, log_verbose=0
    )
    with Triton(config=config) as triton:
        triton.bind(
            model_name="generator",
            infer_func=infer,
            inputs=[Tensor(name="latent", dtype=np.float32, shape=(100,))],
            outputs=[Tensor(name="output", dtype=np.uint8, shape=(32, 32, 1))],
            config=ModelConfig(max_batch_size=64, batcher=DynamicBatcher(max_queue_delay_microseconds=0)),
        )
        triton.serve()
