test_exact.o: tests/unit/test_exact.c tests/unit/shared_fixture.h \
  src/config/config.h src/config/calendars.h src/core/calendar.h \
  src/core/limit.h src/core/key.h src/core/grant.h src/core/instant.h \
  src/core/share.h src/core/gcra.h src/core/saturate.h \
  src/engine/shared.h src/engine/engine.h src/engine/sampler.h \
  src/obs/sampling.h src/obs/sketch.h include/mete/wire.h \
  include/mete/mac.h include/mete/registry.h include/mete/wire_time.h \
  src/obs/counters.h src/table/table.h src/replica/demand.h \
  src/replica/ring.h src/replica/shared_state.h src/table/shared.h

tests/unit/shared_fixture.h:

src/config/config.h:

src/config/calendars.h:

src/core/calendar.h:

src/core/limit.h:

src/core/key.h:

src/core/grant.h:

src/core/instant.h:

src/core/share.h:

src/core/gcra.h:

src/core/saturate.h:

src/engine/shared.h:

src/engine/engine.h:

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

src/replica/shared_state.h:

src/table/shared.h:
