"""`python -m carrara` is the command `carrara`."""

from carrara.cli.main import main

main()
