"""What an export does differently by task: one file or folder a task."""
