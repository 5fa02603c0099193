"""What guards a deployed stack beside the functions' permissions: TLS, senders, the customer key, the API.

The stack `guarded` has all parameters for this; the stack of the other tests has their defaults.
"""

import json
import re

import boto3
import pytest
from botocore.exceptions import ClientError

from local.local_stack import ROOT
from support.permissions import listed
from support.second_stack import as_list, physical_ids, processed_template, second_stack, wait_for_stack

TLS = {"Bool": {"aws:SecureTransport": False}}
KEY_IF_ANY = {"Fn::If": ["HasKey", {"Ref": "KmsKeyArn"}, {"Ref": "AWS::NoValue"}]}


def queue_policy(deployed, url):
    attributes = deployed.client("sqs").get_queue_attributes(QueueUrl=url, AttributeNames=["Policy"])
    return json.loads(attributes["Attributes"]["Policy"])["Statement"]


def refuses_without_tls(statements):
    return any(
        one["Effect"] == "Deny" and one["Principal"] == "*" and one["Condition"] == TLS for one in statements
    )


def test_every_queue_refuses_requests_without_tls(deployed):
    queues = physical_ids(deployed, "relay-local", "AWS::SQS::Queue")
    assert len(queues) == 2
    for url in queues.values():
        assert refuses_without_tls(queue_policy(deployed, url))


def test_the_bucket_refuses_requests_without_tls(deployed):
    bucket = deployed.local.outputs["OverflowBucketName"]
    policy = json.loads(deployed.client("s3").get_bucket_policy(Bucket=bucket)["Policy"])
    assert refuses_without_tls(policy["Statement"])
    assert policy["Statement"][0]["Resource"] == [f"arn:aws:s3:::{bucket}", f"arn:aws:s3:::{bucket}/*"]


def send_from(deployed, account, url):
    """Send a message as the root user of another account."""
    sqs = boto3.client(
        "sqs",
        endpoint_url=deployed.local.outputs["EndpointUrl"],
        region_name=deployed.stack.region,
        aws_access_key_id=account,
        aws_secret_access_key="test",
    )
    sqs.send_message(
        QueueUrl=url,
        MessageBody='{"session_id": "s", "text": "t", "bot": "nobody"}',
        MessageGroupId=account,
        MessageDeduplicationId=account,
    )


def test_only_an_account_that_a_parameter_names_may_send(deployed, guarded):
    url = physical_ids(deployed, guarded)["PushQueue"]
    send_from(deployed, "111111111111", url)
    for other in ("222222222222", "333333333334"):
        with pytest.raises(ClientError, match="AccessDenied"):
            send_from(deployed, other, url)


def test_by_default_no_other_account_may_send(deployed):
    with pytest.raises(ClientError, match="AccessDenied"):
        send_from(deployed, "111111111111", deployed.local.outputs["PushQueueUrl"])


@pytest.mark.parametrize(
    ("parameter", "named", "unnamed"),
    [
        (
            "SenderPrincipals",
            [
                "",
                "111122223333",
                "arn:aws:iam::111122223333:root",
                "arn:aws-cn:iam::111122223333:role/a/shop",
            ],
            [
                "*",
                "arn:aws:iam::*:root",
                "arn:aws:iam::111122223333:role/*",
                "arn:aws:iam::111122223333:role",
            ],
        ),
        (
            "SenderSources",
            ["", "arn:aws:sns:eu-west-1:111122223333:orders.fifo"],
            ["*", "arn:aws:sns:*:*:*", "arn:aws:sns:eu-west-1:111122223333:*.fifo", "arn:aws:sns:a:1:b"],
        ),
    ],
)
def test_each_sender_is_named_without_a_wildcard(deployed, parameter, named, unnamed):
    # CloudFormation matches each value of the list whole.
    pattern = processed_template(deployed)["Parameters"][parameter]["AllowedPattern"]
    assert [value for value in named + unnamed if re.fullmatch(pattern, value)] == named


