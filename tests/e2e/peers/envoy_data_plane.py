"""A client by the Python classes that are generated of Envoy's public protobufs, over grpclib: prints how many calls were OK before
the first that was over its limit."""
import asyncio
import sys

from envoy_data_plane.envoy.extensions.common.ratelimit.v3 import RateLimitDescriptor, RateLimitDescriptorEntry
from envoy_data_plane.envoy.service.ratelimit.v3 import RateLimitRequest, RateLimitResponseCode, RateLimitServiceStub
from grpclib.client import Channel


async def main(host, port, domain, key, value):
    channel = Channel(host, int(port))
    request = RateLimitRequest(domain=domain, descriptors=[RateLimitDescriptor(entries=[RateLimitDescriptorEntry(key=key, value=value)])])
    passed = 0
    while (await RateLimitServiceStub(channel).should_rate_limit(request)).overall_code != RateLimitResponseCode.OVER_LIMIT:
        passed += 1
    print(passed)
    channel.close()


asyncio.run(main(*sys.argv[1:]))
