"""The demo as a Space, or by hand: python demo/app.py. `macbdf demo` is the same with options."""

import os
from functools import partial

from modeling_macbdf.demo.launch import DemoOptions, serve

if __name__ == "__main__":
    serve(
        DemoOptions(
            model=os.environ.get("MACBDF_MODEL"),  # a Hub repository; without it, the weights in hub_configs/
            host=os.environ.get("GRADIO_SERVER_NAME", "127.0.0.1"),
            port=int(os.environ.get("GRADIO_SERVER_PORT", "7860")),
        ),
        announce=partial(print, flush=True),
    )
