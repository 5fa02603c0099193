"""A world that can be broken: the functions' code on models of AWS and LangBot, in simulated time."""
