"""An open bundle: inputs checked, run, timed, tested against its golden outputs."""
