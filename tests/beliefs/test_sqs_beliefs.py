"""What the relay believes of SQS. The addresses are those of AWS's documents."""

from uuid import uuid4

import pytest

from beliefs.implementations import code_of, on

MEBIBYTE = 1 << 20
HALF_A_DAY = 43_200


def send(aws, url, body, group="a", key=None, **more):
    return aws.client("sqs").send_message(
        QueueUrl=url,
        MessageBody=body,
        MessageGroupId=group,
        MessageDeduplicationId=key or uuid4().hex,
        **more,
    )


def receive(aws, url, most=1):
    found = aws.client("sqs").receive_message(
        QueueUrl=url, MaxNumberOfMessages=most, AttributeNames=["All"], MessageAttributeNames=["All"]
    )
    return found.get("Messages", [])


def bodies(aws, url, most=1):
    return [message["Body"] for message in receive(aws, url, most)]


def hide(aws, url, message, seconds):
    aws.client("sqs").change_message_visibility(
        QueueUrl=url, ReceiptHandle=message["ReceiptHandle"], VisibilityTimeout=seconds
    )


def delete(aws, url, message):
    aws.client("sqs").delete_message(QueueUrl=url, ReceiptHandle=message["ReceiptHandle"])


@on("emulator", "moto", "model")
def test_a_group_waits_while_one_of_its_messages_is_in_flight(aws, queue):
    """https://docs.aws.amazon.com/AWSSimpleQueueService/latest/SQSDeveloperGuide/FIFO-queues-understanding-logic.html"""
    for body, group in (("a1", "a"), ("a2", "a"), ("b1", "b")):
        send(aws, queue, body, group)
    assert [bodies(aws, queue) for _ in range(3)] == [["a1"], ["b1"], []]


@on("emulator", "moto", "model")
def test_a_message_that_is_visible_again_is_before_those_behind_it(aws, queue):
    """https://docs.aws.amazon.com/AWSSimpleQueueService/latest/SQSDeveloperGuide/FIFO-queues-understanding-logic.html"""
    send(aws, queue, "a1")
    send(aws, queue, "a2")
    (first,) = receive(aws, queue)
    hide(aws, queue, first, 0)
    (again,) = receive(aws, queue)
    assert again["Body"] == "a1"
    delete(aws, queue, again)
    assert bodies(aws, queue) == ["a2"]


@on("emulator", "moto", "model")
def test_a_message_is_visible_again_when_its_time_is_up(aws, queue):
    """https://docs.aws.amazon.com/AWSSimpleQueueService/latest/SQSDeveloperGuide/sqs-visibility-timeout.html"""
    send(aws, queue, "a1")
    (first,) = receive(aws, queue)
    hide(aws, queue, first, 3)
    aws.wait(2.2)  # the queue's own time-out
    assert bodies(aws, queue) == []
    aws.wait(1.2)
    assert bodies(aws, queue) == ["a1"]


@on("emulator", "moto", "model")
def test_one_receive_may_return_several_messages_of_a_group_in_order(aws, queue):
    """https://docs.aws.amazon.com/AWSSimpleQueueService/latest/SQSDeveloperGuide/FIFO-queues-understanding-logic.html

    So a consumer that must not overtake a failed message takes one message at a time.
    """
    for number in range(3):
        send(aws, queue, str(number))
    assert bodies(aws, queue, most=10) == ["0", "1", "2"]


@on("emulator", "moto", "model")
def test_a_receive_counts_for_each_message_that_it_returns(aws, queue):
    """https://docs.aws.amazon.com/AWSSimpleQueueService/latest/APIReference/API_ReceiveMessage.html

    The count of a message behind a failed one grows although nobody has tried it. So no queue of the template
    has a redrive policy.
    """
    send(aws, queue, "a1")
    send(aws, queue, "a2")
    for message in receive(aws, queue, most=10):
        hide(aws, queue, message, 0)
    counts = [message["Attributes"]["ApproximateReceiveCount"] for message in receive(aws, queue, most=10)]
    assert counts == ["2", "2"]


