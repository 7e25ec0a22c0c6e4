"""The inference server's API as OpenAPI 3.1: served at `/openapi.json`; the tests drive it."""

from __future__ import annotations

from typing import Any

from hardtack import __version__
from hardtack.inference.oip import TYPES
from hardtack.inference.package import TASKS

Schema = dict[str, Any]

_TEXT: Schema = {"type": "string"}
_FLAG: Schema = {"type": "boolean"}
_NUMBER: Schema = {"type": "number"}
_PART: Schema = {"type": "number", "minimum": 0, "maximum": 1}
_REFUSALS = {
    400: "The body says nothing usable; the error says why.",
    404: "Another model, or another version, than the one that is served.",
    408: "The body did not arrive in time.",
    413: "The body is over the limit, or its picture takes too much memory.",
    415: "The body is called something other than a picture.",
    429: "Too many requests are under way; Retry-After says when.",
    500: "The model can't run on the picture.",
    503: "The model is loading, or isn't here yet; the error says which.",
}


def description(name: str) -> dict[str, Any]:
    """The whole description of the server of the model `name`."""
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "hardtack inference",
            "version": __version__,
            "description": "One detector's model: edge-endpoint's /infer, and the Open Inference "
            "Protocol, version 2.",
        },
        "paths": _paths(name),
        "components": {"schemas": _schemas()},
    }


def _paths(name: str) -> dict[str, Any]:
    live = {"get": _operation("The process had better not be started again", "Live", 503)}
    ready = {"get": _operation("The model is loaded", "Ready", 503)}
    paths = {
        "/infer": {
            "post": {
                **_operation("Ask about a picture", "Answer", 400, 408, 413, 415, 429, 500, 503),
                "requestBody": {
                    "required": True,
                    "content": {"image/*": {"schema": {"type": "string", "format": "binary"}}},
                },
            }
        },
        "/health/live": live,
        "/health/ready": ready,
        "/metrics": {"get": _operation("Counters for Prometheus", "")},
        "/openapi.json": {"get": _operation("This description", "Description")},
        "/v2": {"get": _operation("What serves", "Server")},
        "/v2/health/live": live,
        "/v2/health/ready": ready,
    }
    model = {"name": "model", "in": "path", "required": True, "schema": {"enum": [name]}}
    version = {"name": "version", "in": "path", "required": True, "schema": _TEXT}
    for path, parameters in (
        ("/v2/models/{model}", [model]),
        ("/v2/models/{model}/versions/{version}", [model, version]),
    ):
        given: dict[str, Any] = {"parameters": parameters}
        paths[path] = {**given, "get": _operation("Inputs and outputs", "Model", 404, 503)}
        paths[path + "/ready"] = {**given, "get": _operation("It is loaded", "Ok", 404, 503)}
        paths[path + "/infer"] = {
            **given,
            "post": {
                **_operation("Run tensors", "Tensors", 400, 404, 408, 413, 429, 503),
                "requestBody": {
                    "required": True,
                    "content": {"application/json": {"schema": _ref("Run")}},
                },
            },
        }
    return paths


def _operation(summary: str, schema: str, *refusals: int) -> dict[str, Any]:
    content = {"application/json": {"schema": _ref(schema)}} if schema else {"text/plain": {}}
    refused = {
        str(status): {
            "description": _REFUSALS[status],
            "content": {"application/json": {"schema": _ref("Refusal")}},
        }
        for status in refusals
    }
    return {
        "summary": summary,
        "responses": {"200": {"description": "As asked.", "content": content}, **refused},
    }


def _ref(name: str) -> Schema:
    return {"$ref": f"#/components/schemas/{name}"}


def _object(required: dict[str, Schema], **optional: Schema) -> Schema:
    return {
        "type": "object", "required": list(required), "properties": {**required, **optional},
    }  # fmt: skip


def _list(of: Schema) -> Schema:
    return {"type": "array", "items": of}


def _or_null(schema: Schema) -> Schema:
    return {"anyOf": [schema, {"type": "null"}]}


def _schemas() -> dict[str, Schema]:
    sides = dict.fromkeys(("left", "top", "right", "bottom"), _NUMBER)
    roi = _object({"label": _TEXT, "score": _NUMBER,
                   "geometry": _object({**sides, "x": _NUMBER, "y": _NUMBER})})  # fmt: skip
    numbers = _list(_NUMBER)
    single = _object({"confidences": numbers, "labels": _list({"type": "integer"}),
                      "probabilities": numbers, "scores": numbers})  # fmt: skip
    multi = _object({"probabilities": _list(numbers), "rois": _or_null(_list(_list(roi))),
                     "max_dropped_roi_scores": _or_null(numbers)})  # fmt: skip
    secondary = _object({"roi_predictions": _object({"rois": _list(_list(roi))}),
                         "text_predictions": _or_null(_list(_TEXT))})  # fmt: skip
    shape = _list({"type": "integer"})
    port = _object({"name": _TEXT, "datatype": _TEXT, "shape": shape})
    given = _object(
        {
            "name": _TEXT,
            "datatype": {"enum": list(TYPES)},
            "shape": _list({"type": "integer", "minimum": 0}),
            "data": {"type": "array"},
        }
    )
    return {
        "Refusal": _object({}, error=_TEXT, reason=_TEXT),
        "Live": _object({"live": _FLAG}, reason=_TEXT),
        "Ready": _object({"ready": _FLAG}, model=_TEXT, version=_TEXT, providers=_list(_TEXT),
                         singly={"type": "object", "additionalProperties": _TEXT}),
        "Ok": _object({"name": _TEXT, "ready": _FLAG}),
        "Description": _object({"openapi": _TEXT, "paths": {"type": "object"}}),
        "Server": _object({"name": _TEXT, "version": _TEXT, "extensions": _list(_TEXT)}),
        "Model": _object({"name": _TEXT, "versions": _list(_TEXT), "platform": _TEXT,
                          "inputs": _list(port), "outputs": _list(port)}),
        "Run": _object({"inputs": _list(given)}, id=_TEXT),
        "Tensors": _object({"model_name": _TEXT, "model_version": _TEXT, "outputs": _list(
            _object({"name": _TEXT, "datatype": _TEXT, "shape": shape, "data": {"type": "array"}})
        )}, id=_TEXT),
        "Answer": _object({
            "predictions": _or_null(single), "multi_predictions": _or_null(multi),
            "secondary_predictions": _or_null(secondary),
            "result": _object({"task": {"enum": list(TASKS)}, "confidence": _PART,
                               "outlier": _or_null(_PART)}),
        }),
    }  # fmt: skip
