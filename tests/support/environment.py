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
    "PARKED_QUEUE_URL": "https://sqs/parked.fifo",
    "PUSH_MAXIMUM_CONCURRENCY": "3",
    "PUSH_QUEUE_URL": "https://sqs/push.fifo",
    "RECHECK_QUEUE_URL": "https://sqs/recheck",
    "REPLIES_TABLE": "replies",
    "RETRY_FOR_SECONDS": "21600",
    "SPILL_QUEUE_URL": "https://sqs/spill",
    "STACK_NAME": "relay",
    "SYNC_QUEUE_URL": "https://sqs/sync.fifo",
}
"""Each variable that a function reads its settings from; no function needs all of them."""
