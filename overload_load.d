overload_load.o: bench/overload_load.c tests/lib/random.h \
  include/mete/wire.h include/mete/mac.h include/mete/registry.h \
  include/mete/wire_time.h src/obs/histogram.h src/sys/clock.h

tests/lib/random.h:

include/mete/wire.h:

include/mete/mac.h:

include/mete/registry.h:

include/mete/wire_time.h:

src/obs/histogram.h:

src/sys/clock.h:
