"""What was asked -> a plan that can work, checked before torch is imported."""
