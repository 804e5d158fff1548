"""The OpenAPI document, and requests made up from it: none of them is a failure of the service.

Schemathesis and Hypothesis are imported by the tests that use them: every test process collects this file.
"""

import base64
import hashlib
import json
import re

import pytest

from tests.api.running import service
from tests.api.steering import Steering

EXAMPLES = 30
ROUTES = {
    "/v1/images/generations": {"post"},
    "/v1/images/{image_id}/content": {"get"},
    "/v1/images/jobs": {"post"},
    "/v1/images/jobs/{job_id}": {"get", "delete"},
    "/v1/images/jobs/{job_id}/content": {"get"},
    "/v1/models": {"get"},
    "/v1/models/{model_id}": {"get"},
    "/v1/fleet": {"get"},
    "/v1/fleet/servers": {"post"},
    "/v1/fleet/servers/{name}": {"delete"},
    "/v1/fleet/servers/{name}/drain": {"post"},
    "/v1/fleet/policy": {"put"},
    "/v1/fleet/file": {"get"},
    "/v1/fleet/shadow": {"get"},
    "/healthz": {"get"},
    "/events": {"get"},
}


@pytest.fixture(scope="module")
def running():
    with service([1e5, 1e5], control=Steering()) as one:
        yield one


@pytest.fixture(scope="module")
def document(running):
    return running.client.get("/openapi.json").json()


@pytest.fixture(scope="module")
def operations(running, document):
    import schemathesis

    schema = schemathesis.openapi.from_dict(document)
    schema.config.update(base_url=running.url)
    return {one.ok().label: one.ok() for one in schema.get_all_operations()}


def test_the_document_has_every_route_and_all_its_errors_are_of_one_form(document):
    assert {path: set(methods) for path, methods in document["paths"].items()} == ROUTES
    for methods in document["paths"].values():
        for operation in methods.values():
            for status, answer in operation["responses"].items():
                if int(status) >= 400 and operation["summary"] != "Whether the service works":
                    form = answer["content"]["application/json"]["schema"]["$ref"]
                    assert form == "#/components/schemas/Error", (operation["summary"], status)
    assert "HTTPValidationError" not in json.dumps(document)


@pytest.mark.parametrize("path", ["/v1/images/generations", "/v1/images/jobs"])
def test_images_of_an_unknown_model_are_an_error_that_the_document_has(running, document, path):
    answer = running.client.post(path, json={"prompt": "a cat", "model": "sdxl"})
    assert answer.status_code == 404 and "404" in document["paths"][path]["post"]["responses"]


def test_every_parameter_and_field_says_what_it_means(document):
    for name, schema in document["components"]["schemas"].items():
        for field, about in schema.get("properties", {}).items():
            assert about.get("description") or "$ref" in about, f"{name}.{field}"


def test_the_document_is_a_page_that_loads_nothing(running, document):
    answer = running.client.get("/docs")
    assert answer.status_code == 200 and "default-src 'none'" in answer.headers["content-security-policy"]
    assert not re.search(r"<script|<link|<img|https?:|@import|url\(", answer.text)
    assert all(f"<code>{method.upper()} {path}</code>" in answer.text for path in ROUTES for method in ROUTES[path])
    [style] = re.findall(r"<style>(.*?)</style>", answer.text)
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    assert f"style-src 'sha256-{digest}'" in answer.headers["content-security-policy"]
    assert "What to draw." in answer.text and "a whole number of at least 1 and of at most 64 or null" in answer.text
    assert document["info"]["version"] in answer.text


@pytest.mark.parametrize(
    "label",
    [f"{method.upper()} {path}" for path, methods in ROUTES.items() if path != "/events" for method in sorted(methods)],
)
def test_no_request_is_a_failure_of_the_service(operations, label):
    from hypothesis import HealthCheck, given, settings, strategies
    from schemathesis import GenerationMode
    from schemathesis.checks import not_a_server_error
    from schemathesis.specs.openapi.checks import response_schema_conformance, status_code_conformance

    checks = [not_a_server_error, status_code_conformance, response_schema_conformance]

    @settings(max_examples=EXAMPLES, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
    @given(case=strategies.one_of(*(operations[label].as_strategy(generation_mode=mode) for mode in GenerationMode)))
    def answered(case):
        answer = case.call(timeout=20)
        case.validate_response(answer, checks=checks)

    answered()
