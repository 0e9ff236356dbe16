micro_lease.o: bench/micro_lease.c src/config/config.h \
  src/config/calendars.h src/core/calendar.h src/core/limit.h \
  src/core/key.h src/engine/engine.h src/core/instant.h \
  src/engine/sampler.h src/obs/sampling.h src/obs/sketch.h \
  include/mete/wire.h include/mete/mac.h include/mete/registry.h \
  include/mete/wire_time.h src/obs/counters.h src/table/table.h \
  bench/micro.h src/sys/clock.h src/table/lease.h

src/config/config.h:

src/config/calendars.h:

src/core/calendar.h:

src/core/limit.h:

src/core/key.h:

src/engine/engine.h:

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

bench/micro.h:

src/sys/clock.h:

src/table/lease.h:
