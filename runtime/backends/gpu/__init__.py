"""What only a GPU needs: its memory, streams and captured runs, and the ladder of a build on a device."""
