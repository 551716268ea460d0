"""How shipped artefacts are made. Nothing here is installed with the console."""
