"""Pictures to calibrate and to judge with: found, drawn, read, labelled."""
