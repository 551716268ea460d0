"""The built-in model and the sample data, made from the sources beside this file."""
