"""What every chapter stands on: a file that appears whole, one measure of two answers, words said in one way."""
