"""One file a backend; each imports its library when a session opens."""
