"""Everything between Textual and the terminal: what it can show, how we write to it, how we leave it."""
