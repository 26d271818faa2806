"""Words that are said in many places and mean one thing."""

# docs/hardware.md: what has run where, and which command is the missing step
NOT_ON_HARDWARE = "not yet run on hardware"
