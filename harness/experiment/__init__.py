"""What is asked: experiment files, cells, jobs and measures. It measures nothing.

It imports the ground and `networks`.
"""
