"""Stands in for llama-cpp-python's build backend while pip downloads its source: `engine.export.converter_fetch`."""
