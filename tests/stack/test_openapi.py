"""The description of the callback endpoint says what the deployed one does."""

import json
from pathlib import Path

import pytest
import requests
import yaml
from openapi_spec_validator import validate_url
from test_callback import body, headers

from conftest import OUT

SPEC = Path(__file__).parents[2] / "docs/openapi.yaml"


def test_the_description_is_valid_openapi():
    validate_url(SPEC.as_uri())


def test_its_path_is_the_templates():
    (path,) = yaml.safe_load(SPEC.read_text("utf-8"))["paths"]
    assert f"Path: {path}\n" in (SPEC.parents[1] / "template.yaml").read_text("utf-8")


@pytest.mark.parametrize("status", ["200", "400", "401"])
def test_an_answer_is_as_described(talk, status):
    described = yaml.safe_load(SPEC.read_text("utf-8"))["paths"]["/callbacks/{bot}"]["post"]
    raw = b"{}" if status == "400" else body(talk)
    signed = headers(raw, secret="wrong" if status == "401" else OUT)
    answer = requests.post(talk.deployed.callback_url(talk.name), data=raw, headers=signed, timeout=15)
    assert str(answer.status_code) == status
    assert status in described["responses"]
    assert list(answer.json()) == ["message"]


def test_its_example_is_a_valid_part():
    from relay.rules.part import parse

    described = yaml.safe_load(SPEC.read_text("utf-8"))["paths"]["/callbacks/{bot}"]["post"]
    example = described["requestBody"]["content"]["application/json"]["example"]
    assert parse(json.dumps(example).encode()) == example
