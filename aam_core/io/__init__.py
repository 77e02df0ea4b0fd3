"""The folder of an encoder or model: what artifacts hold."""
