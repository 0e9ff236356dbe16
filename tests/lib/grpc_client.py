"""gRPC from Debian's python3-grpcio, with messages made at run time of the descriptors that the build made.

    limiter = Service(channel, "mete.v1.Limiter")
    verdict = limiter.Check(rule="demo", subject="alice")
"""
import sys

sys.path.append("/usr/lib/python3/dist-packages")  # where Debian's packages are, whichever python3 runs this

import grpc
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

from lib.daemon import BUILD, PATIENCE_S

POOL = descriptor_pool.DescriptorPool()
FILES = descriptor_pb2.FileDescriptorSet.FromString((BUILD / "obj/proto/descriptors").read_bytes())
for file in FILES.file:
    POOL.Add(file)


def message(name):
    """The class of a message, by its full name."""
    descriptor = POOL.FindMessageTypeByName(name)
    if hasattr(message_factory, "GetMessageClass"):
        return message_factory.GetMessageClass(descriptor)
    return message_factory.MessageFactory(POOL).GetPrototype(descriptor)


RateLimitRequest = message("envoy.service.ratelimit.v3.RateLimitRequest")
RateLimitResponse = message("envoy.service.ratelimit.v3.RateLimitResponse")
OK, OVER = 1, 2
SECOND, MINUTE, HOUR, DAY, MONTH, YEAR, WEEK = range(1, 8)


class Service:
    """The methods of one service; fields of the request by name, or a message that is ready."""

    def __init__(self, channel, name):
        for method in POOL.FindServiceByName(name).methods:
            path = f"/{name}/{method.name}"
            kind = {(False, False): channel.unary_unary, (False, True): channel.unary_stream,
                    (True, True): channel.stream_stream}[method.client_streaming, method.server_streaming]
            call = kind(path, request_serializer=lambda m: m.SerializeToString(),
                        response_deserializer=message(method.output_type.full_name).FromString)
            setattr(self, method.name, self.bind(call, message(method.input_type.full_name), method.client_streaming))

    @staticmethod
    def bind(call, request_type, streams):
        def ask(request=None, *, metadata=None, timeout=PATIENCE_S, **fields):
            if not streams and request is None:
                request = request_type(**fields)
            return call(request, metadata=metadata, timeout=timeout)
        return ask


def descriptor(*pairs, limit=None, hits=None, negative=False):
    """One descriptor of an Envoy's request, as keyword arguments of the message."""
    fields = {"entries": [{"key": key, "value": value} for key, value in pairs], "is_negative_hits": negative}
    if limit:
        fields["limit"] = dict(zip(("requests_per_unit", "unit"), limit))
        if len(limit) > 2:
            fields["limit"]["unit_multiplier"] = {"value": limit[2]}
    if hits is not None:
        fields["hits_addend"] = {"value": hits}
    return fields


def status_of(call, *arguments, **options):
    """The status of a call that fails; None if it does not."""
    try:
        answer = call(*arguments, **options)
        if hasattr(answer, "__iter__"):
            list(answer)
    except grpc.RpcError as error:
        return error.code().name
    return None


def open_channel(address):
    return grpc.insecure_channel(address, options=[("grpc.enable_retries", 0), ("grpc.use_local_subchannel_pool", 1)])
