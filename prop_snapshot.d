prop_snapshot.o: tests/property/prop_snapshot.c src/config/config.h \
  src/config/calendars.h src/core/calendar.h src/core/limit.h \
  src/core/key.h src/core/gcra.h src/core/saturate.h src/engine/engine.h \
  src/core/instant.h src/engine/sampler.h src/obs/sampling.h \
  src/obs/sketch.h include/mete/wire.h include/mete/mac.h \
  include/mete/registry.h include/mete/wire_time.h src/obs/counters.h \
  src/table/table.h tests/lib/random.h src/table/lease.h \
  tests/unit/snapshot_fixture.h src/snapshot/load.h src/snapshot/read.h \
  src/snapshot/format.h src/table/copy.h src/snapshot/save.h \
  src/sys/replace.h

src/config/config.h:

src/config/calendars.h:

src/core/calendar.h:

src/core/limit.h:

src/core/key.h:

src/core/gcra.h:

src/core/saturate.h:

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

tests/lib/random.h:

src/table/lease.h:

tests/unit/snapshot_fixture.h:

src/snapshot/load.h:

src/snapshot/read.h:

src/snapshot/format.h:

src/table/copy.h:

src/snapshot/save.h:

src/sys/replace.h:
