store.o: tests/sim/store.c tests/sim/sim.h src/core/limit.h \
  src/core/merge.h src/engine/engine.h src/config/config.h \
  src/config/calendars.h src/core/calendar.h src/core/key.h \
  src/core/instant.h src/engine/sampler.h src/obs/sampling.h \
  src/obs/sketch.h include/mete/wire.h include/mete/mac.h \
  include/mete/registry.h include/mete/wire_time.h src/obs/counters.h \
  src/table/table.h src/engine/shared.h src/replica/demand.h \
  src/replica/ring.h src/replica/batch.h src/replica/replicator.h \
  src/replica/shared_state.h src/sys/clock.h

tests/sim/sim.h:

src/core/limit.h:

src/core/merge.h:

src/engine/engine.h:

src/config/config.h:

src/config/calendars.h:

src/core/calendar.h:

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

src/engine/shared.h:

src/replica/demand.h:

src/replica/ring.h:

src/replica/batch.h:

src/replica/replicator.h:

src/replica/shared_state.h:

src/sys/clock.h:
