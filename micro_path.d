micro_path.o: bench/micro_path.c src/config/config.h \
  src/config/calendars.h src/core/calendar.h src/core/limit.h \
  src/core/key.h src/engine/engine.h src/core/instant.h \
  src/engine/sampler.h src/obs/sampling.h src/obs/sketch.h \
  include/mete/wire.h include/mete/mac.h include/mete/registry.h \
  include/mete/wire_time.h src/obs/counters.h src/table/table.h \
  bench/micro.h src/net/udp.h src/engine/quota.h src/engine/repeat.h \
  src/net/io.h src/net/keys.h src/net/shed.h src/net/gate.h \
  src/net/tags.h src/sys/clock.h src/sys/memory.h

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

src/net/udp.h:

src/engine/quota.h:

src/engine/repeat.h:

src/net/io.h:

src/net/keys.h:

src/net/shed.h:

src/net/gate.h:

src/net/tags.h:

src/sys/clock.h:

src/sys/memory.h:
