prop_shared.o: tests/property/prop_shared.c src/config/config.h \
  src/config/calendars.h src/core/calendar.h src/core/limit.h \
  src/core/key.h src/core/share.h src/core/gcra.h src/core/saturate.h \
  src/engine/shared.h src/engine/engine.h src/core/instant.h \
  src/engine/sampler.h src/obs/sampling.h src/obs/sketch.h \
  include/mete/wire.h include/mete/mac.h include/mete/registry.h \
  include/mete/wire_time.h src/obs/counters.h src/table/table.h \
  src/replica/demand.h src/replica/ring.h tests/lib/random.h \
  src/replica/shared_state.h src/table/shared.h

src/config/config.h:

src/config/calendars.h:

src/core/calendar.h:

src/core/limit.h:

src/core/key.h:

src/core/share.h:

src/core/gcra.h:

src/core/saturate.h:

src/engine/shared.h:

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

src/replica/demand.h:

src/replica/ring.h:

tests/lib/random.h:

src/replica/shared_state.h:

src/table/shared.h:
