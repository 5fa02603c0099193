"""Where the relay touches the world: Secrets Manager, DynamoDB, S3, SQS and LangBot."""
