"""The environment of a function."""

VARIABLES = {
    "ANSWER_DEADLINE_SECONDS": "900",
    "BOT_SECRET_PREFIX": "relay/bots/",
    "EVENT_BUS_NAME": "default",
    "KEEP_DAYS": "90",
    "MAX_IN_FLIGHT": "50",
    "MAX_RESENDS": "0",
    "MESSAGES_TABLE": "messages",
    "METRICS_NAMESPACE": "LangBotRelay/relay",
    "OVERFLOW_BUCKET": "bucket",
    "PUSH_MAXIMUM_CONCURRENCY": "10",
    "PUSH_QUEUE_URL": "https://sqs/push.fifo",
    "REPLIES_TABLE": "replies",
    "RETRY_FOR_SECONDS": "21600",
    "SPILL_QUEUE_URL": "https://sqs/spill",
    "STACK_NAME": "relay",
    "TASK_OWNERS": "arn:aws:states:us-east-1:123456789012:stateMachine:ask",
    "TRIGGER_SOURCES": "arn:aws:sqs:us-east-1:123456789012:push.fifo",
}
"""Each variable that a function reads its settings from; no function needs all of them."""
