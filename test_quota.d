test_quota.o: tests/unit/test_quota.c src/engine/quota.h src/core/limit.h \
  src/obs/counters.h

src/engine/quota.h:

src/core/limit.h:

src/obs/counters.h:
