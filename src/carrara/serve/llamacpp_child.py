"""The program that `llamacpp_process.py` starts: a line with the settings, then llama.cpp's server until stdin ends.

It is run as a file and needs nothing of Carrara, so that its environment can be empty.
"""

from __future__ import annotations

import importlib
import json
import os
import resource
import sys
import threading
from pathlib import Path
from typing import Any


def start(settings: dict[str, Any]) -> Any:
    """The server that the settings ask for, listening at a socket in the working folder."""
    xllamacpp: Any = importlib.import_module("xllamacpp")  # which has no types
    params = xllamacpp.CommonParams()
    params.model.path = settings["base"]
    params.lora_adapters = [xllamacpp.CommonAdapterLoraInfo(path, 0.0) for path in settings["adapters"]]
    params.hostnames = [str(Path.cwd() / settings["socket"])]
    params.api_keys = [settings["key"]]
    params.n_parallel = settings["slots"]
    params.n_ctx = settings["slots"] * settings["context"]
    params.kv_unified = False  # so that every slot has the context that was promised
    params.cpuparams.n_threads = params.cpuparams_batch.n_threads = settings["threads"]
    # Both restore what another adapter, or another conversation, left behind; see llama.cpp's issues 26207 and 27148.
    params.cache_ram_mib = 0
    params.cache_idle_slots = False
    if settings["embeds"]:
        params.embedding = True
        params.pooling_type = xllamacpp.llama_pooling_type.LLAMA_POOLING_TYPE_MEAN
        params.n_batch = params.n_ubatch = settings["context"]  # a text is read at once; memory is taken as it is used
    if settings["exact"]:
        params.cache_type_k = params.cache_type_v = xllamacpp.ggml_type.GGML_TYPE_F32
        params.flash_attn_type = xllamacpp.llama_flash_attn_type.LLAMA_FLASH_ATTN_TYPE_DISABLED
    params.fit_params = False
    params.offline = True
    params.ui = False
    params.endpoint_slots = False
    params.verbosity = 1  # failures; what people write is logged above
    return xllamacpp.Server(params)


def leave_with_parent() -> None:
    """End, and tidy up, as soon as stdin ends: whoever started this has closed it, or is gone."""
    sys.stdin.read()
    folder = Path.cwd()
    for path in folder.iterdir():
        path.unlink(missing_ok=True)
    os.chdir("/")
    folder.rmdir()
    os._exit(0)


def main() -> None:
    """Serve; one line on stdout says that the server is ready, the reason why it is not goes to stderr."""
    os.umask(0o077)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))  # a dump would hold conversations
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
    settings = json.loads(sys.stdin.readline())
    watcher = threading.Thread(target=leave_with_parent, daemon=True)
    watcher.start()
    server = start(settings)
    print("ready", flush=True)
    for stream in (1, 2):  # which nobody reads from here on
        os.dup2(os.open(os.devnull, os.O_WRONLY), stream)
    watcher.join()
    del server


if __name__ == "__main__":
    try:
        main()
    except Exception as error:  # told to whoever reads stderr; the process ends either way
        print(error, file=sys.stderr, flush=True)
        os._exit(1)
