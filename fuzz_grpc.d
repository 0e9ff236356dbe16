fuzz_grpc.o: tests/fuzz/fuzz_grpc.c src/doors/grpc.h src/doors/loop.h \
  src/config/publish.h src/engine/engine.h src/config/config.h \
  src/config/calendars.h src/core/calendar.h src/core/limit.h \
  src/core/key.h src/core/instant.h src/engine/sampler.h \
  src/obs/sampling.h src/obs/sketch.h include/mete/wire.h \
  include/mete/mac.h include/mete/registry.h include/mete/wire_time.h \
  src/obs/counters.h src/table/table.h src/engine/quota.h \
  src/engine/shared.h src/replica/demand.h src/replica/ring.h \
  src/obs/assert.h src/obs/latency.h src/sys/clock.h \
  src/doors/grpc_call.h src/obs/trace.h

src/doors/grpc.h:

src/doors/loop.h:

src/config/publish.h:

src/engine/engine.h:

src/config/config.h:

src/config/calendars.h:

src/core/calendar.h:

src/core/limit.h:

src/core/key.h:

src/core/instant.h:

src/engine/sampler.h:

src/obs/sampling.h:

src/obs/sketch.h:

include/mete/wire.h:

include/mete/mac.h:

include/mete/registry.h:

include/mete/wire_time.h:

src/obs/counters.h:

src/table/table.h:

src/engine/quota.h:

src/engine/shared.h:

src/replica/demand.h:

src/replica/ring.h:

src/obs/assert.h:

src/obs/latency.h:

src/sys/clock.h:

src/doors/grpc_call.h:

src/obs/trace.h:
