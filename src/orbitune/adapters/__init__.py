"""Many adapters on one backbone: the adapter bank, import from PEFT, and tools."""
