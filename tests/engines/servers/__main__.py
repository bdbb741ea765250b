"""Fetches and builds every engine that is not there yet, so that no test has to wait for it."""

from __future__ import annotations

from tests.engines.servers import dynamodb, iam_simulator, local_kms, opensearch, s3


def main() -> None:
    """Says what is at hand."""
    found = {
        "a DynamoDB engine": dynamodb.install(),
        "an S3 server": s3.obtain_s3(),
        "OpenSearch": opensearch.classpath(),
        "a Java that it runs on": opensearch.java(),
        "a KMS": local_kms.local_kms_program(),
        "a policy simulator": iam_simulator.iam_simulator_folder(),
    }
    for name, place in found.items():
        print(f"{name}: {place}", flush=True)


if __name__ == "__main__":
    main()
