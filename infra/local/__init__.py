"""The relay on this machine: the stack of template.yaml, a bot to talk to, and a demonstration."""
