"""The rules of the relay: pure functions that know nothing of AWS, of HTTP clients or of clocks."""
