"""The kinds of files that are damaged, one module each.

NAME: str
prepare(folder: Path) -> None                  the valid originals, made once
mutant(random, folder, target) -> Path         one damaged copy under ``target``; all chance comes from ``random``
use(path: Path) -> None                        what the commands do with it; an EdgesmithError refuses it in words
"""
