worker_latency.o: bench/worker_latency.c include/mete/wire.h \
  include/mete/mac.h include/mete/registry.h include/mete/wire_time.h \
  src/obs/histogram.h

include/mete/wire.h:

include/mete/mac.h:

include/mete/registry.h:

include/mete/wire_time.h:

src/obs/histogram.h:
