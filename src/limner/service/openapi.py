"""The OpenAPI document: our error shape, the key, and an example for each call."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from fastapi import FastAPI

_METHODS = ("get", "post", "patch", "put", "delete")
_OPEN = ("/healthz", "/readyz")


def describe(app: FastAPI) -> dict[str, Any]:
    """Return the OpenAPI document of an application; it is built once."""
    if app.openapi_schema is not None:
        return app.openapi_schema
    from fastapi.openapi.utils import get_openapi

    document = get_openapi(
        title=app.title,
        version=app.version,
        summary=app.summary,
        description=(
            "Photos come as uploads and are not kept. Errors are "
            '`{"error": {"type", "message", "request"}}`. Where the service asks for keys, send '
            "`Authorization: Bearer KEY`."
        ),
        routes=app.routes,
    )
    components = document.setdefault("components", {})
    keyed = app.state.limner.settings.keys_demanded
    if keyed:
        components["securitySchemes"] = {"key": {"type": "http", "scheme": "bearer"}}
    schemas = components.get("schemas", {})
    _restore_examples(schemas)
    for path, item in document["paths"].items():
        for method in _METHODS:
            if method in item:
                _complete(path, method, item[method], schemas)
                if keyed and path not in _OPEN:
                    item[method]["security"] = [{"key": []}]
    for unused in ("HTTPValidationError", "ValidationError"):
        schemas.pop(unused, None)
    app.openapi_schema = document
    return document


def _complete(path: str, method: str, call: dict[str, Any], schemas: dict[str, Any]) -> None:
    error = {"$ref": "#/components/schemas/Error"}
    for status, answer in call["responses"].items():
        content = answer.get("content", {})
        if status.startswith(("4", "5")):
            content = answer["content"] = {"application/json": {"schema": error}}
        for media in content.values():
            example = _example_of(media.get("schema", {}), schemas)
            if example is not None:
                media.setdefault("example", example)
        if answer["description"] in ("Validation Error", "Successful Response"):
            good = not status.startswith("4")
            answer["description"] = "Done." if good else "The request cannot be used."
    body = call.get("requestBody", {}).get("content", {})
    for kind, media in body.items():
        example = _example_of(media.get("schema", {}), schemas)
        if example is not None:
            media.setdefault("example", example)
        elif kind == "multipart/form-data":
            media["example"] = _form_example(media["schema"], schemas)
    call["x-codeSamples"] = [{"lang": "Shell", "source": _curl(path, method, body)}]


def _resolve(schema: dict[str, Any], schemas: dict[str, Any]) -> dict[str, Any]:
    name = str(schema.get("$ref", "")).rpartition("/")[2]
    found: dict[str, Any] = schemas.get(name, schema)
    return found


def _example_of(schema: dict[str, Any], schemas: dict[str, Any]) -> Any:
    examples = _resolve(schema, schemas).get("examples")
    return examples[0] if examples else None


def _restore_examples(schemas: dict[str, Any]) -> None:
    """Put the examples back as they were written: FastAPI leaves their nulls out."""
    from limner.service import schemas as ours

    for name, schema in schemas.items():
        if "examples" in schema and hasattr(ours, name):
            extra = getattr(ours, name).model_config.get("json_schema_extra", {})
            schema["examples"] = extra.get("examples", schema["examples"])


def _form_example(schema: dict[str, Any], schemas: dict[str, Any]) -> dict[str, Any]:
    whole = _resolve(schema, schemas)
    example: dict[str, Any] = {}
    for name, field in whole.get("properties", {}).items():
        if name not in whole.get("required", ()):
            continue
        if field.get("examples"):
            example[name] = field["examples"][0]
        else:
            example[name] = [f"@{name}.jpg"] if field.get("type") == "array" else f"@{name}.jpg"
    return example


def _curl(path: str, method: str, body: dict[str, Any]) -> str:
    """Return a call as a shell would make it."""
    filled = path.replace("{person}", "7").replace("{photo}", "31").replace("{job}", "JOB")
    words = ["curl"]
    if method not in ("get", "post") or (method == "post" and not body):
        words += ["-X", method.upper()]
    for media in body.values():
        example = media.get("example", {})
        if "multipart/form-data" in body:
            for name, value in example.items():
                text = value[0] if isinstance(value, list) else value
                words += ["-F", f"'{name}={text}'"]
        else:
            import json

            words += ["-H", "'Content-Type: application/json'", "-d", f"'{json.dumps(example)}'"]
        break
    return " ".join([*words, f"http://127.0.0.1:8000{filled}"])