def test_a_named_sender_may_send_and_nothing_else(deployed, guarded):
    queues = physical_ids(deployed, guarded, "AWS::SQS::Queue")
    allowed = [one for one in queue_policy(deployed, queues["PushQueue"]) if one["Effect"] == "Allow"]
    assert [one["Action"] for one in allowed] == ["sqs:SendMessage"] * 2
    for name in queues.keys() - {"PushQueue"}:
        assert [one["Effect"] for one in queue_policy(deployed, queues[name])] == ["Deny"]


def test_a_topic_may_send_only_if_a_parameter_names_it(deployed, guarded):
    url = physical_ids(deployed, guarded)["PushQueue"]
    (statement,) = (one for one in queue_policy(deployed, url) if "Service" in one["Principal"])
    source = f"arn:aws:sns:{deployed.stack.region}:000000000000:orders.fifo"
    assert statement["Principal"] == {"Service": "sns.amazonaws.com"}
    assert statement["Condition"] == {"ArnEquals": {"aws:SourceArn": [source]}}
    url = deployed.local.outputs["PushQueueUrl"]
    assert [one["Effect"] for one in queue_policy(deployed, url)] == ["Deny"]


@pytest.mark.parametrize(
    ("kind", "path"),
    [
        ("AWS::SQS::Queue", ["KmsMasterKeyId"]),
        ("AWS::DynamoDB::Table", ["SSESpecification", "KMSMasterKeyId"]),
        ("AWS::SecretsManager::Secret", ["KmsKeyId"]),
        ("AWS::Logs::LogGroup", ["KmsKeyId"]),
        ("AWS::Lambda::Function", ["KmsKeyArn"]),
        (
            "AWS::S3::Bucket",
            [
                "BucketEncryption",
                "ServerSideEncryptionConfiguration",
                0,
                "ServerSideEncryptionByDefault",
                "KMSMasterKeyID",
            ],
        ),
    ],
)
def test_the_customer_key_encrypts_every_resource_of_a_kind(deployed, kind, path):
    found = {
        k: v["Properties"] for k, v in processed_template(deployed)["Resources"].items() if v["Type"] == kind
    }
    assert found
    for name, value in found.items():
        for step in path:
            value = value[step]
        assert value == KEY_IF_ANY, name


def test_the_customer_key_reaches_the_deployed_queues_and_secrets(deployed, guarded):
    sqs, secrets = deployed.client("sqs"), deployed.client("secretsmanager")
    for url in physical_ids(deployed, guarded, "AWS::SQS::Queue").values():
        attributes = sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["All"])["Attributes"]
        assert attributes["KmsMasterKeyId"].startswith("arn:aws:kms:")
        assert attributes["SqsManagedSseEnabled"] == "false"
    for secret in physical_ids(deployed, guarded, "AWS::SecretsManager::Secret").values():
        assert secrets.describe_secret(SecretId=secret)["KmsKeyId"].startswith("arn:aws:kms:")


def test_without_a_customer_key_the_queues_are_encrypted_all_the_same(deployed):
    for url in physical_ids(deployed, "relay-local", "AWS::SQS::Queue").values():
        found = deployed.client("sqs").get_queue_attributes(QueueUrl=url, AttributeNames=["All"])[
            "Attributes"
        ]
        assert found["SqsManagedSseEnabled"] == "true"


def test_a_customer_key_that_is_set_later_keeps_the_bots_secrets(deployed):
    secrets = deployed.client("secretsmanager")
    key = deployed.client("kms").create_key()["KeyMetadata"]["Arn"]
    with second_stack(deployed, "relay-rekeyed") as name:
        before = secrets.get_secret_value(SecretId=f"{name}/bots/default")["SecretString"]
        deployed.client("cloudformation").update_stack(
            StackName=name,
            UsePreviousTemplate=True,
            Parameters=as_list({"KmsKeyArn": key}),
            Capabilities=["CAPABILITY_IAM", "CAPABILITY_AUTO_EXPAND"],
        )
        wait_for_stack(deployed, name, "UPDATE_COMPLETE")
        assert secrets.describe_secret(SecretId=f"{name}/bots/default")["KmsKeyId"] == key
        assert secrets.get_secret_value(SecretId=f"{name}/bots/default")["SecretString"] == before


