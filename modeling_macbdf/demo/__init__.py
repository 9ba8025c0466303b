"""The web demo: needs the extra `demo`. `serve` in launch.py starts it; gradio is imported there only."""
