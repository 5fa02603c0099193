"""One outside thing each: Secrets Manager, DynamoDB, S3, SQS, EventBridge and LangBot."""
