"""What each function's role may do: everything that it needs, and nothing else.

The emulator enforces these roles in every other test of this folder; here IAM is asked directly, also for
what the emulator does not enforce: the event source mapping's own calls, logs and traces.
"""

from fnmatch import fnmatch

import pytest

from support.second_stack import physical_ids

NEEDS = {
    "PushRole": [
        ("sqs:ReceiveMessage", "PushQueue"),
        ("sqs:DeleteMessage", "PushQueue"),
        ("sqs:GetQueueAttributes", "PushQueue"),
        ("sqs:ChangeMessageVisibility", "PushQueue"),
        ("dynamodb:PutItem", "MessagesTable"),
        ("dynamodb:GetItem", "MessagesTable"),
        ("dynamodb:UpdateItem", "MessagesTable"),
        ("dynamodb:Query", "MessagesTable"),
        ("dynamodb:Query", "MessagesTable/index/awaiting"),
        ("dynamodb:PutItem", "RepliesTable"),
        ("dynamodb:Query", "RepliesTable"),
        ("s3:PutObject", "OverflowBucket/messages/x"),
        ("s3:PutObject", "OverflowBucket/parts/x"),
        ("s3:GetObject", "OverflowBucket/messages/x"),
        ("secretsmanager:GetSecretValue", "bots/any"),
        ("logs:CreateLogStream", "PushLogs"),
        ("logs:PutLogEvents", "PushLogs"),
    ],
    "SettleRole": [
        ("dynamodb:GetRecords", "RepliesTable/stream"),
        ("dynamodb:GetShardIterator", "RepliesTable/stream"),
        ("dynamodb:DescribeStream", "RepliesTable/stream"),
        ("dynamodb:ListStreams", "*"),
        ("dynamodb:Query", "MessagesTable/index/awaiting"),
        ("dynamodb:Query", "MessagesTable"),
        ("dynamodb:GetItem", "MessagesTable"),
        ("dynamodb:UpdateItem", "MessagesTable"),
        ("dynamodb:PutItem", "MessagesTable"),
        ("dynamodb:DeleteItem", "MessagesTable"),
        ("dynamodb:Query", "RepliesTable"),
        ("dynamodb:GetItem", "RepliesTable"),
        ("sqs:SendMessage", "PushQueue"),
        ("lambda:ListEventSourceMappings", "*"),
        ("logs:CreateLogStream", "SettleLogs"),
        ("logs:PutLogEvents", "SettleLogs"),
    ],
    "PublishRole": [
        ("dynamodb:GetRecords", "RepliesTable/stream"),
        ("dynamodb:GetShardIterator", "RepliesTable/stream"),
        ("dynamodb:DescribeStream", "RepliesTable/stream"),
        ("dynamodb:GetRecords", "MessagesTable/stream"),
        ("dynamodb:GetShardIterator", "MessagesTable/stream"),
        ("dynamodb:DescribeStream", "MessagesTable/stream"),
        ("dynamodb:ListStreams", "*"),
        ("dynamodb:Query", "MessagesTable"),
        ("dynamodb:Query", "RepliesTable"),
        ("s3:GetObject", "OverflowBucket/parts/x"),
        ("events:PutEvents", "bus/default"),
        ("logs:CreateLogStream", "PublishLogs"),
        ("logs:PutLogEvents", "PublishLogs"),
    ],
    "CallbackRole": [
        ("dynamodb:PutItem", "RepliesTable"),
        ("s3:PutObject", "OverflowBucket/parts/x"),
        ("s3:PutObject", "OverflowBucket/quarantine/x"),
        ("sqs:SendMessage", "SpillQueue"),
        ("sqs:ReceiveMessage", "SpillQueue"),
        ("sqs:DeleteMessage", "SpillQueue"),
        ("sqs:GetQueueAttributes", "SpillQueue"),
        ("s3:PutObject", "OverflowBucket/spill/x"),
        ("s3:GetObject", "OverflowBucket/spill/x"),
        ("secretsmanager:GetSecretValue", "bots/any"),
        ("logs:CreateLogStream", "CallbackLogs"),
        ("logs:PutLogEvents", "CallbackLogs"),
    ],
}
WITH_KEY = {
    "PushRole": ["kms:Decrypt", "kms:GenerateDataKey"],
    "SettleRole": ["kms:Decrypt", "kms:GenerateDataKey"],
    "PublishRole": ["kms:Decrypt"],
    "CallbackRole": ["kms:Decrypt", "kms:GenerateDataKey"],
}
WITH_TASKS = {
    "PublishRole": [
        ("states:SendTaskSuccess", "machine/ask"),
        ("states:SendTaskFailure", "machine/ask"),
        ("dynamodb:GetItem", "RepliesTable"),
    ]
}
RESOURCES = sorted(
    {resource for needs in NEEDS.values() for _, resource in needs}
    | {"bots-of-others", "bus/other", "key", "key-of-others", "machine/ask", "machine/other"}
)
ACTIONS = [
    *sorted({action for needs in NEEDS.values() for action, _ in needs}),
    "kms:Decrypt",
    "kms:GenerateDataKey",
    "kms:Encrypt",
    "dynamodb:Scan",
    "s3:DeleteObject",
    "secretsmanager:PutSecretValue",
    "sqs:PurgeQueue",
    "iam:PassRole",
    "xray:PutTraceSegments",
    "states:SendTaskSuccess",
    "states:SendTaskFailure",
    "states:StartExecution",
]


