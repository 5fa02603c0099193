import pytest

from relay_cli.routes import pipeline_of, route_findings

PIPELINE = {
    "matched": True,
    "target_type": "pipeline",
    "target_uuid": "p-1",
    "target": {"target_name": "Support"},
    "reason": "Event route matched pipeline target",
}
AGENT = PIPELINE | {"target_type": "agent", "target_uuid": "a-1", "target": {"target_name": "Helper"}}
DISCARD = PIPELINE | {"target_type": "discard", "target_uuid": "", "target": None}
NO_ROUTE = {"matched": False, "target_type": None, "target_uuid": "", "target": None, "reason": "No binding"}
DEAD = PIPELINE | {"matched": False, "reason": "Pipeline target not found"}


def found(person=PIPELINE, addressed=PIPELINE, group=PIPELINE, agents=None, **bot):
    results = {"person": person, "group, addressed": addressed, "group": group}
    return {finding.check: finding for finding in route_findings(bot, results, agents or {}, "sales")}


def test_pipeline_is_well():
    findings = found()
    assert [finding.ok for finding in findings.values()] == [True, True]
    assert findings["route (person)"].text == "to the pipeline Support"


@pytest.mark.parametrize(
    ("result", "text"),
    [
        (NO_ROUTE, "no route: LangBot accepts it and says nothing"),
        (DEAD, "its route is dead: Pipeline target not found"),
        (DISCARD, "LangBot discards it"),
    ],
)
def test_route_that_leads_nowhere_is_a_fault(result, text):
    finding = found(person=result)["route (person)"]
    assert (finding.ok, finding.text) == (False, text)
    assert finding.advice


def test_agent_is_told_of_with_the_field_that_its_pushes_need():
    finding = found(person=AGENT, agents={"a-1": {"component_ref": "plugin:x/y/z"}})["route (person)"]
    assert finding.ok is None
    assert "--replies push" in finding.advice


def test_agent_without_a_runner_is_a_fault():
    finding = found(person=AGENT, agents={"a-1": {"component_ref": None}})["route (person)"]
    assert (finding.ok, finding.text) == (False, "the agent Helper has no runner")


def test_group_route_that_needs_an_at_is_told_of():
    finding = found(group=NO_ROUTE)["route (group)"]
    assert finding.ok is None
    assert "--group-at" in finding.advice


@pytest.mark.parametrize(("enabled", "told"), [(True, True), (False, False)])
def test_event_processor_beside_the_route_is_told_of(enabled, told):
    processors = [{"processor_uuid": "e-1", "enabled": enabled}]
    assert ("event processor" in found(plugin_processors=processors)) is told


def test_release_before_routes_needs_a_pipeline():
    assert pipeline_of({"use_pipeline_uuid": "p-1"}).ok is True
    assert pipeline_of({"use_pipeline_uuid": ""}).ok is False
