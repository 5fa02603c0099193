"""What the relay believes of API Gateway's HTTP APIs. The addresses are those of AWS's documents."""

import base64

import pytest
import requests

from beliefs.implementations import on


def post(probed, path, data, content_type="application/json", **headers):
    headers["Content-Type"] = content_type
    return requests.post(f"{probed.api_url}{path}", data, headers=headers, timeout=60)


@on("emulator", fixture="probed")
def test_a_json_body_comes_as_text(probed):
    """https://docs.aws.amazon.com/apigateway/latest/developerguide/http-api-develop-integrations-lambda.html"""
    seen = post(probed, "/echo/one", '{"text": "é"}'.encode()).json()
    assert (seen["isBase64Encoded"], seen["body"]) == (False, '{"text": "é"}')


@on("emulator", fixture="probed")
def test_a_body_of_a_binary_type_comes_as_base64(probed):
    """https://aws.amazon.com/blogs/compute/handling-binary-data-using-amazon-api-gateway-http-apis/"""
    seen = post(probed, "/echo/one", b"\xff\x00", "application/octet-stream").json()
    assert (seen["isBase64Encoded"], base64.b64decode(seen["body"])) == (True, b"\xff\x00")


@on("emulator", fixture="probed")
def test_the_names_of_headers_come_in_lower_case(probed):
    """https://docs.aws.amazon.com/apigateway/latest/developerguide/http-api-develop-integrations-lambda.html"""
    seen = post(probed, "/echo/one", b"{}", **{"X-LB-Signature": "Sign"}).json()
    assert seen["headers"]["x-lb-signature"] == "Sign"


@on("emulator", fixture="probed")
def test_the_last_segment_of_the_path_is_a_parameter(probed):
    """https://docs.aws.amazon.com/apigateway/latest/developerguide/http-api-develop-routes.html"""
    assert post(probed, "/echo/sales-2", b"{}").json()["pathParameters"] == {"name": "sales-2"}


@on("emulator", fixture="probed")
@pytest.mark.parametrize("path", ["/echo", "/echo/one/two", "/other/one", "/"])
def test_a_path_that_no_route_has_is_a_404(probed, path):
    """https://docs.aws.amazon.com/apigateway/latest/developerguide/http-api-develop-routes.html"""
    assert post(probed, path, b"{}").status_code == 404


@on("emulator", fixture="probed")
def test_a_slash_behind_the_last_segment_is_a_404(probed):
    """https://docs.aws.amazon.com/apigateway/latest/developerguide/http-api-develop-routes.html"""
    assert post(probed, "/echo/one/", b"{}").status_code == 404


@on("emulator", fixture="probed")
def test_a_method_that_no_route_has_is_a_404(probed):
    """https://docs.aws.amazon.com/apigateway/latest/developerguide/http-api-develop-routes.html"""
    assert requests.get(f"{probed.api_url}/echo/one", timeout=60).status_code == 404


@on("emulator", fixture="probed")
def test_a_function_that_raises_is_a_5xx(probed):
    """https://docs.aws.amazon.com/apigateway/latest/developerguide/http-api-troubleshooting-lambda.html"""
    assert post(probed, "/echo/raise", b"{}").status_code in (500, 502)


@on("emulator", fixture="probed")
def test_a_body_of_5_mb_arrives(probed):
    """https://docs.aws.amazon.com/lambda/latest/dg/gettingstarted-limits.html

    The event, which quotes the body as JSON, has 6 MB at the most, and so has the response.
    """
    body = b'"' + b"x" * 5_000_000 + b'"'
    assert len(post(probed, "/echo/one", body).json()["body"]) == len(body)


@on(fixture="probed", emulator="it passes on any body")
def test_a_body_over_6_mb_does_not_arrive(probed):
    """https://docs.aws.amazon.com/lambda/latest/dg/gettingstarted-limits.html"""
    assert post(probed, "/echo/one", b'"' + b"x" * 6_300_000 + b'"').status_code >= 400


@on(fixture="probed", emulator="it passes on any body")
def test_a_body_over_10_mb_is_a_413(probed):
    """https://docs.aws.amazon.com/apigateway/latest/developerguide/http-api-quotas.html"""
    assert post(probed, "/echo/one", b'"' + b"x" * 10_600_000 + b'"').status_code == 413
