"""scikit-learn's fitted models as ONNX networks: pictures in, scores (logits) out."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from onnx import TensorProto, checker, helper, numpy_helper

INPUT, OUTPUT = "image", "scores"


def perceptron(weights: Sequence[Any], biases: Sequence[Any], height: int, width: int) -> bytes:
    """[1, 1, height, width] → [1, classes]: dense layers with ReLU between them."""
    nodes = [helper.make_node("Flatten", [INPUT], ["layer0"])]
    constants = []
    for n, (weight, bias) in enumerate(zip(weights, biases, strict=True)):
        last = n == len(weights) - 1
        constants += [_constant(f"w{n}", weight), _constant(f"b{n}", bias)]
        target = OUTPUT if last else f"dense{n}"
        nodes.append(helper.make_node("Gemm", [f"layer{n}", f"w{n}", f"b{n}"], [target]))
        if not last:
            nodes.append(helper.make_node("Relu", [target], [f"layer{n + 1}"]))
    return _model(nodes, constants, (height, width), [1, len(biases[-1])])


def patches(weights: Sequence[Any], biases: Sequence[Any], patch: int, side: int) -> bytes:
    """[1, 1, side, side] → [1, 1, side, side] of probabilities.

    A perceptron with one hidden layer that judges the patch around each pixel, as convolutions.
    """
    hidden = weights[0].shape[1]
    margin = patch // 2
    constants = [
        _constant("w0", weights[0].T.reshape(hidden, 1, patch, patch)),
        _constant("b0", biases[0]),
        _constant("w1", weights[1].T.reshape(1, hidden, 1, 1)),
        _constant("b1", biases[1]),
    ]
    # Beyond its edge the picture goes on as it ends, or the edge would look like a part's.
    pads = numpy_helper.from_array(np.array([0, 0, margin, margin] * 2, np.int64), "pads")
    nodes = [
        helper.make_node("Pad", [INPUT, "pads"], ["padded"], mode="edge"),
        helper.make_node("Conv", ["padded", "w0", "b0"], ["hidden"]),
        helper.make_node("Relu", ["hidden"], ["active"]),
        helper.make_node("Conv", ["active", "w1", "b1"], ["logits"]),
        helper.make_node("Sigmoid", ["logits"], [OUTPUT]),
    ]
    return _model(nodes, [*constants, pads], (side, side), [1, 1, side, side])


def energies(filters: Any, weight: Any, bias: Any, side: int) -> bytes:
    """[1, 1, side, side] → [1, 1]: a linear score of the logarithms of filters' mean energies."""
    constants = [
        _constant("filters", filters),
        _constant("floor", np.array([1e-6])),
        _constant("weight", weight.reshape(-1, 1)),
        _constant("bias", bias),
    ]
    nodes = [
        helper.make_node("Conv", [INPUT, "filters"], ["edges"]),
        helper.make_node("Mul", ["edges", "edges"], ["squares"]),
        helper.make_node("GlobalAveragePool", ["squares"], ["means"]),
        helper.make_node("Add", ["means", "floor"], ["floored"]),
        helper.make_node("Log", ["floored"], ["logs"]),
        helper.make_node("Flatten", ["logs"], ["flat"]),
        helper.make_node("Gemm", ["flat", "weight", "bias"], [OUTPUT]),
    ]
    return _model(nodes, constants, (side, side), [1, 1])


def _constant(name: str, values: Any) -> Any:
    return numpy_helper.from_array(np.ascontiguousarray(values, np.float32), name)


def _model(nodes: Any, constants: Any, sides: tuple[int, int], output: list[int]) -> bytes:
    ends = [
        helper.make_tensor_value_info(INPUT, TensorProto.FLOAT, [1, 1, *sides]),
        helper.make_tensor_value_info(OUTPUT, TensorProto.FLOAT, output),
    ]
    graph = helper.make_graph(nodes, "hardtack", [ends[0]], [ends[1]], constants)
    model = helper.make_model(
        graph,
        opset_imports=[helper.make_opsetid("", 17)],
        ir_version=8,
        producer_name="hardtack",
    )
    checker.check_model(model, full_check=True)
    return model.SerializeToString()
