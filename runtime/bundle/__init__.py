"""The bundle's file format: manifest, vetting, golden outputs, publishing whole or not at all."""
