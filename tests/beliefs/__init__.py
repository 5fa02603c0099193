"""What the relay believes of AWS: a test for each belief, on each implementation of AWS that can show it."""
