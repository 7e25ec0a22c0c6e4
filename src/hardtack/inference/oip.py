"""The Open Inference Protocol, version 2, in JSON: a network's tensors, unprepared."""

from __future__ import annotations

import json
import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hardtack import __version__
from hardtack.core.errors import PictureError
from hardtack.inference.model import Model
from hardtack.inference.runtime import Port

TYPES = {
    "BOOL": (np.bool_, "tensor(bool)"),
    "UINT8": (np.uint8, "tensor(uint8)"),
    "INT32": (np.int32, "tensor(int32)"),
    "INT64": (np.int64, "tensor(int64)"),
    "FP16": (np.float16, "tensor(float16)"),
    "FP32": (np.float32, "tensor(float)"),
    "FP64": (np.float64, "tensor(double)"),
}
"""The protocol's type → numpy's and ONNX Runtime's."""


def server_metadata() -> dict[str, Any]:
    return {"name": "hardtack", "version": __version__, "extensions": []}


def model_metadata(name: str, model: Model) -> dict[str, Any]:
    """What the model, served as `name`, takes in and puts out."""
    session = model.main.session
    return {
        "name": name,
        "versions": [model.package.version],
        "platform": "onnxruntime_onnx",
        "inputs": [_described(port) for port in session.inputs],
        "outputs": [_described(port) for port in session.outputs],
    }


def infer(name: str, model: Model, body: bytes) -> dict[str, Any]:
    """The reply to an inference request. Raises PictureError, ModelError for an unusable one."""
    try:
        request = json.loads(body)
    except (ValueError, RecursionError):
        raise _bad("The body is not JSON") from None
    if not isinstance(request, dict) or not isinstance(request.get("inputs"), list):
        raise _bad("The body has no list of inputs")
    session = model.main.session
    inputs = dict(_tensor(entry) for entry in request["inputs"])
    expected = {port.name for port in session.inputs}
    if set(inputs) != expected:
        raise _bad(f"The inputs are {sorted(inputs)}; expected {sorted(expected)}")
    outputs = _wanted(request, [port.name for port in session.outputs])
    values = session.run(outputs, inputs)
    answer = {
        "model_name": name,
        "model_version": model.package.version,
        "outputs": [_entry(*pair) for pair in zip(outputs, values, strict=True)],
    }
    return answer | ({"id": request["id"]} if isinstance(request.get("id"), str) else {})


def _wanted(request: dict[str, Any], known: list[str]) -> list[str]:
    """The outputs that the request names; all where it names none."""
    asked = request.get("outputs") or known
    if not isinstance(asked, list):
        raise _bad("The outputs are not a list")
    names = [entry.get("name") if isinstance(entry, dict) else entry for entry in asked]
    if unknown := [name for name in names if name not in known]:
        raise _bad(f"The outputs {unknown} don't exist; there are {known}")
    return [str(name) for name in names]


def _tensor(entry: Any) -> tuple[str, NDArray[Any]]:
    if not isinstance(entry, dict) or not isinstance(entry.get("name"), str):
        raise _bad("An input has no name")
    name, shape, datatype = entry["name"], entry.get("shape"), entry.get("datatype")
    if not isinstance(datatype, str) or datatype not in TYPES:
        raise _bad(f"The input {name!r} has the datatype {datatype!r}; known: {list(TYPES)}")
    if not isinstance(shape, list) or not all(type(n) is int and n >= 0 for n in shape):
        raise _bad(f"The input {name!r} has the shape {shape!r}; expected whole numbers")
    try:
        values: NDArray[Any] = np.asarray(entry.get("data"), TYPES[datatype][0]).reshape(-1)
    except (TypeError, ValueError, OverflowError):
        raise _bad(f"The data of the input {name!r} is not a list of {datatype}") from None
    if len(values) != math.prod(shape):
        raise _bad(f"The input {name!r} has {len(values)} values, its shape says {shape}")
    return name, values.reshape(shape)


def _entry(name: str, value: NDArray[Any]) -> dict[str, Any]:
    kind = next((ours for ours, (dtype, _) in TYPES.items() if value.dtype == dtype), "BYTES")
    data = value.reshape(-1).tolist()
    return {"name": name, "shape": list(value.shape), "datatype": kind, "data": data}


def _described(port: Port) -> dict[str, Any]:
    kind = next((ours for ours, (_, theirs) in TYPES.items() if port.type == theirs), "BYTES")
    return {"name": port.name, "datatype": kind, "shape": list(port.shape)}


def _bad(what: str) -> PictureError:
    return PictureError(f"{what}.", remedy="See the Open Inference Protocol, version 2.")
