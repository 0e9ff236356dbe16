test_grpc_call.o: tests/unit/test_grpc_call.c src/doors/grpc_call.h \
  src/obs/trace.h

src/doors/grpc_call.h:

src/obs/trace.h:
