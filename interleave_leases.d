interleave_leases.o: tests/race/interleave_leases.c \
  tests/race/interleave.h src/table/mapping.c src/table/mapping.h \
  src/core/grant.h src/core/instant.h src/core/limit.h \
  src/core/saturate.h src/core/share.h src/core/gcra.h src/table/entry.h \
  src/core/key.h src/table/table.h src/sys/machine.h src/sys/mapfile.h \
  src/sys/memory.h src/table/doubts.h src/table/owners.h \
  src/table/pair.h src/table/resume.h src/table/table.c \
  src/table/claim.h src/table/claim.c src/table/sweep.c \
  src/table/lease.c src/table/lease.h src/table/copy.h \
  src/table/lease_words.h src/engine/lease.c src/engine/lease.h \
  src/engine/engine.h src/config/config.h src/config/calendars.h \
  src/core/calendar.h src/engine/sampler.h src/obs/sampling.h \
  src/obs/sketch.h include/mete/wire.h include/mete/mac.h \
  include/mete/registry.h include/mete/wire_time.h src/obs/counters.h \
  src/core/concurrency.h

tests/race/interleave.h:

src/table/mapping.c:

src/table/mapping.h:

src/core/grant.h:

src/core/instant.h:

src/core/limit.h:

src/core/saturate.h:

src/core/share.h:

src/core/gcra.h:

src/table/entry.h:

src/core/key.h:

src/table/table.h:

src/sys/machine.h:

src/sys/mapfile.h:

src/sys/memory.h:

src/table/doubts.h:

src/table/owners.h:

src/table/pair.h:

src/table/resume.h:

src/table/table.c:

src/table/claim.h:

src/table/claim.c:

src/table/sweep.c:

src/table/lease.c:

src/table/lease.h:

src/table/copy.h:

src/table/lease_words.h:

src/engine/lease.c:

src/engine/lease.h:

src/engine/engine.h:

src/config/config.h:

src/config/calendars.h:

src/core/calendar.h:

src/engine/sampler.h:

src/obs/sampling.h:

src/obs/sketch.h:

include/mete/wire.h:

include/mete/mac.h:

include/mete/registry.h:

include/mete/wire_time.h:

src/obs/counters.h:

src/core/concurrency.h:
