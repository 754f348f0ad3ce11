"""A generator as an ONNX graph: one file, dynamic batch, images uint8 NHWC at both ends."""

import numpy as np
import onnx
import onnx_ir as ir
import torch
from onnx_ir.passes.common import RemoveUnusedNodesPass
from torch import Tensor, nn

from serving.errors import UserError
from training.graphs.pixels import as_fed, to_pixels

OPSET = 18
"""From 22 on ONNX Runtime places instance normalisation on the CPU, even under CUDA."""


class GraphError(UserError):
    """A generator can't become a graph that anyone with ONNX Runtime could use."""


class Ends(nn.Module):
    """A generator with the ends of a graph: its own inputs, in their order, images as uint8 NHWC; and so out.

    The second output is the generator's own, in float; parity is measured on it, and what is exported is
    without it.
    """

    def __init__(self, generator: nn.Module, names: list[str]) -> None:
        super().__init__()
        self.generator, self.names = generator, names

    def forward(self, *inputs: Tensor) -> tuple[Tensor, Tensor]:
        """Give uint8 images (N, H, W, C) or float32 vectors (N, D), and the generator's own output."""
        fed = {name: as_fed(value) for name, value in zip(self.names, inputs, strict=True)}
        output = self.generator(**fed)
        return (to_pixels(output) if output.ndim == 4 else output.clone()), output


def trace(generator: nn.Module, example: dict[str, Tensor], multiple: int = 1) -> onnx.ModelProto:
    """Export a generator with two outputs, `output` and `float_output`, and nothing of this machine in it.

    Args:
        generator: in evaluation mode, on the CPU; called with the example by name.
        example: the graph's inputs, at least two rows, images as uint8 NHWC; the first dimension becomes the
            dynamic batch, and an image's height and width vary too.
        multiple: of which an image's height and width are multiples.

    Raises:
        GraphError: weights are not finite, or the batch came out fixed.
    """
    for key, value in generator.state_dict().items():
        if value.is_floating_point() and not torch.isfinite(value).all():
            raise GraphError(f"{key} holds numbers that are not finite; train again from before they came")
    # One input names the batch; that the others share it is found, and naming it again would warn.
    first, *others = example
    batch = {first: torch.export.Dim("batch", min=1)} | dict.fromkeys(others, torch.export.Dim.AUTO)
    sides = {1: multiple * torch.export.Dim("rows", min=1), 2: multiple * torch.export.Dim("columns", min=1)}
    varying = tuple({0: batch[name]} | (sides if value.ndim == 4 else {}) for name, value in example.items())
    program = torch.onnx.export(
        Ends(generator, list(example)).eval(),
        args=tuple(example.values()),
        dynamo=True,
        opset_version=OPSET,
        external_data=False,
        dynamic_shapes={"inputs": varying},
        input_names=list(example),
        output_names=["output", "float_output"],
        verbose=False,
    )
    assert program is not None
    model: onnx.ModelProto = program.model_proto
    _anonymise(model)
    _must_vary(model)
    return model


def _must_vary(model: onnx.ModelProto) -> None:
    """Refuse a graph whose batch, or size where it is fed images, came out fixed."""
    sized = any(len(node.type.tensor_type.shape.dim) == 4 for node in model.graph.input)
    for node in (*model.graph.input, *model.graph.output):
        dimensions = node.type.tensor_type.shape.dim
        images = sized and node.type.tensor_type.elem_type == onnx.TensorProto.UINT8
        if not all(dimension.dim_param for dimension in dimensions[: 3 if images else 1]):
            raise GraphError(
                f"the batch, or an image's size, of {node.name} is fixed in the graph; a generator that "
                "counts its rows (len, shape[0]) may fix it: reshape with -1 instead"
            )


def only(model: onnx.ModelProto, output: str) -> onnx.ModelProto:
    """Copy what one of a graph's outputs needs."""
    kept = ir.from_proto(model)
    (wanted,) = (value for value in kept.graph.outputs if value.name == output)
    kept.graph.outputs[:] = [wanted]
    RemoveUnusedNodesPass()(kept)
    return ir.to_proto(kept)


def finish(model: onnx.ModelProto, properties: dict[str, str]) -> bytes:
    """Label a graph, check it and write it; the same bytes every time.

    Raises:
        GraphError: the graph is not fit to leave.
    """
    onnx.helper.set_model_props(model, properties)
    check(model)
    data: bytes = model.SerializeToString(deterministic=True)
    return data


def check(model: onnx.ModelProto) -> None:
    """Hold a graph against what every reader of ONNX may expect.

    Raises:
        GraphError: it is not valid ONNX, of another opset or of operators of others, of a fixed batch, or has
            weights outside the file or that are not finite.
    """
    try:
        onnx.checker.check_model(model, full_check=True)
    except (onnx.checker.ValidationError, onnx.shape_inference.InferenceError) as error:
        raise GraphError(f"the graph is not valid ONNX: {error}") from error
    _must_vary(model)
    opsets = {imported.domain or "ai.onnx": imported.version for imported in model.opset_import}
    if opsets != {"ai.onnx": OPSET}:
        raise GraphError(f"a graph must use ai.onnx {OPSET} alone; this one uses {opsets}")
    for weight in model.graph.initializer:
        if weight.external_data:
            raise GraphError(f"{weight.name} is not within the file")
        if not np.isfinite(onnx.numpy_helper.to_array(weight)).all():
            raise GraphError(f"{weight.name} holds numbers that are not finite")


def _anonymise(model: onnx.ModelProto) -> None:
    """Take out what the exporter notes of itself and of the source: versions, paths, stack traces."""
    model.producer_name, model.producer_version, model.doc_string = "gan-zoo", "", ""
    model.ClearField("metadata_props")
    graph = model.graph
    for part in (graph, *graph.node, *graph.input, *graph.output, *graph.value_info, *graph.initializer):
        part.doc_string = ""
        part.ClearField("metadata_props")
