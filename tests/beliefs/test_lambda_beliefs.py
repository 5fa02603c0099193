"""What the relay believes of Lambda. The addresses are those of AWS's documents."""

from uuid import uuid4

import pytest
import requests

from beliefs.implementations import code_of, on


@pytest.fixture
def test():
    """The name of the test's own jobs."""
    return uuid4().hex


def job(test, number, **more):
    return {"of": test, "number": number, **more}


@on("emulator", "model", fixture="probed")
def test_a_message_that_failed_comes_again_before_those_behind_it(probed, test):
    """https://docs.aws.amazon.com/lambda/latest/dg/services-sqs-errorhandling.html

    A message that waits behind it is not received meanwhile, so its receive count stays.
    """
    probed.send(test, job(test, 1, fails=1), job(test, 2))
    assert probed.noted(test, last=2) == [(1, 1), (1, 2), (2, 1)]


@on("emulator", "model", fixture="probed")
def test_a_message_that_failed_holds_up_no_other_group(probed, test):
    """https://docs.aws.amazon.com/lambda/latest/dg/services-sqs-scaling.html"""
    probed.send(test, job(test, 1, fails=1), job(test, 3))
    probed.send(f"{test}-2", job(test, 2))
    noted = [number for number, _ in probed.noted(test, last=3)]
    assert (sorted(noted[:2]), noted[2:]) == ([1, 2], [1, 3])


@on("emulator", "model", fixture="probed")
def test_a_message_comes_again_if_the_function_raises(probed, test):
    """https://docs.aws.amazon.com/lambda/latest/dg/services-sqs-errorhandling.html"""
    probed.send(test, job(test, 1, raises=1), job(test, 2))
    assert probed.noted(test, last=2) == [(1, 1), (1, 2), (2, 1)]


@on("model", fixture="probed", emulator="it deletes what a malformed response does not name")
def test_a_response_that_names_no_message_fails_the_whole_batch(probed, test):
    """https://docs.aws.amazon.com/lambda/latest/dg/services-sqs-errorhandling.html"""
    probed.send(test, job(test, 1, garbles=1), job(test, 2))
    assert probed.noted(test, last=2) == [(1, 1), (1, 2), (2, 1)]


@on("model", fixture="probed", emulator="it passes over the whole batch")
def test_a_stream_comes_again_from_the_record_that_failed_on(probed, test):
    """https://docs.aws.amazon.com/lambda/latest/dg/services-ddb-batchfailurereporting.html

    Records behind the failed one come again too, whether the function has handled them or not.
    """
    probed.change(test, job(test, 1), job(test, 2, fails=1), job(test, 3))
    probed.noted(test, last=3)
    probed.change(test, job(test, 4))
    noted = [number for number, _ in probed.noted(test, last=4)]
    assert (noted.count(2), noted[-3:]) == (2, [2, 3, 4])


@on("emulator", "model", fixture="probed")
def test_a_stream_comes_again_if_the_function_raises(probed, test):
    """https://docs.aws.amazon.com/lambda/latest/dg/services-dynamodb-errors.html"""
    probed.change(test, job(test, 1, raises=1), job(test, 2))
    assert [number for number, _ in probed.noted(test, last=2)] == [1, 1, 2]


@on("emulator", "model", fixture="probed")
def test_a_write_that_changes_nothing_is_not_in_a_stream(probed, test):
    """https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/Streams.html"""
    probed.change(test, job(test, 1), job(test, 1), job(test, 2))
    assert [number for number, _ in probed.noted(test, last=2)] == [1, 2]


@on("emulator", "model", fixture="probed")
def test_a_record_that_no_filter_matches_invokes_nothing(probed, test):
    """https://docs.aws.amazon.com/lambda/latest/dg/with-ddb-filtering.html"""
    probed.change(test, {"number": 1}, job(test, 2))
    assert [number for number, _ in probed.noted(test, last=2)] == [2]


@on("emulator", fixture="probed")
def test_a_throttled_function_behind_an_http_api_is_a_5xx(probed):
    """https://repost.aws/questions/QUfI6bsdd0SOiPeyimzxSkfQ

    LangBot posts a part again after a 5xx, and never after a 429.
    """
    response = requests.post(f"{probed.api_url}/throttled", json={}, timeout=60)
    assert response.status_code in (500, 502, 503, 504)


@on(emulator="it takes any time-out")
def test_a_queue_must_hide_a_message_for_as_long_as_the_function_may_run(aws, deployed_probe):
    """https://docs.aws.amazon.com/lambda/latest/dg/services-sqs-configure.html"""
    with aws.queue(visibility=4) as url:
        arn = queue_arn(aws, url)
        functions = aws.client("lambda")
        mapped = code_of(
            lambda: functions.create_event_source_mapping(
                FunctionName=deployed_probe.outputs["Function"], EventSourceArn=arn
            )
        )
    assert mapped == "InvalidParameterValueException"


def queue_arn(aws, url):
    found = aws.client("sqs").get_queue_attributes(QueueUrl=url, AttributeNames=["QueueArn"])
    return found["Attributes"]["QueueArn"]
