"""The steps of the stage, a module each: files in, files out, numbers by the packages beside it."""
