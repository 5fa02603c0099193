"""The client library: sends messages through the push queue and reads the tables."""
