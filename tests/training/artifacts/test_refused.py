"""Generators and graphs that can't become an artifact."""

import pytest
import torch
from onnx import ModelProto, TensorProto, helper
from torch import Tensor, nn

from tests.reliability.crafted import crafted_graphs
from training.graphs.parity import solve
from training.graphs.trace import GraphError, check, trace


@pytest.mark.parametrize(
    ("output", "said"),
    [
        (lambda latent: (latent, latent), "got tuple for 64 rows"),
        (lambda latent: torch.zeros(1, 3, 2, 2), r"got shape \(1, 3, 2, 2\) for 64 rows"),
        (lambda latent: latent.repeat(2, 1), r"got shape \(128, 4\) for 64 rows"),
        (lambda latent: latent.sum(), r"got shape \(\) for 64 rows"),
    ],
    ids=["two outputs", "an output that ignores the batch", "two rows for one", "a number"],
)
def test_a_generator_returns_one_tensor_with_a_row_for_each_latent(output, said):
    generator = nn.Module()
    generator.forward = output
    with pytest.raises(GraphError, match=f"one tensor with a row for each input row; {said}"):
        solve(generator, [{"latent": torch.randn(64, 4)}])


def test_an_output_of_as_many_rows_as_the_example_is_found_out():
    class Stubborn(nn.Module):
        def forward(self, latent: Tensor) -> Tensor:
            return torch.ones(2, 3, 2, 2)

    with pytest.raises(GraphError, match=r"batch.* output has a fixed dimension"):
        trace(Stubborn().eval(), {"latent": torch.randn(2, 4)})


CRAFTED = crafted_graphs(8, [4, 4, 1])


def test_a_graph_has_one_output():
    with pytest.raises(GraphError, match="one output; got output, flat"):
        check(CRAFTED["two outputs"])
    empty = helper.make_graph([], "empty", [], [])
    with pytest.raises(GraphError, match="one output; got none"):
        check(helper.make_model(empty, opset_imports=[helper.make_opsetid("", 18)], ir_version=10))


@pytest.mark.parametrize("name", [name for name in CRAFTED if "outside" in name])
def test_weights_elsewhere_are_found_out(name):
    with pytest.raises(GraphError, match="external data"):
        check(CRAFTED[name])


def attribute(model: ModelProto):
    return model.graph.node.add().attribute.add()


PLACES = {
    "an initializer": lambda model: model.graph.initializer.add(),
    "a sparse initializer's values": lambda model: model.graph.sparse_initializer.add().values,
    "a sparse initializer's indices": lambda model: model.graph.sparse_initializer.add().indices,
    "a constant": lambda model: attribute(model).t,
    "a list of tensors": lambda model: attribute(model).tensors.add(),
    "a sparse constant": lambda model: attribute(model).sparse_tensor.values,
    "a list of sparse tensors": lambda model: attribute(model).sparse_tensors.add().indices,
    "an initializer of a body": lambda model: attribute(model).g.initializer.add(),
    "a constant of a body in a body": lambda model: (
        attribute(model).g.node.add().attribute.add().g.node.add().attribute.add().t
    ),
    "one of several bodies": lambda model: attribute(model).graphs.add().sparse_initializer.add().values,
    "a function": lambda model: model.functions.add().node.add().attribute.add().t,
    "a function's default": lambda model: model.functions.add().attribute_proto.add().t,
    "training": lambda model: model.training_info.add().algorithm.initializer.add(),
}
"""Every place where ONNX allows a tensor."""


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("field", ["data_location", "external_data"])
def test_external_data_are_found_in_every_place(place, field):
    model = ModelProto()
    tensor = PLACES[place](model)
    if field == "data_location":
        tensor.data_location = TensorProto.EXTERNAL
    else:
        tensor.external_data.add(key="location", value="elsewhere")
    with pytest.raises(GraphError, match="external data"):
        check(model)
