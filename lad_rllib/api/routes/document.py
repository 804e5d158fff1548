"""The OpenAPI document as a page: plain HTML, no script, nothing from another host."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterator, Mapping
from functools import cache
from html import escape
from typing import Any

from fastapi import FastAPI
from starlette.responses import HTMLResponse, Response

from lad_rllib.declared import described, resolved

STYLE = (
    "body{font:1rem/1.5 system-ui,sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem;color-scheme:light dark}"
    "table{border-collapse:collapse;width:100%}td,th{border:1px solid #8884;padding:.3rem .5rem;text-align:left;"
    "vertical-align:top}code{font-size:.95em}h2{margin-top:2.5rem;border-top:1px solid #8884;padding-top:1rem}"
)
STYLE_HASH = base64.b64encode(hashlib.sha256(STYLE.encode()).digest()).decode()
POLICY = f"default-src 'none'; style-src 'sha256-{STYLE_HASH}'; base-uri 'none'; frame-ancestors 'none'"


def show_document(app: FastAPI) -> None:
    """Show the app's OpenAPI document at ``/docs``."""

    @cache
    def html() -> str:
        return page_of(app.openapi())

    @app.get("/docs", include_in_schema=False)
    async def docs() -> Response:
        return HTMLResponse(html(), headers={"content-security-policy": POLICY})


def page_of(document: Mapping[str, Any]) -> str:
    """An OpenAPI document as HTML."""
    about, schemas = document["info"], document["components"]["schemas"]
    operations = [
        (f"{method.upper()} {path}", operation)
        for path, methods in document["paths"].items()
        for method, operation in methods.items()
    ]
    contents = "".join(
        f'<li><a href="#{escape(_anchor(name))}"><code>{escape(name)}</code></a>: {escape(operation["summary"])}</li>'
        for name, operation in operations
    )
    sections = "".join(_section(name, operation, schemas) for name, operation in operations)
    return (
        f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{escape(about["title"])}: HTTP API</title>'
        f'<meta name="viewport" content="width=device-width"><style>{STYLE}</style></head><body>'
        f"<h1>{escape(about['title'])} {escape(about['version'])}: HTTP API</h1><p>{escape(about['summary'])}</p>"
        f'<p>For programs: <a href="/openapi.json">/openapi.json</a>.</p><ul>{contents}</ul>{sections}</body></html>'
    )


def _section(name: str, operation: Mapping[str, Any], schemas: Mapping[str, Any]) -> str:
    parts = [f'<h2 id="{escape(_anchor(name))}"><code>{escape(name)}</code></h2><p>{escape(operation["summary"])}.</p>']
    given = [
        (one["name"], resolved(one["schema"], schemas), one["in"], one.get("required", False))
        for one in operation.get("parameters", ())
    ]
    body = operation.get("requestBody", {}).get("content", {}).get("application/json", {}).get("schema")
    if body is not None:
        body = resolved(body, schemas)
        required = body.get("required", ())
        given += [(key, field, "body", key in required) for key, field in body.get("properties", {}).items()]
    if given:
        parts.append("<table><tr><th>parameter</th><th>in</th><th>valid</th><th>meaning</th></tr>")
        parts += [_row(*one) for one in given]
        parts.append("</table>")
    parts.append("<table><tr><th>answer</th><th>meaning</th></tr>")
    parts += [
        f"<tr><td>{status}</td><td>{escape(answer['description'])}{''.join(_fields(answer, schemas, status))}</td></tr>"
        for status, answer in operation["responses"].items()
    ]
    return "".join([*parts, "</table>"])


def _row(name: str, schema: Mapping[str, Any], place: str, is_required: bool) -> str:
    needed = ", required" if is_required else ""
    meaning = escape(schema.get("description", ""))
    return (
        f"<tr><td><code>{escape(name)}</code></td><td>{place}{needed}</td><td>{escape(described(schema))}</td>"
        f"<td>{meaning}</td></tr>"
    )


def _fields(answer: Mapping[str, Any], schemas: Mapping[str, Any], status: str) -> Iterator[str]:
    """Fields of a successful answer."""
    schema = answer.get("content", {}).get("application/json", {}).get("schema")
    if schema is not None and status == "200":
        for name, field in resolved(schema, schemas).get("properties", {}).items():
            yield f"<br><code>{escape(name)}</code> {escape(field.get('description', ''))}"


def _anchor(name: str) -> str:
    return "".join(letter if letter.isalnum() else "-" for letter in name)
