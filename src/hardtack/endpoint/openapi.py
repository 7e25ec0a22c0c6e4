"""The endpoint's API as OpenAPI 3.1, made from the words that the code checks by: served at
`/openapi.json`, and the ground of docs/endpoint-api.md and of the tests that drive it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from hardtack import __version__
from hardtack.endpoint.answers import RESULT_TYPES
from hardtack.endpoint.detectors import MODES
from hardtack.endpoint.edgeconfig import PRESETS
from hardtack.endpoint.query import HUMAN_REVIEW

Schema = dict[str, Any]

_DETECTOR = {"type": "string", "pattern": "^det_[A-Za-z0-9]{27}$"}
_IMAGE_QUERY = {"type": "string", "pattern": "^iq_[A-Za-z0-9]{27}$"}
_PART = {"type": "number", "minimum": 0, "maximum": 1}
_TEXT = {"type": "string"}
_FLAG = {"type": "boolean"}
PREFIX = "/device-api"


def description() -> dict[str, Any]:
    """The whole description. The SDK puts `/device-api` before each path; both are answered."""
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "hardtack endpoint",
            "version": __version__,
            "description": "The Groundlight SDK's image queries, answered on the box.",
        },
        "servers": [{"url": "/"}, {"url": PREFIX}],
        "paths": _paths(),
        "components": {"schemas": _schemas()},
    }


def _paths() -> dict[str, Any]:
    return {
        "/v1/image-queries": {"post": _submit(), "get": _list_image_queries()},
        "/v1/image-queries/{id}": {
            "get": _operation(
                "An image query as it is known by now", _reply("ImageQuery"), [_path(_IMAGE_QUERY)],
                404,
            )
        },
        "/v1/image-queries/{id}/image": {
            "get": _operation(
                "The picture that was asked about",
                {"description": "As it came.", "content": {"image/*": {}}},
                [_path(_IMAGE_QUERY)], 404,
            )
        },
        "/v1/detectors": {
            "get": _operation(
                "The detectors that the box knows", _reply("Detectors"),
                [*_pages(), _query("name", _TEXT, "Those of this name alone.")], 400,
            )
        },
        "/v1/detectors/{id}": {
            "get": _operation(
                "One detector", _reply("Detector"), [_path(_DETECTOR)], 400, 404
            )
        },
        "/v1/me": {"get": _operation("Who the caller is: the box", _reply("User"))},
        "/v1/api-tokens/by-snippet/{snippet}": {
            "get": {
                "summary": "Tokens are not kept on the box: always 404, as the SDK allows",
                "parameters": [{**_path(_TEXT), "name": "snippet"}],
                "responses": {"404": _refusal("There is none.")},
            }
        },
        "/edge-config": {
            "get": _operation("The edge configuration in force", _reply("EdgeConfig")),
            "put": {
                **_operation("Set the edge configuration, at once and for good",
                             _reply("EdgeConfig"), [], 400, 408, 413, 507),
                "requestBody": {
                    "required": False,
                    "description": "YAML or JSON. What is left out has its default.",
                    "content": {"application/json": {"schema": _ref("EdgeConfigGiven")}},
                },
            },
        },
        "/edge-detector-readiness": {
            "get": _operation("Which detectors answer", _reply("Readiness"))
        },
        "/edge-info": {"get": _operation("The cloud behind the box", _reply("EdgeInfo"))},
        "/ping": {"get": _operation("A sign of life", _reply("Ok"))},
        "/health/live": {"get": _operation("The process answers", _reply("Ok"))},
        "/health/ready": {
            "get": {
                "summary": "Every wanted detector answers; 503 names those that don't, and why",
                "responses": {"200": _reply("Ready"), "503": _reply("Ready")},
            }
        },
        "/status/metrics.json": {
            "get": _operation("What the status page shows", _reply("Status"))
        },
        "/openapi.json": {"get": _operation("This description", _reply("Description"))},
        "/metrics": {
            "get": _operation(
                "Counters for Prometheus",
                {"description": "Text.", "content": {"text/plain": {}}},
            )
        },
    }  # fmt: skip


def _submit() -> dict[str, Any]:
    parameters = [
        {**_query("detector_id", _DETECTOR, "The detector that is asked."), "required": True},
        _query("confidence_threshold", _PART, "Surer than this is sure enough."),
        _query("patience_time", {"type": "number", "minimum": 0, "maximum": 3600},
               "Seconds that the caller has."),
        _query("human_review", {"enum": list(HUMAN_REVIEW)},
               "ALWAYS needs a cloud: people look at it there."),
        _query("want_async", {"enum": ["true", "false", "1", "0"]},
               "Answered later: the reply has no result."),
        _query("metadata", _TEXT, "A JSON object of at most 1024 bytes, as URL-safe base64."),
        _query("image_query_id", _IMAGE_QUERY, "The caller's own id; sent twice it is one query."),
        _query("inspection_id", _TEXT, "An inspection in the cloud, which must be there."),
    ]  # fmt: skip
    return {
        **_operation("Ask a detector about a picture", _reply("ImageQuery"), parameters,
                     400, 401, 404, 408, 413, 415, 422, 429, 502, 503, 504),
        "requestBody": {
            "required": True,
            "description": "JPEG, PNG, GIF, BMP, TIFF or WebP; of an animation the first frame.",
            "content": {"image/*": {"schema": {"type": "string", "format": "binary"}}},
        },
    }  # fmt: skip


def _list_image_queries() -> dict[str, Any]:
    parameters = [*_pages(), _query("detector_id", _DETECTOR, "Those of this detector alone.")]
    return _operation("Image queries, newest first", _reply("ImageQueries"), parameters, 400)


def _operation(
    summary: str, reply: dict[str, Any], parameters: list[dict[str, Any]] | None = None,
    *refusals: int,
) -> dict[str, Any]:  # fmt: skip
    responses = {"200": reply, **{str(s): _refusal(REFUSALS[s]) for s in refusals}}
    found: dict[str, Any] = {"summary": summary, "responses": responses}
    return {**found, "parameters": parameters} if parameters else found


REFUSALS: Mapping[int, str] = {
    400: "A parameter or the body says nothing usable; the detail says which.",
    401: "The endpoint has a token, and the caller hasn't.",
    404: "There is none of that id on the box, nor, where there is one, in the cloud.",
    408: "The body did not arrive in time.",
    413: "The body is over the limit, or its picture takes too much memory.",
    415: "The body is called something other than a picture.",
    422: "The detector's server hung or ended twice over this picture, and isn't asked again.",
    429: "Too many image queries of the detector are under way; Retry-After says when.",
    502: "The inference server failed.",
    503: "The detector is loading or absent, or the cloud that is needed is away; Retry-After.",
    504: "The inference server did not answer in time.",
    507: "The disk does not take the configuration.",
}


def _reply(schema: str) -> dict[str, Any]:
    return {
        "description": "As asked.", "content": {"application/json": {"schema": _ref(schema)}},
    }  # fmt: skip


def _refusal(reason: str) -> dict[str, Any]:
    return {
        "description": reason, "content": {"application/json": {"schema": _ref("Refusal")}},
    }  # fmt: skip


def _ref(name: str) -> Schema:
    return {"$ref": f"#/components/schemas/{name}"}


def _path(schema: Schema) -> dict[str, Any]:
    return {"name": "id", "in": "path", "required": True, "schema": schema}


def _query(name: str, schema: Schema, text: str) -> dict[str, Any]:
    return {"name": name, "in": "query", "description": text, "schema": schema}


def _pages() -> list[dict[str, Any]]:
    return [
        _query("page", {"type": "integer", "minimum": 1, "maximum": 1_000_000}, "From 1."),
        _query("page_size", {"type": "integer", "minimum": 1, "maximum": 1000}, "10 unless given."),
    ]


def _object(required: Mapping[str, Schema], **optional: Schema) -> Schema:
    return {
        "type": "object", "required": list(required), "properties": {**required, **optional},
    }  # fmt: skip


def _nullable(kind: str) -> Schema:
    return {"type": [kind, "null"]}


def _or_null(schema: Schema) -> Schema:
    """Null says: the default."""
    return {"anyOf": [schema, {"type": "null"}]}


def _exactly(optional: Mapping[str, Schema]) -> Schema:
    return {"type": "object", "properties": dict(optional), "additionalProperties": False}


def _listed(of: str) -> Schema:
    return _object(
        {
            "count": {"type": "integer", "minimum": 0},
            "next": {"type": ["string", "null"], "format": "uri"},
            "previous": {"type": ["string", "null"], "format": "uri"},
            "results": {"type": "array", "items": _ref(of)},
        }
    )


def _schemas() -> dict[str, Schema]:
    number = {"type": "number"}
    sides = dict.fromkeys(("left", "top", "right", "bottom", "x", "y"), number)
    inference: dict[str, Schema] = {
        "enabled": _FLAG,
        "always_return_edge_prediction": _FLAG,
        "disable_cloud_escalation": _FLAG,
        "min_time_between_escalations": {"type": "number", "exclusiveMinimum": 0},
    }
    own = {name: _or_null(schema) for name, schema in inference.items()}
    shared: dict[str, Schema] = {
        "refresh_rate": {"type": "number", "exclusiveMinimum": 0, "maximum": 86400},
        "confident_audit_rate": _PART,
    }
    assigned = _object(
        {"detector_id": _DETECTOR, "edge_inference_config": {"type": "string", "minLength": 1}}
    )
    by_name = {"type": "object", "additionalProperties": _object({}, **inference)}
    given: dict[str, Schema] = {
        "global_config": _or_null(_exactly({n: _or_null(schema) for n, schema in shared.items()})),
        "edge_inference_configs": _or_null(
            {"type": "object", "additionalProperties": _or_null(_exactly(own))}
        ),
        "detectors": _or_null(
            {"type": "array", "items": {**assigned, "additionalProperties": False}}
        ),
    }
    return {
        "Refusal": _object({"detail": _TEXT}),
        "Ok": _object({"status": {"const": "ok"}}),
        "Ready": _object({"ready": _FLAG, "waiting": {"type": "object"}}),
        "Readiness": {"type": "object", "additionalProperties": _object({"ready": _FLAG})},
        "EdgeInfo": _object({"upstream_endpoint": _TEXT}),
        "User": _object({
            "email": _TEXT, "username": _TEXT, "is_superuser": _FLAG,
            "group": _object({"id": {"type": "integer"}, "name": _TEXT}),
        }),
        "Detector": _object({
            "id": _DETECTOR, "type": {"const": "detector"}, "created_at": _TEXT, "name": _TEXT,
            "query": _TEXT, "group_name": _TEXT, "metadata": _nullable("object"),
            "mode": {"enum": list(MODES.values())}, "mode_configuration": _nullable("object"),
            "confidence_threshold": _PART, "patience_time": number,
        }),
        "Detectors": _listed("Detector"),
        "Result": _object({
            "confidence": {**_PART, "type": ["number", "null"]},
            "result_type": {"enum": list(RESULT_TYPES.values())}, "source": _TEXT,
            "from_edge": _FLAG,
        }, label=_TEXT, count=_nullable("integer"), greater_than_max=_FLAG, text=_TEXT,
           truncated=_FLAG),
        "Roi": _object({"label": _TEXT, "score": number, "geometry": _object(sides)}),
        "ImageQuery": _object({
            "id": _IMAGE_QUERY, "type": {"const": "image_query"}, "created_at": _TEXT,
            "query": _TEXT, "detector_id": _DETECTOR,
            "result_type": {"enum": list(RESULT_TYPES.values())},
            "result": {"anyOf": [_ref("Result"), {"type": "null"}]},
            "confidence_threshold": _PART, "patience_time": number,
            "rois": {"type": ["array", "null"], "items": _ref("Roi")}, "text": _nullable("string"),
            "metadata": _nullable("object"), "done_processing": _FLAG,
        }),
        "ImageQueries": _listed("ImageQuery"),
        "EdgeConfig": _object({
            "global_config": _object(shared), "edge_inference_configs": by_name,
            "detectors": {"type": "array", "items": assigned},
        }),
        "EdgeConfigGiven": {
            **_or_null(_exactly(given)),
            "description": f"Presets that may be named: {', '.join(PRESETS)}.",
        },
        "Status": _object({
            "version": _TEXT, "now": number, "detectors": {"type": "object"},
            "mount": _nullable("object"), "cloud": _nullable("object"),
            "image_queries_lost": {"type": "integer"}, "ready": _nullable("object"),
        }),
        "Description": _object({"openapi": _TEXT, "paths": {"type": "object"}}),
    }  # fmt: skip
