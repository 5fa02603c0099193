"""What the relay believes of CloudFormation. The addresses are those of AWS's documents."""

import json
from urllib.parse import unquote

from beliefs.implementations import code_of, on


@on("emulator", fixture="probed")
def test_a_statement_without_a_value_is_not_in_a_policy(probed):
    """https://docs.aws.amazon.com/AWSCloudFormation/latest/TemplateReference/pseudo-parameter-reference.html

    A list parameter that is empty has one element, the empty text.
    """
    policy = probed.client("iam").get_role_policy(RoleName=probed.outputs["Role"], PolicyName="probe")
    document = policy["PolicyDocument"]
    document = json.loads(unquote(document)) if isinstance(document, str) else document
    assert len(document["Statement"]) == 3


@on(fixture="probed", emulator="it compares no policies of a role")
def test_a_policy_that_was_changed_is_drift_of_its_role(probed):
    """https://docs.aws.amazon.com/AWSCloudFormation/latest/UserGuide/detect-drift-resource.html"""
    iam, role = probed.client("iam"), probed.outputs["Role"]
    policy = iam.get_role_policy(RoleName=role, PolicyName="probe")["PolicyDocument"]
    iam.delete_role_policy(RoleName=role, PolicyName="probe")
    try:
        found = probed.client("cloudformation").detect_stack_resource_drift(
            StackName=probed.outputs["Stack"], LogicalResourceId="Role"
        )
    finally:
        iam.put_role_policy(RoleName=role, PolicyName="probe", PolicyDocument=json.dumps(policy))
    assert found["StackResourceDrift"]["StackResourceDriftStatus"] == "MODIFIED"


@on("emulator", fixture="probed")
def test_a_stack_that_is_protected_is_not_deleted(probed):
    """https://docs.aws.amazon.com/AWSCloudFormation/latest/UserGuide/using-cfn-protect-stacks.html"""
    cloudformation, name = probed.client("cloudformation"), probed.outputs["Stack"]

    def protect(enabled):
        cloudformation.update_termination_protection(StackName=name, EnableTerminationProtection=enabled)

    protect(True)
    try:
        assert code_of(lambda: cloudformation.delete_stack(StackName=name)) == "ValidationError"
    finally:
        protect(False)


@on("emulator", fixture="probed")
def test_a_reference_to_a_queue_is_its_url_and_to_a_function_its_name(probed):
    """https://docs.aws.amazon.com/AWSCloudFormation/latest/TemplateReference/aws-resource-sqs-queue.html"""
    queue = probed.client("sqs").get_queue_url(QueueName=f"{probed.outputs['Stack']}.fifo")["QueueUrl"]
    function = probed.client("lambda").get_function(FunctionName=probed.outputs["Function"])
    assert probed.outputs["QueueUrl"].rpartition("/")[2] == queue.rpartition("/")[2]
    assert function["Configuration"]["FunctionName"] == probed.outputs["Function"]
