"""Bundles: a winner's graphs, vocabularies, manifest and runner, proven on the device."""