def test_a_deleted_stack_leaves_nothing(deployed):
    cloudformation = deployed.client("cloudformation")
    with second_stack(deployed, "relay-deleted") as name:
        stack_id = cloudformation.describe_stacks(StackName=name)["Stacks"][0]["StackId"]
        cloudformation.delete_stack(StackName=name)
        wait_for_stack(deployed, stack_id, "DELETE_COMPLETE")
        assert deployed.client("sqs").list_queues(QueueNamePrefix=f"{name}-").get("QueueUrls", []) == []
        assert not [
            table for table in deployed.client("dynamodb").list_tables()["TableNames"] if name in table
        ]


def test_a_stack_with_termination_protection_is_not_deleted(deployed):
    cloudformation = deployed.client("cloudformation")
    with second_stack(deployed, "relay-protected") as name:
        cloudformation.update_termination_protection(StackName=name, EnableTerminationProtection=True)
        with pytest.raises(ClientError, match="TerminationProtection is enabled"):
            cloudformation.delete_stack(StackName=name)
        cloudformation.update_termination_protection(StackName=name, EnableTerminationProtection=False)


def test_the_template_needs_no_transform_but_sams():
    template = (ROOT / "template.yaml").read_text("utf-8")
    assert re.findall("^Transform: (.+)$", template, re.MULTILINE) == ["AWS::Serverless-2016-10-31"]


def test_lambda_takes_the_roles_only_for_functions_of_this_account(deployed):
    iam, roles = deployed.client("iam"), physical_ids(deployed, "relay-local", "AWS::IAM::Role")
    assert len(roles) == 4
    for role in roles.values():
        (statement,) = iam.get_role(RoleName=role)["Role"]["AssumeRolePolicyDocument"]["Statement"]
        assert statement["Condition"] == {"StringEquals": {"aws:SourceAccount": "000000000000"}}


def test_a_service_may_invoke_a_function_only_for_a_resource_of_the_stack(deployed):
    resources = processed_template(deployed)["Resources"].values()
    permissions = [one["Properties"] for one in resources if one["Type"] == "AWS::Lambda::Permission"]
    assert {one["Principal"] for one in permissions} == {"apigateway.amazonaws.com", "events.amazonaws.com"}
    for one in permissions:
        assert re.search("CallbackApi|SettleFunctionEachMinute", json.dumps(one["SourceArn"]))


def test_publish_may_publish_only_in_the_relays_name(deployed):
    policy = deployed.client("iam").get_role_policy(
        RoleName=deployed.physical_id("PublishRole"), PolicyName="publish"
    )
    (statement,) = (
        one for one in policy["PolicyDocument"]["Statement"] if "events:PutEvents" in listed(one["Action"])
    )
    assert statement["Condition"] == {"ForAllValues:StringEquals": {"events:source": "langbot-relay"}}


def test_the_api_has_a_ceiling_that_a_parameter_sets(deployed):
    resources, parameter = processed_template(deployed)["Resources"], {"Ref": "MaxCallbacksPerSecond"}
    (found,) = (one for one in resources.values() if one["Type"] == "AWS::ApiGatewayV2::Stage")
    settings = found["Properties"]["DefaultRouteSettings"]
    assert settings == {"ThrottlingRateLimit": parameter, "ThrottlingBurstLimit": parameter}


def stage(deployed, stack):
    api = physical_ids(deployed, stack)["CallbackApi"]
    (found,) = deployed.client("apigatewayv2").get_stages(ApiId=api)["Items"]
    return found


def test_the_access_log_is_off_by_default(deployed):
    assert "AccessLogSettings" not in stage(deployed, "relay-local")
    assert "AccessLogs" not in physical_ids(deployed, "relay-local")


def test_the_access_log_has_path_and_status_but_no_header_and_no_body(deployed, guarded):
    settings = stage(deployed, guarded)["AccessLogSettings"]
    assert physical_ids(deployed, guarded)["AccessLogs"] in settings["DestinationArn"]
    fields = json.loads(settings["Format"])
    assert {"time", "ip", "path", "status"} <= fields.keys()
    assert not any("header" in value or "body" in value for value in fields.values())
