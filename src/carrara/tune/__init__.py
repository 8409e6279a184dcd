"""How it learns: methods, objective, step loop, checkpoints, ledger."""
