test_latency.o: tests/unit/test_latency.c src/obs/latency.h \
  src/obs/counters.h src/obs/sampling.h

src/obs/latency.h:

src/obs/counters.h:

src/obs/sampling.h:
