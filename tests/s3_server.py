"""moto, which answers as S3 and EC2 do, on this machine; and the environment that leads to it as an S3 server."""

import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

SECRET = "wJalrXUtnFEMIK7MDENGbPxRfiCYEXAMPLEKEY"
BUCKET = "corpora"


@contextmanager
def moto_server(address: str = "127.0.0.1", port: int = 0) -> Iterator[str]:
    """A server in a thread, its URL; port 0 is any that is free."""
    moto = pytest.importorskip("moto.server")
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    server = moto.ThreadedMotoServer(ip_address=address, port=port, verbose=False)
    server.start()
    yield "http://{}:{}".format(*server.get_host_and_port())
    server.stop()


def bucket_bytes(folder: str) -> dict[str, bytes]:
    """Objects of a folder of the bucket, by their path in it; within `using_s3`."""
    from pyarrow import fs

    bucket = fs.S3FileSystem(endpoint_override=os.environ["AWS_ENDPOINT_URL"])
    found = bucket.get_file_info(fs.FileSelector(f"{BUCKET}/{folder}", recursive=True, allow_not_found=True))
    paths = [file.path for file in found if file.type == fs.FileType.File]
    return {
        path.removeprefix(f"{BUCKET}/{folder}/"): bucket.open_input_file(path).readall() for path in paths
    }


def s3_settings(url: str) -> dict[str, str]:
    """Variables that lead to the S3 server at `url`."""
    return {
        "AWS_ACCESS_KEY_ID": "AKIAIOSFODNN7EXAMPLE",
        "AWS_SECRET_ACCESS_KEY": SECRET,
        "AWS_REGION": "us-east-1",
        "AWS_ENDPOINT_URL": url,
        "AWS_EC2_METADATA_DISABLED": "true",
    }


@contextmanager
def using_s3(url: str, **more: str) -> Iterator[None]:
    """This process and its children set up to use the S3 server at `url`, which has the bucket BUCKET."""
    from pyarrow import fs

    with pytest.MonkeyPatch.context() as patch:
        for name in [name for name in os.environ if name.startswith("AWS_")]:
            patch.delenv(name)
        for name, value in {**s3_settings(url), **more}.items():
            patch.setenv(name, value)
        fs.S3FileSystem(endpoint_override=url, allow_bucket_creation=True).create_dir(BUCKET)
        yield
