"""What a command would do and what it would take (`plan=true`), without starting anything."""
