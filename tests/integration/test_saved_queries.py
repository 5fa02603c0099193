"""The saved queries of template.yaml, compared with what the functions log."""

import json
import re
import time

import pytest

from local.sample_bot import OVERLOADED, Answer
from support.callbacks import part_body, signed_headers
from support.parked_messages import UNPARSED
from support.queued_messages import deliver, queued
from support.second_stack import processed_template

LANGUAGE = {"filter", "sort", "display", "limit", "stats", "parse", "as", "by", "asc", "desc"}
FUNCTIONS = {"count", "max", "ispresent"}


@pytest.fixture
def queries(deployed):
    """The text of each saved query by its name, without comments and without the name of the stack."""
    resources = processed_template(deployed)["Resources"].values()
    saved = [one["Properties"] for one in resources if one["Type"] == "AWS::Logs::QueryDefinition"]
    return {
        one["Name"]["Fn::Sub"].partition("/")[2]: re.sub(r"#.*\n", "", one["QueryString"]) for one in saved
    }


@pytest.fixture
def logged(talk, workers, callback, log_lines):
    """Each line that the functions log about messages and parts with every kind of outcome."""
    answers = (Answer(), UNPARSED, OVERLOADED, Answer(drop=True))
    for minutes, answer in enumerate(answers):
        talk.bot.answer_with(answer)
        deliver(workers.at(time.time() + 61 * minutes).dispatcher(), queued(talk))
    deliver(workers.dispatcher(), queued(talk, text=["no text"]))
    raw = part_body(talk)
    assert callback.post(talk, raw, signed_headers(raw, secret="forged"))[0] == 401
    return [json.loads(line) for line in log_lines]


def fields_of(query):
    """Return the names in a query that are fields of a line: no words of the language, nothing it makes."""
    made = {name for names in re.findall(r"\bas (\w+)|\?<(\w+)>", query) for name in names}
    names = set(re.findall(r"(?<![@\w.])[A-Za-z]\w*", re.sub(r'"[^"]*"|/.*/', "", query)))
    return names - LANGUAGE - FUNCTIONS - made


def test_there_is_a_query_for_each_question(queries):
    assert queries.keys() == {
        "story of a message",
        "refused signatures by reason",
        "slowest deliveries",
        "why parked",
        "what each bot answered",
    }


def test_every_field_of_a_query_is_in_a_line_that_it_selects(queries, logged):
    for name, query in queries.items():
        assert fields_of(query), name
        found = [line for line in logged if selects(query, line)]
        missing = fields_of(query) - {field for line in found for field in line}
        assert not missing, (name, missing)


def selects(query, line):
    """Tell whether the filter of a query selects a line, as far as these queries go."""
    condition = re.search(r"filter (.*)", query)[1]
    if present := re.fullmatch(r"ispresent\((\w+)\)", condition):
        return present[1] in line
    field, value = re.fullmatch(r'(\w+) = "(.+)"', condition).groups()
    return field in line if value == "MESSAGE_ID" else line.get(field) == value


def test_the_line_of_a_parked_message_says_why(queries, logged):
    parked = [line for line in logged if line.get("message") == "parked"]
    assert [line.get("status") for line in parked] == [400, None]
    assert "error" not in parked[0]  # LangBot's text can quote a user
    assert parked[1]["error"] == "text must be string"


def test_each_answer_of_a_bot_is_logged_with_its_verdict_and_status(logged):
    attempts = [(line["verdict"], line.get("status")) for line in logged if "verdict" in line]
    assert attempts == [("accepted", 202), ("refused", 400), ("refused", 503), ("unknown", None)]
