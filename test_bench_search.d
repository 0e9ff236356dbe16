test_bench_search.o: tests/unit/test_bench_search.c \
  src/cmd/bench_search.h src/cmd/bench.h src/cmd/bench_door.h \
  src/cmd/bench_schedule.h src/core/limit.h include/mete/mac.h \
  include/mete/wire.h include/mete/registry.h include/mete/wire_time.h \
  src/obs/histogram.h src/cmd/cmd.h

src/cmd/bench_search.h:

src/cmd/bench.h:

src/cmd/bench_door.h:

src/cmd/bench_schedule.h:

src/core/limit.h:

include/mete/mac.h:

include/mete/wire.h:

include/mete/registry.h:

include/mete/wire_time.h:

src/obs/histogram.h:

src/cmd/cmd.h:
