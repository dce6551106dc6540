"""What a bank of task states is made of: addresses, budgets, files, joining."""
