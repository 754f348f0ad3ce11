"""Export of a generator to ONNX: one file, dynamic batch, uint8 NHWC images as input and output."""

import numpy as np
import onnx
import onnx_ir as ir
import torch
from onnx_ir.passes.common import RemoveUnusedNodesPass
from torch import Tensor, nn

from serving.errors import EngineError, UserError
from serving.runtime.onnx_file.weights import must_be_inside
from training.graphs.opencv_rules import OPENCV_RULES
from training.graphs.pixels import as_fed, to_pixels
from training.graphs.rewrite import rewrite

OPSET = 18
"""ONNX opset. From opset 22, ONNX Runtime runs instance normalisation on the CPU, even under CUDA."""


class GraphError(UserError):
    """A generator can't be exported as a graph that runs wherever ONNX Runtime does."""


class Ends(nn.Module):
    """A generator with a graph's interface: its inputs in order, with uint8 NHWC images in and out.

    The second output is the generator's own float output. Parity is measured on it. Exported graphs do not
    have it.
    """

    def __init__(self, generator: nn.Module, names: list[str]) -> None:
        super().__init__()
        self.generator, self.names = generator, names

    def forward(self, *inputs: Tensor) -> tuple[Tensor, Tensor]:
        """Return uint8 images (N, H, W, C) or float32 vectors (N, D), and the generator's own output."""
        fed = {name: as_fed(value) for name, value in zip(self.names, inputs, strict=True)}
        output = self.generator(**fed)
        return (to_pixels(output) if output.ndim == 4 else output.clone()), output


def trace(generator: nn.Module, example: dict[str, Tensor], multiple: int = 1) -> onnx.ModelProto:
    """Export a generator with two outputs, `output` and `float_output`, without metadata of the exporter.

    Operators that OpenCV 4 lacks are replaced.

    Args:
        generator: the generator, in evaluation mode, on the CPU. It is called with the example by name.
        example: the graph's inputs, with at least two rows and images as uint8 NHWC. The first dimension
            becomes the dynamic batch. An image's height and width are dynamic too.
        multiple: number that divides every height and width of an image.

    Raises:
        GraphError: weights are not finite, or the batch or an image's size is fixed in the graph.
    """
    for key, value in generator.state_dict().items():
        if value.is_floating_point() and not torch.isfinite(value).all():
            raise GraphError(f"the weights must be finite; got NaN or infinity in {key}; train the run again")
    # One input names the batch. The exporter infers that the others share it; naming it again would warn.
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
    model = rewrite(model, OPENCV_RULES, then=()) or model
    _must_vary(model)
    return model


def _must_vary(model: onnx.ModelProto) -> None:
    """Check that a graph's batch is dynamic, and its image size too if its input is an image.

    Raises:
        GraphError: a dimension is fixed.
    """
    sized = any(len(node.type.tensor_type.shape.dim) == 4 for node in model.graph.input)
    for node in (*model.graph.input, *model.graph.output):
        dimensions = node.type.tensor_type.shape.dim
        images = sized and node.type.tensor_type.elem_type == onnx.TensorProto.UINT8
        if not all(dimension.dim_param for dimension in dimensions[: 3 if images else 1]):
            raise GraphError(
                f"the batch size and the image size must be dynamic; {node.name} has a fixed dimension; use "
                "reshape with -1 instead of len or shape[0] in the generator"
            )


def only(model: onnx.ModelProto, output: str) -> onnx.ModelProto:
    """Return a copy of a graph with one of its outputs."""
    kept = ir.from_proto(model)
    (wanted,) = (value for value in kept.graph.outputs if value.name == output)
    kept.graph.outputs[:] = [wanted]
    RemoveUnusedNodesPass()(kept)
    return ir.to_proto(kept)


def finish(model: onnx.ModelProto, properties: dict[str, str]) -> bytes:
    """Set a graph's metadata properties, check it and serialize it deterministically.

    Raises:
        GraphError: the graph fails `check`.
    """
    onnx.helper.set_model_props(model, properties)
    check(model)
    data: bytes = model.SerializeToString(deterministic=True)
    return data


def check(model: onnx.ModelProto) -> None:
    """Check that a graph is portable.

    Raises:
        GraphError: the graph is not valid ONNX, uses another opset or another operator domain, has a fixed
            batch or several outputs, or has weights that are outside the file or not finite.
    """
    try:
        must_be_inside(model.SerializeToString())
        onnx.checker.check_model(model, full_check=True)
    except EngineError as error:
        raise GraphError(str(error)) from error
    except (onnx.checker.ValidationError, onnx.shape_inference.InferenceError) as error:
        raise GraphError(f"the graph is not valid ONNX: {error}") from error
    if len(model.graph.output) != 1:
        names = ", ".join(value.name for value in model.graph.output)
        raise GraphError(f"a graph must have one output; got {names or 'none'}")
    _must_vary(model)
    opsets = {imported.domain or "ai.onnx": imported.version for imported in model.opset_import}
    if opsets != {"ai.onnx": OPSET}:
        raise GraphError(f"a graph must use only ai.onnx {OPSET}; got {opsets}")
    for weight in model.graph.initializer:
        if not np.isfinite(onnx.numpy_helper.to_array(weight)).all():
            raise GraphError(f"the weights must be finite; got NaN or infinity in {weight.name}")


def _anonymise(model: onnx.ModelProto) -> None:
    """Remove the exporter's metadata: versions, paths and stack traces."""
    model.producer_name, model.producer_version, model.doc_string = "gan-zoo", "", ""
    model.ClearField("metadata_props")
    graph = model.graph
    for part in (graph, *graph.node, *graph.input, *graph.output, *graph.value_info, *graph.initializer):
        part.doc_string = ""
        part.ClearField("metadata_props")
