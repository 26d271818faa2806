"""The report of a bundle: one page of HTML without scripts."""
