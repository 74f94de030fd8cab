"""An S3 server on 127.0.0.1 for the tests: moto, in a process of its own: `python s3_server.py PORT [--careless]`.

With `--careless` it is a store that ignores conditions: If-None-Match and If-Match are dropped before moto sees them.
Otherwise writes are served one by one, because moto does not compare and write in one step. The access key `wrong` is
refused as AWS refuses a key that it does not know. There is a bucket `bucket`, and no other.
"""

from __future__ import annotations

import contextlib
import sys
import threading
from collections.abc import Callable, Iterable
from typing import Any

REFUSAL = b"""<?xml version="1.0" encoding="UTF-8"?>
<Error><Code>InvalidAccessKeyId</Code>
<Message>The AWS Access Key Id you provided does not exist in our records.</Message></Error>"""


def _application(careless: bool) -> Callable[..., Iterable[bytes]]:
    from moto.backends import get_backend
    from moto.core.models import DEFAULT_ACCOUNT_ID
    from moto.moto_server.werkzeug_app import DomainDispatcherApplication, create_backend_app

    get_backend("s3")[DEFAULT_ACCOUNT_ID]["aws"].create_bucket("bucket", "us-east-1")
    moto = DomainDispatcherApplication(create_backend_app)
    one_by_one = threading.Lock()

    def application(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        if careless:
            environ.pop("HTTP_IF_NONE_MATCH", None)
            environ.pop("HTTP_IF_MATCH", None)
        if "Credential=wrong/" in environ.get("HTTP_AUTHORIZATION", ""):
            start_response("403 Forbidden", [("Content-Type", "application/xml")])
            return [] if environ["REQUEST_METHOD"] == "HEAD" else [REFUSAL]
        with one_by_one if environ["REQUEST_METHOD"] == "PUT" else contextlib.nullcontext():
            answer: Iterable[bytes] = moto(environ, start_response)
        return answer

    return application


if __name__ == "__main__":
    import logging

    from werkzeug.serving import run_simple

    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    run_simple("127.0.0.1", int(sys.argv[1]), _application("--careless" in sys.argv), threaded=True)
