"""Run graphs with OpenCV or OpenVINO and print its version: python run.py opencv|openvino GRAPH.onnx...

Beside GRAPH.onnx is GRAPH.inputs.json, a list of inputs by name, which one session runs in turn. This script
writes GRAPH.outputs.json: a list of outputs, or an error as text. An array is {"type", "shape", "data"}.
"""

import json
import sys
from pathlib import Path

import numpy as np


def opencv():
    """Return OpenCV's version and a function that opens a graph."""
    import cv2

    def open_graph(path):
        net = cv2.dnn.readNetFromONNX(str(path))

        def run(inputs):
            for name, array in inputs.items():
                net.setInput(array, name)
            return net.forward()

        return run

    return cv2.__version__, open_graph


def openvino():
    """Return OpenVINO's version and a function that opens a graph on the CPU."""
    import openvino

    def open_graph(path):
        # On some processors, OpenVINO would compute in bf16.
        model = openvino.Core().compile_model(path, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
        return lambda inputs: model(inputs)[0]

    return openvino.__version__.partition("-")[0], open_graph


def load(array):
    return np.array(array["data"], array["type"]).reshape(array["shape"])


def dump(array):
    return {"type": str(array.dtype), "shape": array.shape, "data": array.ravel().tolist()}


def outputs(open_graph, path):
    cases = json.loads(path.with_suffix(".inputs.json").read_text())
    try:
        run = open_graph(path)
        return [dump(run({name: load(array) for name, array in case.items()})) for case in cases]
    except Exception as error:  # the runtimes raise many types of exceptions
        return str(error)


if __name__ == "__main__":
    version, open_graph = {"opencv": opencv, "openvino": openvino}[sys.argv[1]]()
    for path in map(Path, sys.argv[2:]):
        path.with_suffix(".outputs.json").write_text(json.dumps(outputs(open_graph, path)))
    print(version)