@on("emulator", "moto", "model")
def test_the_receive_count_of_a_message_behind_one_in_flight_stays(aws, queue):
    """https://docs.aws.amazon.com/AWSSimpleQueueService/latest/SQSDeveloperGuide/FIFO-queues-understanding-logic.html"""
    send(aws, queue, "a1")
    send(aws, queue, "a2")
    for _ in range(3):
        (first,) = receive(aws, queue)
        hide(aws, queue, first, 0)
    (first,) = receive(aws, queue)
    delete(aws, queue, first)
    (second,) = receive(aws, queue)
    assert (second["Body"], second["Attributes"]["ApproximateReceiveCount"]) == ("a2", "1")


@on("moto", "model", emulator="it accepts 12 hours at any time")
def test_a_message_is_hidden_for_12_hours_from_its_receive_at_the_most(aws, queue):
    """https://docs.aws.amazon.com/AWSSimpleQueueService/latest/APIReference/API_ChangeMessageVisibility.html

    SQS refuses a longer time and does not shorten it. So push asks for less than what is left.
    """
    send(aws, queue, "a1")
    (first,) = receive(aws, queue)
    aws.wait(1.2)
    assert code_of(lambda: hide(aws, queue, first, HALF_A_DAY)) == "InvalidParameterValue"


@on("emulator", "model", moto="it counts the 12 hours from the first receive")
def test_the_12_hours_begin_again_with_each_receive(aws, queue):
    """https://docs.aws.amazon.com/AWSSimpleQueueService/latest/SQSDeveloperGuide/sqs-visibility-timeout.html

    The document can also be read as moto does. Then push could not hide a message that it has tried for half
    a day, and would try it each 120 s.
    """
    send(aws, queue, "a1")
    (first,) = receive(aws, queue)
    aws.wait(1.2)
    hide(aws, queue, first, 0)
    (again,) = receive(aws, queue)
    assert code_of(lambda: hide(aws, queue, again, HALF_A_DAY - 1)) == ""


@on("model")
def test_a_message_that_is_retried_for_days_is_still_received(aws, queue):
    """https://docs.aws.amazon.com/AWSSimpleQueueService/latest/SQSDeveloperGuide/sqs-visibility-timeout.html"""
    send(aws, queue, "a1")
    for _ in range(10):
        (message,) = receive(aws, queue)
        hide(aws, queue, message, HALF_A_DAY - 1)
        aws.wait(HALF_A_DAY)


@on("emulator", "model", moto="it returns a new id for the message that it drops")
def test_a_deduplication_id_counts_within_its_group(aws, queue):
    """https://docs.aws.amazon.com/AWSSimpleQueueService/latest/SQSDeveloperGuide/high-throughput-fifo.html"""
    sent = send(aws, queue, "a1", key="k")
    assert send(aws, queue, "a1", key="k")["MessageId"] == sent["MessageId"]
    assert send(aws, queue, "b1", "b", key="k")["MessageId"] != sent["MessageId"]
    assert [bodies(aws, queue), bodies(aws, queue), bodies(aws, queue)] == [["a1"], ["b1"], []]


@on("emulator", "model", moto="it returns a new id for the message that it drops")
def test_a_deduplication_id_counts_also_after_its_message_was_deleted(aws, queue):
    """https://docs.aws.amazon.com/AWSSimpleQueueService/latest/SQSDeveloperGuide/using-messagededuplicationid-property.html"""
    sent = send(aws, queue, "a1", key="k")
    (first,) = receive(aws, queue)
    delete(aws, queue, first)
    assert send(aws, queue, "a1", key="k")["SequenceNumber"] == sent["SequenceNumber"]
    assert bodies(aws, queue) == []


@on("model")
def test_a_deduplication_id_counts_for_five_minutes(aws, queue):
    """https://docs.aws.amazon.com/AWSSimpleQueueService/latest/SQSDeveloperGuide/using-messagededuplicationid-property.html"""
    sent = send(aws, queue, "a1", key="k")
    aws.wait(299)
    assert send(aws, queue, "a1", key="k")["MessageId"] == sent["MessageId"]
    aws.wait(2)
    assert send(aws, queue, "a1", key="k")["MessageId"] != sent["MessageId"]


@on("model")
def test_a_message_is_gone_after_14_days_however_often_it_was_received(aws, queue):
    """https://docs.aws.amazon.com/AWSSimpleQueueService/latest/APIReference/API_SetQueueAttributes.html"""
    send(aws, queue, "a1")
    for _ in range(13):
        assert bodies(aws, queue) == ["a1"]
        aws.wait(86_400)
    aws.wait(86_400)
    assert bodies(aws, queue) == []


