"""The description of the callback endpoint says what the deployed one does."""

import json
from pathlib import Path

import pytest
import requests
import yaml
from openapi_spec_validator import validate_url

from relay.domain.part import parse_part
from support.callbacks import part_body, signed_headers
from support.deployed import OUT

SPEC = Path(__file__).parents[2] / "docs/openapi.yaml"


def test_the_description_is_valid_openapi():
    validate_url(SPEC.as_uri())


def test_its_path_is_the_templates():
    (path,) = yaml.safe_load(SPEC.read_text("utf-8"))["paths"]
    assert f"Path: {path}\n" in (SPEC.parents[1] / "template.yaml").read_text("utf-8")


@pytest.mark.parametrize("status", ["200", "400", "401"])
def test_a_response_is_as_described(talk, status):
    described = yaml.safe_load(SPEC.read_text("utf-8"))["paths"]["/callbacks/{bot}"]["post"]
    raw = b"{}" if status == "400" else part_body(talk)
    signed = signed_headers(raw, secret="wrong" if status == "401" else OUT)
    response = requests.post(talk.deployed.callback_url(talk.name), data=raw, headers=signed, timeout=30)
    assert str(response.status_code) == status
    assert status in described["responses"]
    assert list(response.json()) == ["message"]


def test_its_example_is_a_valid_part():
    described = yaml.safe_load(SPEC.read_text("utf-8"))["paths"]["/callbacks/{bot}"]["post"]
    example = described["requestBody"]["content"]["application/json"]["example"]
    assert parse_part(json.dumps(example).encode()).is_exact
