"""Models that come with the program: data files, trained on phantoms and named so, never taken by default."""
