"""A search that keeps everything on an S3 server, and goes on from there alone after its driver was killed."""

import sys
from pathlib import Path

import pytest

from tests.lab import searches
from tests.lab.laboratory import LAPTOP

pytestmark = [pytest.mark.lab, pytest.mark.s3, pytest.mark.cluster, pytest.mark.slow]

PACKAGES = Path(sys.prefix) / "s3-server"
PORT = 5000
URI = f"s3://bucket/searches?endpoint_override={LAPTOP}:{PORT}&scheme=http"
ENVIRONMENT = searches.ENVIRONMENT | {
    "AWS_ACCESS_KEY_ID": "anybody",
    "AWS_SECRET_ACCESS_KEY": "anything",
    "AWS_EC2_METADATA_DISABLED": "true",  # no Amazon here to ask for other credentials
}


@pytest.fixture(scope="module")
def laboratory(build_laboratory, step):
    """Three machines with Ray, and an S3 server on the laptop with an empty bucket."""
    if not PACKAGES.exists():
        pytest.skip(f"no S3 server in {PACKAGES}; make cluster-test-s3 installs one")
    with build_laboratory(ENVIRONMENT) as laboratory:
        server = laboratory.laptop.start(f"PYTHONPATH={PACKAGES} exec python -m moto.server -H {LAPTOP} -p {PORT}")
        try:
            laboratory.laptop.wait_for_port(PORT)
            with step("ray start on three machines"):
                searches.start_ray(laboratory, cpus=1)
            yield laboratory
        finally:
            server.kill()


def test_a_search_whose_driver_was_killed_goes_on_from_the_bucket(laboratory, step):
    bucket = searches.Bucket(laboratory.laptop, PORT, "bucket", "searches/")
    bucket.create()
    searches.kill_the_driver_and_resume(laboratory, step, bucket, URI)
    assert list(laboratory.shared.iterdir()) == []
