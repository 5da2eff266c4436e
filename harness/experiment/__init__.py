"""Experiments: their files, cells, jobs and measures. Nothing here measures.

It imports the ground and `networks`.
"""