@on("emulator", "model", moto="its sequence numbers are random")
def test_sequence_numbers_grow_in_each_group_and_have_20_digits(aws, queue):
    """https://docs.aws.amazon.com/AWSSimpleQueueService/latest/SQSDeveloperGuide/FIFO-key-terms.html

    A record's key has the number padded to this width, so that keys are in the order of the queue.
    """
    numbers = [send(aws, queue, "x")["SequenceNumber"] for _ in range(12)]
    assert all(number.isdecimal() and len(number) <= 20 for number in numbers)
    assert sorted(set(numbers), key=int) == numbers


@on("emulator", "moto", "model")
def test_a_message_may_have_one_mebibyte_and_no_more(aws, queue):
    """https://docs.aws.amazon.com/AWSSimpleQueueService/latest/SQSDeveloperGuide/quotas-messages.html"""
    assert code_of(lambda: send(aws, queue, "x" * MEBIBYTE)) == ""
    assert code_of(lambda: send(aws, queue, "x" * (MEBIBYTE + 1))) == "InvalidParameterValue"


@on("model", emulator="it counts the body only", moto="it counts the body only")
def test_the_attributes_of_a_message_count_to_its_size(aws, queue):
    """https://docs.aws.amazon.com/AWSSimpleQueueService/latest/SQSDeveloperGuide/sqs-message-metadata.html"""
    attributes = {"name": {"DataType": "String", "StringValue": "x" * 100}}
    sent = code_of(lambda: send(aws, queue, "x" * (MEBIBYTE - 50), MessageAttributes=attributes))
    assert sent == "InvalidParameterValue"


@on("emulator", moto="it takes any body")
@pytest.mark.parametrize("body", ["", "a\x00b", "a\ufffeb"])
def test_a_body_that_is_empty_or_no_xml_is_refused(aws, queue, body):
    """https://docs.aws.amazon.com/AWSSimpleQueueService/latest/APIReference/API_SendMessage.html"""
    assert code_of(lambda: send(aws, queue, body))


@on("emulator", "moto")
def test_a_fifo_queue_needs_a_group_and_a_deduplication_id(aws, queue):
    """https://docs.aws.amazon.com/AWSSimpleQueueService/latest/APIReference/API_SendMessage.html"""
    sqs = aws.client("sqs")
    assert code_of(lambda: sqs.send_message(QueueUrl=queue, MessageBody="x", MessageDeduplicationId="k"))
    assert code_of(lambda: sqs.send_message(QueueUrl=queue, MessageBody="x", MessageGroupId="a"))


@on("model", emulator="it deletes by any handle", moto="it deletes by any handle")
def test_a_message_whose_time_is_up_is_not_deleted_by_its_old_handle(aws, queue):
    """https://docs.aws.amazon.com/AWSSimpleQueueService/latest/APIReference/API_DeleteMessage.html

    A FIFO queue does not delete a message whose visibility time-out is over.
    """
    send(aws, queue, "a1")
    (first,) = receive(aws, queue)
    aws.wait(2.3)
    code_of(lambda: delete(aws, queue, first))
    assert bodies(aws, queue) == ["a1"]


@on("emulator", "moto", "model")
def test_a_standard_queue_returns_what_is_visible(aws):
    """https://docs.aws.amazon.com/AWSSimpleQueueService/latest/SQSDeveloperGuide/standard-queues.html"""
    with aws.queue(visibility=30, fifo=False) as url:
        aws.client("sqs").send_message(QueueUrl=url, MessageBody="part")
        (first,) = receive(aws, url)
        assert (first["Body"], bodies(aws, url)) == ("part", [])
        hide(aws, url, first, 0)
        assert bodies(aws, url) == ["part"]


@on("emulator", "moto", "model")
def test_a_message_in_flight_is_counted_apart_from_the_others(aws, queue):
    """https://docs.aws.amazon.com/AWSSimpleQueueService/latest/SQSDeveloperGuide/sqs-available-cloudwatch-metrics.html

    So an alarm on one of the two numbers is silent about the other.
    """
    send(aws, queue, "a1")
    send(aws, queue, "b1", "b")
    receive(aws, queue)
    found = aws.client("sqs").get_queue_attributes(QueueUrl=queue, AttributeNames=["All"])["Attributes"]
    assert found["ApproximateNumberOfMessages"] == "1"
    assert found["ApproximateNumberOfMessagesNotVisible"] == "1"
