"""The command `relay`."""
