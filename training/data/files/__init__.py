"""Datasets of image files: folders and archives, single images, domains and pairs."""
