test_sketch.o: tests/unit/test_sketch.c tests/lib/random.h \
  src/obs/sketch.h

tests/lib/random.h:

src/obs/sketch.h:
