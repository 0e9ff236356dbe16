test_bench_traffic.o: tests/unit/test_bench_traffic.c \
  src/cmd/bench_traffic.h src/cmd/bench.h src/cmd/bench_door.h \
  src/cmd/bench_schedule.h src/core/limit.h include/mete/mac.h \
  include/mete/wire.h include/mete/registry.h include/mete/wire_time.h \
  src/obs/histogram.h src/cmd/subjects.h src/core/key.h

src/cmd/bench_traffic.h:

src/cmd/bench.h:

src/cmd/bench_door.h:

src/cmd/bench_schedule.h:

src/core/limit.h:

include/mete/mac.h:

include/mete/wire.h:

include/mete/registry.h:

include/mete/wire_time.h:

src/obs/histogram.h:

src/cmd/subjects.h:

src/core/key.h:
