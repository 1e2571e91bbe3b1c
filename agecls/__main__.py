"""``python -m agecls``."""

from agecls.cli import main

main()
