"""What a session makes of its graph's results: one file or folder a task."""
