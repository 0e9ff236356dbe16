core_feed.o: tests/property/core_feed.c src/core/calendar.h \
  src/core/limit.h src/core/zone.h tests/lib/random.h

src/core/calendar.h:

src/core/limit.h:

src/core/zone.h:

tests/lib/random.h:
