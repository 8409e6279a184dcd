"""Carrara: fine-tune LLaMA-family models on private data, with evidence that it helped."""

from importlib.metadata import version

__version__ = version("carrara")
