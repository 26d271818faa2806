"""What a picture file is: by its name, and by what it says of itself before anything is decoded."""
