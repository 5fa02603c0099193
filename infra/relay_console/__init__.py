"""The console: the conversations, the protocol and the state of a stack on one page, live."""