@pytest.fixture(scope="session")
def resources(deployed):
    return named_resources(deployed, "relay-local", "no-key")


@pytest.fixture(scope="session")
def guarded_resources(deployed, guarded):
    stack = deployed.client("cloudformation").describe_stacks(StackName=guarded)["Stacks"][0]
    parameters = {one["ParameterKey"]: one["ParameterValue"] for one in stack["Parameters"]}
    return named_resources(deployed, guarded, parameters["KmsKeyArn"])


def named_resources(deployed, stack, key):
    """Return the physical names of a stack's roles, and each name of RESOURCES as an ARN."""
    physical = physical_ids(deployed, stack)
    streams = deployed.client("dynamodbstreams")
    account, region = "000000000000", deployed.stack.region

    def arn(name):
        logical, _, path = name.partition("/")
        match logical:
            case "*":
                return "*"
            case "bots":
                return f"arn:aws:secretsmanager:{region}:{account}:secret:{stack}/bots/{path}-AbCdEf"
            case "bots-of-others":
                return f"arn:aws:secretsmanager:{region}:{account}:secret:other/bots/any-AbCdEf"
            case "OverflowBucket":
                return f"arn:aws:s3:::{physical[logical]}/{path}"
            case "key":
                return key
            case "key-of-others":
                return f"arn:aws:kms:{region}:{account}:key/other"
            case "machine":
                return f"arn:aws:states:{region}:{account}:stateMachine:{path}"
            case "bus":
                return f"arn:aws:events:{region}:{account}:event-bus/{path}"
        if path == "stream":
            return streams.list_streams(TableName=physical[logical])["Streams"][0]["StreamArn"]
        if logical.endswith("Queue"):
            return f"arn:aws:sqs:{region}:{account}:{physical[logical].rpartition('/')[2]}"
        if logical.endswith("Table"):
            return f"arn:aws:dynamodb:{region}:{account}:table/{physical[logical]}{path and '/' + path}"
        return f"arn:aws:logs:{region}:{account}:log-group:{physical[logical]}:log-stream:x"

    return physical, {name: arn(name) for name in RESOURCES}


def allowed(deployed, role, arn):
    """Return those of ACTIONS that a role may do with a resource."""
    response = deployed.client("iam").simulate_principal_policy(
        PolicySourceArn=f"arn:aws:iam::000000000000:role/{role}", ActionNames=ACTIONS, ResourceArns=[arn]
    )
    return [r["EvalActionName"] for r in response["EvaluationResults"] if r["EvalDecision"] == "allowed"]


def check(deployed, resources, role, needs):
    physical, arns = resources
    may = {(action, name) for name, arn in arns.items() for action in allowed(deployed, physical[role], arn)}
    # An action without resources is allowed on all, and so on each.
    everywhere = {action for action, name in needs if name == "*"}
    assert {(action, name) for action, name in may if action not in everywhere} == {
        need for need in needs if need[1] != "*"
    }
    assert {action for action, name in may if name == "*"} == everywhere


@pytest.mark.parametrize("role", NEEDS)
def test_a_role_may_do_what_its_function_needs_and_nothing_else(deployed, resources, role):
    check(deployed, resources, role, NEEDS[role])


@pytest.mark.parametrize("role", NEEDS)
def test_parameters_let_a_role_end_tasks_and_use_no_key_by_itself(deployed, guarded_resources, role):
    check(deployed, guarded_resources, role, NEEDS[role] + WITH_TASKS.get(role, []))


@pytest.mark.parametrize("role", NEEDS)
def test_the_services_that_hold_its_data_may_use_a_customer_key_for_a_role(deployed, guarded_resources, role):
    # The emulator cannot be asked what a role may do through a service.
    physical, arns = guarded_resources
    policy = deployed.client("iam").get_role_policy(
        RoleName=physical[role], PolicyName=role.removesuffix("Role").lower()
    )
    statements = [
        statement
        for statement in policy["PolicyDocument"]["Statement"]
        if statement["Action"] in ("kms:Decrypt", "kms:GenerateDataKey")
    ]
    assert [statement["Action"] for statement in statements] == WITH_KEY[role]
    for statement in statements:
        assert statement["Resource"] == arns["key"]
        ((kind, keys),) = statement["Condition"].items()
        assert (kind, list(keys)) == ("StringLike", ["kms:ViaService"])
        for domain in ("us-east-1.amazonaws.com", "us-east-1.amazonaws.com.cn"):
            through = {
                service
                for service in ("dynamodb", "ec2", "lambda", "s3", "secretsmanager", "ssm", "sqs")
                if any(fnmatch(f"{service}.{domain}", pattern) for pattern in keys["kms:ViaService"])
            }
            assert through == {"dynamodb", "lambda", "s3", "secretsmanager", "sqs"}
        assert not any(fnmatch("s3.eu-west-1.amazonaws.com", one) for one in keys["kms:ViaService"])


def test_a_role_has_no_policy_but_the_templates_own(deployed, resources):
    physical, _ = resources
    for role in NEEDS:
        attached = deployed.client("iam").list_attached_role_policies(RoleName=physical[role])
        assert attached["AttachedPolicies"] == []
