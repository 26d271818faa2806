"""``edgesmith run`` and ``eval`` on the device, torch-free."""
