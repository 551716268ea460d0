"""The likeliest next token after every prefix of a text, as llama.cpp has it. Called with a GGUF file and token ids.

A process of its own, through xllamacpp: another binding of llama.cpp than the one the exporter uses.
"""

from __future__ import annotations

import json
import os
import sys
import urllib.request


def main() -> None:
    """Print a JSON list, one token id for each prefix."""
    from xllamacpp import CommonParams, Server

    parameters = CommonParams()
    parameters.model.path = sys.argv[1]
    parameters.port, parameters.n_ctx, parameters.n_parallel = 0, 512, 1
    parameters.cpuparams.n_threads = 1
    server = Server(parameters)
    ids, found = json.loads(sys.argv[2]), []
    for length in range(1, len(ids) + 1):
        asked = {"prompt": ids[:length], "n_predict": 1, "temperature": 0, "return_tokens": True, "cache_prompt": True}
        request = urllib.request.Request(
            f"{server.listening_address}/completion", json.dumps(asked).encode(), {"content-type": "application/json"}
        )
        with urllib.request.urlopen(request, timeout=60) as reply:
            found.append((json.load(reply)["tokens"] or [-1])[0])
    print(json.dumps(found), flush=True)
    os._exit(0)  # its threads are ended by the process


if __name__ == "__main__":
    main()
