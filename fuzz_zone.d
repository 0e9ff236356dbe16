fuzz_zone.o: tests/fuzz/fuzz_zone.c src/core/calendar.h src/core/limit.h \
  src/core/zone.h src/core/zone_rule.h

src/core/calendar.h:

src/core/limit.h:

src/core/zone.h:

src/core/zone_rule.h:
