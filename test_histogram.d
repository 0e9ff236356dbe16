test_histogram.o: tests/unit/test_histogram.c tests/lib/random.h \
  src/obs/histogram.h

tests/lib/random.h:

src/obs/histogram.h:
