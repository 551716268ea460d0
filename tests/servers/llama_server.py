"""llama.cpp's own server with a GGUF file, in a process of its own: prints its address, ends when stdin is closed.

`python llama_server.py FILE.gguf ALIAS [API_KEY]`
"""

from __future__ import annotations

import sys


def main() -> None:
    from xllamacpp import CommonParams, Server

    parameters = CommonParams()
    parameters.model.path = sys.argv[1]
    parameters.model_alias = {sys.argv[2]}
    parameters.port = 0
    parameters.n_ctx = 2048
    parameters.n_parallel = 2
    parameters.cpuparams.n_threads = 1
    if len(sys.argv) > 3:
        parameters.api_keys = [sys.argv[3]]
    server = Server(parameters)
    print(server.listening_address, flush=True)
    sys.stdin.read()
    # Its threads are ended by the process: there is nothing to be saved.
    sys.stdout.flush()
    import os

    os._exit(0)


if __name__ == "__main__":
    main()
