"""A client by the Python classes that are generated of Envoy's public protobufs, over grpc: prints how many calls were OK before
the first that was over its limit."""
import sys

import grpc
from envoy_data_plane.envoy.extensions.common.ratelimit.v3 import RateLimitDescriptor, RateLimitDescriptorEntry
from envoy_data_plane.envoy.service.ratelimit.v3 import RateLimitRequest, RateLimitResponseCode, RateLimitServiceSyncStub


def main(host, port, domain, key, value):
    request = RateLimitRequest(domain=domain, descriptors=[RateLimitDescriptor(entries=[RateLimitDescriptorEntry(key=key, value=value)])])
    passed = 0
    with grpc.insecure_channel(f"{host}:{port}") as channel:
        while RateLimitServiceSyncStub(channel).should_rate_limit(request).overall_code != RateLimitResponseCode.OVER_LIMIT:
            passed += 1
    print(passed)


main(*sys.argv[1:])
