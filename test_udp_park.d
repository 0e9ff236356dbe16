test_udp_park.o: tests/unit/test_udp_park.c src/core/grant.h \
  src/core/instant.h src/core/limit.h src/engine/shared.h \
  src/engine/engine.h src/config/config.h src/config/calendars.h \
  src/core/calendar.h src/core/key.h src/engine/sampler.h \
  src/obs/sampling.h src/obs/sketch.h include/mete/wire.h \
  include/mete/mac.h include/mete/registry.h include/mete/wire_time.h \
  src/obs/counters.h src/table/table.h src/replica/demand.h \
  src/replica/ring.h src/net/udp_park.h src/net/replies.h \
  src/net/control.h src/net/frame.h src/net/io.h src/net/udp.h \
  src/engine/quota.h src/engine/repeat.h src/net/keys.h src/net/shed.h \
  src/net/gate.h src/net/tags.h src/replica/shared_state.h \
  src/table/shared.h src/core/share.h src/core/gcra.h \
  src/core/saturate.h tests/unit/udp_fixture.h

src/core/grant.h:

src/core/instant.h:

src/core/limit.h:

src/engine/shared.h:

src/engine/engine.h:

src/config/config.h:

src/config/calendars.h:

src/core/calendar.h:

src/core/key.h:

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

src/net/udp_park.h:

src/net/replies.h:

src/net/control.h:

src/net/frame.h:

src/net/io.h:

src/net/udp.h:

src/engine/quota.h:

src/engine/repeat.h:

src/net/keys.h:

src/net/shed.h:

src/net/gate.h:

src/net/tags.h:

src/replica/shared_state.h:

src/table/shared.h:

src/core/share.h:

src/core/gcra.h:

src/core/saturate.h:

tests/unit/udp_fixture.h:
