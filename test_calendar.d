test_calendar.o: tests/unit/test_calendar.c tests/unit/instants.h \
  src/core/limit.h src/config/config.h src/config/calendars.h \
  src/core/calendar.h src/core/key.h src/core/zone.h src/engine/engine.h \
  src/core/instant.h src/engine/sampler.h src/obs/sampling.h \
  src/obs/sketch.h include/mete/wire.h include/mete/mac.h \
  include/mete/registry.h include/mete/wire_time.h src/obs/counters.h \
  src/table/table.h src/sys/clock.h src/table/mapping.h src/core/grant.h \
  src/core/saturate.h src/core/share.h src/core/gcra.h src/table/entry.h

tests/unit/instants.h:

src/core/limit.h:

src/config/config.h:

src/config/calendars.h:

src/core/calendar.h:

src/core/key.h:

src/core/zone.h:

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

src/sys/clock.h:

src/table/mapping.h:

src/core/grant.h:

src/core/saturate.h:

src/core/share.h:

src/core/gcra.h:

src/table/entry.h:
