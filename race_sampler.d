race_sampler.o: tests/race/race_sampler.c src/engine/engine.h \
  src/config/config.h src/config/calendars.h src/core/calendar.h \
  src/core/limit.h src/core/key.h src/core/instant.h \
  src/engine/sampler.h src/obs/sampling.h src/obs/sketch.h \
  include/mete/wire.h include/mete/mac.h include/mete/registry.h \
  include/mete/wire_time.h src/obs/counters.h src/table/table.h \
  src/obs/latency.h tests/race/race.h tests/lib/random.h src/sys/clock.h

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

src/obs/latency.h:

tests/race/race.h:

tests/lib/random.h:

src/sys/clock.h:
